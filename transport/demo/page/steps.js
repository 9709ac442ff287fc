// @ts-check
/**
 * What an agent did, as a list of lines in the order of its events: thoughts, tools, questions, events of the application.
 * A sub-agent is a list within the list.
 */
import { outcomeOf } from "./asking.js";
import { element, setText, ViewList } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { brief, duration, whole } from "./values.js";
import { statusWord } from "./words.js";

/**
 * @typedef {import("./store.js").Run} Run
 * @typedef {import("./store.js").Item} Item
 * @typedef {import("./store.js").Tool} Tool
 * @typedef {(id: string) => Run | undefined} Lookup
 * @typedef {{ item: Item, runs: Lookup }} Line  an item, and how to find the run that it may stand for
 * @typedef {import("./dom.js").View<Line>} LineView
 */

const NOT_LISTED = "output"; // the answer shows it

/** The lines of one run. */
export class Steps {
  node = element("ol", "cues");
  #list = new ViewList(this.node, ({ item }) => `${item.seq}`, lineView);

  /** @param {Run} run @param {Lookup} runs */
  update(run, runs) {
    this.#list.update(run.items.filter(({ kind }) => kind !== NOT_LISTED).map((item) => ({ item, runs })));
  }
}

/** Return what an item is about, for one line of text. @param {Item} item @param {Lookup} runs @returns {string} */
export function summaryOf(item, runs) {
  switch (item.kind) {
    case "tool":
      return `${item.tool} ${brief(item.arguments)}`;
    case "run":
      return `${runs(item.id)?.agent ?? ""} ${brief(runs(item.id)?.input)}`;
    case "question":
      return `asks you: ${item.prompt}`;
    case "custom":
      return `${item.name} ${brief(item.value)}`;
    default:
      return item.text;
  }
}

/** @param {Line} line @returns {LineView} */
function lineView({ item }) {
  const view = item.kind === "tool" ? new ToolLine(item) : item.kind === "run" ? new RunLine() : new PlainLine(item);
  view.node.dataset.seq = String(item.seq);
  return view;
}

/** A line that never changes, except that a question is answered. */
class PlainLine {
  #status = element("span", "status");

  /** @param {Item} item */
  constructor(item) {
    this.node = element("li", `cue ${item.kind === "thinking" ? "thought" : item.kind === "question" ? "asked" : item.kind}`);
    if (item.kind === "custom") this.node.append(element("code", "", item.name), " ", brief(item.value));
    else if (item.kind === "question") this.node.append("Asks you: ", item.prompt, " ", this.#status);
    else if (item.kind === "thinking") this.node.append(item.text);
  }

  /** @param {Line} line */
  update({ item }) {
    if (item.kind !== "question") return;
    this.node.dataset.status = outcomeOf(item);
    setText(this.#status, item.status === "open" ? statusWord("open") : "");
  }
}

/** The common part of a tool and of a sub-agent: name, status, duration, and details that can be opened. */
class Foldable {
  #title = element("code");
  #hint = element("span", "hint");
  #status = element("span", "status");
  #time = element("span", "time");
  #fault = element("p", "fault");

  /** @param {string} kind */
  constructor(kind) {
    const title = element("span", "title", this.#title, " ", this.#hint);
    this.details = element("details", "", element("summary", "", title, this.#status, this.#time));
    this.node = element("li", `cue ${kind}`, this.details);
  }

  /** @param {string} name @param {string} hint @param {Tool | Run} state */
  show(name, hint, { status, duration_ms, error }) {
    setText(this.#title, name);
    setText(this.#hint, hint);
    setText(this.#status, statusWord(status));
    setText(this.#time, duration_ms === null ? "" : duration(duration_ms));
    setText(this.#fault, error ? error.message || error.code : "");
    if (error) this.node.append(this.#fault); // not among the details: what went wrong must not be hidden
    this.node.dataset.status = status;
  }
}

class ToolLine extends Foldable {
  /** @type {Item | undefined} */ #shown;

  /** @param {Tool} tool */
  constructor(tool) {
    super("tool");
    this.node.dataset.call = tool.id;
    this.node.dataset.status = "running";
    this.#detail("Arguments", tool.arguments);
  }

  /** @param {Line} line */
  update({ item }) {
    if (item === this.#shown || item.kind !== "tool") return;
    this.#shown = item;
    this.show(item.tool, brief(item.arguments), item);
    if (item.status === "ok") this.#detail("Result", item.result);
  }

  /** @param {string} label @param {any} value */
  #detail(label, value) {
    const pre = element("pre", "", whole(value));
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", label);
    this.details.append(element("div", "detail", element("span", "label", label), pre));
  }
}

class RunLine extends Foldable {
  #steps = new Steps();
  #output = element("div", "answer");
  #view = new MarkdownView(this.#output);
  /** @type {Run | undefined} */ #shown;

  constructor() {
    super("run");
    this.details.open = true;
    this.details.append(this.#steps.node, this.#output);
    this.node.dataset.status = "running";
  }

  /** @param {Line} line */
  update({ item, runs }) {
    const run = item.kind === "run" ? runs(item.id) : undefined;
    if (!run || (run === this.#shown && run.status !== "running")) return; // nothing in a run changes after its end
    this.#shown = run;
    this.node.dataset.run = run.id;
    this.show(run.agent || "sub-agent", brief(run.input), run);
    this.#view.show(run.text);
    this.#steps.update(run, runs);
  }
}
