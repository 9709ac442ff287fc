// @ts-check
/** One question of a person with its answer, and beside it the events of the agents that made the answer. */
import { questionView } from "./asking.js";
import { copyButton } from "./copying.js";
import { announce, button, element, setText, ViewList } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { Steps, summaryOf } from "./steps.js";
import { brief } from "./values.js";
import { endingWords } from "./words.js";

/**
 * @typedef {import("./store.js").Run} Run
 * @typedef {import("./store.js").Question} Question
 * @typedef {import("./steps.js").Lookup} Lookup
 * @typedef {{ key: string, status: string, input: any, known: boolean, agent: string, run?: Run, error?: { code: string, message: string } }} Entry
 *   a question: with a run, or without one yet, or refused. `known`: the page knows the input
 * @typedef {{ answer: import("./asking.js").Answer, askAgain: (input: any) => void }} Actions
 * @typedef {{ key: string, text: string, question?: undefined } | { key: string, question: Question, text?: undefined }} Part
 *   a part of an answer: text, or a question to the user
 */

const WIDE = "(min-width: 62rem)"; // as in demo.css: the events stand beside the answer
const NEAR_THE_END = 40; // px from the end of the list of events up to which the list follows the newest event

export class TurnView {
  #question = element("h2", "question");
  #parts = element("div", "parts");
  #ending = element("p", "ending");
  #footer = element("div", "after", this.#ending);
  #sources = element("div", "sources");
  #events = new EventPanel();
  #list;
  #actions;
  /** @type {Entry | undefined} */ #shown;

  /** @param {Entry} entry @param {Actions} actions */
  constructor(entry, actions) {
    this.#actions = actions;
    this.#list = new ViewList(this.#parts, (/** @type {Part} */ { key }) => key, (part) => partView(part, actions));
    const reply = element("div", "reply", this.#parts, this.#sources, this.#footer);
    this.node = element("article", "turn", this.#question, this.#events.node, reply);
  }

  /** @param {{ entry: Entry, runs: Lookup }} value */
  update({ entry, runs }) {
    const { run, status } = entry;
    const before = this.#shown;
    const same = before?.run === run && before?.status === status;
    if (same && status !== "running") return; // nothing of a run changes after its end
    this.#shown = entry;
    setText(this.#question, entry.known ? textOf(entry.input) : `A question to the ${entry.agent || "agent"}`);
    this.node.dataset.status = status;
    if (run) Object.assign(this.node.dataset, { run: run.id, seq: run.seq });
    this.#list.update(run ? partsOf(run, runs) : [{ key: "text 0", text: "" }]);
    this.#events.update(run, runs);
    if (before?.status === status) return;
    setText(this.#ending, endingWords(status, run ? run.error : entry.error, run?.duration_ms));
    if (run ? run.ended !== null : entry.error) this.#over(entry);
    if (before?.status === "running") announce(`${this.#ending.textContent}. ${run?.text ?? ""}`);
  }

  /** Show what comes after an answer. @param {Entry} entry */
  #over({ run, status, input }) {
    if (run?.text) this.#footer.append(copyButton("Copy the answer", () => run.text));
    if (status !== "ok") this.#footer.append(button("again", "Ask again", () => this.#actions.askAgain(input)));
    const sources = run?.result?.sources;
    const named = [...this.#parts.querySelectorAll("h3, h4, h5")].some((each) => each.textContent === "Sources");
    if (!Array.isArray(sources) || !sources.length || named) return; // the answer may have a section of sources itself
    this.#sources.append(element("h3", "", "Sources"), element("ul", "", ...sources.map(sourceItem)));
  }
}

/** The list of events of an answer. It can be folded, and is at the beginning where it would stand above the answer. */
class EventPanel {
  #steps = new Steps();
  #now = element("span", "now");
  #following = true; // true while the reader is at the end of the list

  constructor() {
    const list = this.#steps.node;
    this.node = element("details", "events", element("summary", "", element("span", "", "Events"), " ", this.#now), list);
    this.node.open = matchMedia(WIDE).matches;
    list.tabIndex = 0; // it scrolls
    list.setAttribute("aria-label", "Events");
    list.addEventListener("scroll", () => {
      this.#following = list.scrollTop + list.clientHeight >= list.scrollHeight - NEAR_THE_END;
    });
    this.node.addEventListener("toggle", () => this.#follow());
  }

  /** @param {Run | undefined} run @param {Lookup} runs */
  update(run, runs) {
    const newest = run?.items.findLast(({ kind }) => kind !== "output");
    this.node.hidden = !newest;
    if (!run) return;
    this.#steps.update(run, runs);
    setText(this.#now, newest && run.status === "running" ? summaryOf(newest, runs) : "");
    this.#follow();
  }

  /** Scroll to the newest event if the reader is at the end. */
  #follow() {
    const list = this.#steps.node;
    if (this.#following) list.scrollTop = list.scrollHeight;
  }
}

/**
 * Return the parts of an answer in the order of their events: the text of the run, and the questions of all its agents.
 *
 * @param {Run} run @param {Lookup} runs @returns {Part[]}
 */
function partsOf(run, runs) {
  const found = [...run.items.filter(({ kind }) => kind === "output"), ...questionsOf(run, runs)].sort((a, b) => a.seq - b.seq);
  /** @type {Part[]} */
  const parts = [];
  for (const item of found) {
    const last = parts.at(-1);
    if (item.kind === "question") parts.push({ key: `question ${item.id}`, question: item });
    else if (item.kind === "output" && last?.text !== undefined) last.text += item.text;
    else if (item.kind === "output") parts.push({ key: `text ${parts.length}`, text: item.text });
  }
  return parts.length ? parts : [{ key: "text 0", text: "" }];
}

/** @param {Run} run @param {Lookup} runs @returns {Question[]} */
function questionsOf(run, runs) {
  return run.items.flatMap((item) => {
    const child = item.kind === "run" ? runs(item.id) : undefined;
    return item.kind === "question" ? [item] : child ? questionsOf(child, runs) : [];
  });
}

/** @param {Part} part @param {Actions} actions @returns {import("./dom.js").View<Part>} */
function partView({ question }, { answer }) {
  if (question) {
    const view = questionView(question, answer);
    return { node: view.node, update: (now) => now.question && view.update(now.question) };
  }
  const node = element("div", "answer");
  const view = new MarkdownView(node);
  return { node, update: (now) => view.show(now.text ?? "") };
}

/** @param {any} source */
function sourceItem(source) {
  return element("li", "", element("code", "", typeof source === "string" ? source : brief(source)));
}

/** @param {any} input */
function textOf(input) {
  return typeof input === "string" ? input : brief(input);
}
