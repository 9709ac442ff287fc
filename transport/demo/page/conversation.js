// @ts-check
/**
 * A session's events as a page: each question (`Turn`) with its answer, and beside it the steps of the agent as a list of
 * cues (`Cue`). A sub-agent is a list within the list. Only events change the page, so every tab shows the same.
 */
import { element } from "./dom.js";
import { MarkdownView } from "./markdown.js";

/** @typedef {import("./greenroom.js").Event} Event */
/**
 * @typedef {object} Actions  the commands of a person in a conversation
 * @property {(runId: string, callId: string, value: any) => Promise<void>} answer
 * @property {(input: any) => void} askAgain
 */

const STATUS_WORDS = /** @type {Record<string, string>} */ ({
  pending: "waiting to be sent",
  running: "running",
  ok: "done",
  error: "failed",
  timeout: "timed out",
  cancelled: "cancelled",
  interrupted: "interrupted",
  refused: "refused",
});
const ENDINGS = /** @type {Record<string, string>} */ ({
  pending: "Waiting to be sent",
  queued: "Waiting for its turn",
  ok: "Done",
  error: "Failed",
  timeout: "Timed out",
  cancelled: "Stopped",
  interrupted: "Interrupted: the server ended before this did",
  refused: "Not accepted",
});

export class Conversation {
  /** @type {Map<string, Run>} */ #runs = new Map();
  /** @type {Map<string, Cue>} */ #calls = new Map();
  /** @type {Map<string, Turn>} */ #pending = new Map();
  /** @type {Set<Run>} */ #unrendered = new Set();
  /** @type {Set<string>} */ #open = new Set();
  #target;
  #actions;

  /** @param {HTMLElement} target @param {Actions} actions */
  constructor(target, actions) {
    this.#target = target;
    this.#actions = actions;
  }

  get isEmpty() {
    return this.#target.childElementCount === 0;
  }

  /** The ids of the open runs that a person started, oldest first. */
  get open() {
    return [...this.#open];
  }

  /** The command ids of the starts that are queued, oldest first. */
  get queued() {
    return [...this.#pending].flatMap(([commandId, turn]) => (turn.isQueued ? commandId : []));
  }

  /** Remove everything except questions that were not sent yet. */
  clear() {
    for (const { article } of [...this.#runs.values()].flatMap((run) => run.turn ?? [])) article.remove();
    for (const note of this.#target.querySelectorAll(".said")) note.remove();
    this.#runs.clear();
    this.#calls.clear();
    this.#unrendered.clear();
    this.#open.clear();
  }

  /** Show a question before the server has it. @param {string} commandId @param {string} text */
  expect(commandId, text) {
    const turn = new Turn(text);
    this.#pending.set(commandId, turn);
    this.#target.append(turn.article);
  }

  /** Show that the question was refused. @param {string} commandId @param {{ code?: string, message: string }} error */
  refuse(commandId, { code, message }) {
    this.#pending.get(commandId)?.end(code === "cancelled" ? "cancelled" : "refused", message);
    this.#pending.delete(commandId);
  }

  /**
   * Show the starts that are queued. For starts of other tabs, and of this tab before a refresh, only the agent is known:
   * their question comes with their first event.
   *
   * @param {{ command_id: string, agent: string }[]} starts  all queued starts, oldest first
   */
  queue(starts) {
    const waiting = new Map(starts.map((start) => [start.command_id, start.agent]));
    for (const [commandId, turn] of this.#pending) {
      if (turn.isPlaceholder && !waiting.has(commandId)) {
        turn.article.remove();
        this.#pending.delete(commandId);
      }
    }
    for (const [commandId, agent] of waiting) {
      if (this.#pending.has(commandId)) continue;
      this.expect(commandId, `A question to the ${agent}`);
      /** @type {Turn} */ (this.#pending.get(commandId)).isPlaceholder = true;
    }
    for (const [commandId, turn] of this.#pending) turn.queue(waiting.has(commandId));
  }

  /** @param {Event} event */
  apply(event) {
    switch (event.type) {
      case "agent_started":
        return this.#started(event);
      case "agent_completed":
        return this.#completed(event);
      case "user_message":
        return this.#target.append(marked(element("p", "said", event.data.text), event));
      case "tool_executing":
      case "input_requested":
        return this.#opened(event);
      case "tool_completed":
        return this.#calls.get(event.call_id ?? "")?.toolEnded(event);
      case "input_received":
        return this.#calls.get(event.call_id ?? "")?.answered(event);
      case "input_withdrawn":
        return this.#calls.get(event.call_id ?? "")?.withdrawn(event.data.reason);
      case "agent_output":
        return this.#said(event);
      case "agent_thinking":
        return this.#runs.get(event.run_id ?? "")?.cues.append(thought(event));
      case "custom":
        return this.#runs.get(event.run_id ?? "")?.cues.append(custom(event));
      default: // an event type of a newer server
    }
  }

  /** Render the text that came since the last call. Called once per frame. */
  render() {
    for (const run of this.#unrendered) run.render();
    this.#unrendered.clear();
    for (const id of this.open) this.#runs.get(id)?.turn?.follow();
  }

  /** @param {Event} event */
  #said(event) {
    const run = this.#runs.get(event.run_id ?? "");
    if (!run) return;
    run.said += event.data.text;
    this.#unrendered.add(run);
  }

  /** @param {Event} event */
  #started(event) {
    const id = event.run_id ?? "";
    const parent = this.#runs.get(event.parent_run_id ?? "");
    if (parent) {
      const cue = Cue.forRun(event);
      parent.cues.append(cue.item);
      this.#runs.set(id, new Run(id, cue.cues, cue.output, cue));
      return;
    }
    const turn = this.#turnOf(event);
    turn.started(event);
    this.#open.add(id);
    this.#runs.set(id, new Run(id, turn.cues, turn.answer, turn, turn));
  }

  /** @param {Event} event */
  #turnOf(event) {
    const commandId = event.data.command_id ?? "";
    const turn = this.#pending.get(commandId) ?? new Turn(inputAsText(event.data.input));
    this.#pending.delete(commandId);
    // In the order of the log: pending questions stand after the started ones.
    this.#target.append(turn.article, ...[...this.#pending.values()].map((waiting) => waiting.article));
    return turn;
  }

  /** @param {Event} event */
  #completed(event) {
    const run = this.#runs.get(event.run_id ?? "");
    if (!run) return;
    run.render();
    for (const question of run.questions) question.withdrawn(event.data.status); // the run has ended, so no answer is expected
    this.#open.delete(run.id);
    run.shown.completed(event);
    if (run.turn) run.turn.offerAgain(event.data.status, this.#actions.askAgain);
  }

  /** @param {Event} event */
  #opened(event) {
    const run = this.#runs.get(event.run_id ?? "");
    const cue = event.type === "tool_executing" ? Cue.forTool(event) : Cue.forQuestion(event, this.#actions);
    this.#calls.set(event.call_id ?? "", cue);
    run?.cues.append(cue.item);
    if (event.type === "input_requested") run?.questions.push(cue);
  }
}

/** One run: the elements of its cues and its output, and its text so far. */
class Run {
  #view;
  said = "";
  /** @type {Cue[]} */ questions = [];

  /**
   * @param {string} id @param {HTMLElement} cues @param {HTMLElement} output
   * @param {{ completed(event: Event): void }} shown @param {Turn} [turn]  only for a run that a person started
   */
  constructor(id, cues, output, shown, turn) {
    this.id = id;
    this.cues = cues;
    this.shown = shown;
    this.turn = turn;
    this.#view = new MarkdownView(output);
  }

  render() {
    this.#view.show(this.said);
  }
}

/** One question with its answer. */
class Turn {
  /** @type {any} */ input;
  cues = element("ol", "cues");
  answer = element("div", "answer");
  isPlaceholder = false; // true while the question is not known
  #heading = element("h2", "question");
  #following = true; // true while the reader is at the end of the cues
  #ending = element("p", "ending");

  /** @param {string} question */
  constructor(question) {
    this.input = question;
    const backstage = element("details", "backstage", element("summary", "", "Backstage"), this.cues);
    backstage.open = true;
    this.cues.addEventListener("scroll", () => {
      this.#following = this.cues.scrollTop + this.cues.clientHeight >= this.cues.scrollHeight - 40;
    });
    this.#heading.textContent = question;
    this.article = element("article", "turn", this.#heading);
    this.article.append(element("div", "stage", element("div", "reply", this.answer, this.#ending), backstage));
    this.#status("pending");
  }

  /** @param {string} status */
  #status(status) {
    this.article.dataset.status = status;
    this.#ending.textContent = ENDINGS[status] ?? "";
  }

  get isQueued() {
    return this.article.dataset.status === "queued";
  }

  /** @param {boolean} waits  whether the start is queued */
  queue(waits) {
    if (waits !== this.isQueued) this.#status(waits ? "queued" : "pending");
  }

  /** @param {Event} event */
  started(event) {
    this.input = event.data.input;
    if (this.isPlaceholder) this.#heading.textContent = inputAsText(this.input);
    this.article.dataset.run = event.run_id;
    this.#status("running");
    marked(this.article, event);
  }

  /** Scroll to the newest cue if the reader is at the end. */
  follow() {
    if (this.#following) this.cues.scrollTop = this.cues.scrollHeight;
  }

  /** @param {Event} event */
  completed({ data }) {
    this.end(data.status, data.error?.message, data.duration_ms);
    const sources = data.result?.sources;
    const named = [...this.answer.querySelectorAll("h3, h4, h5")].some((each) => each.textContent === "Sources");
    if (!Array.isArray(sources) || !sources.length || named) return; // the answer may have a section of sources itself
    this.answer.after(element("h4", "sources", "Sources"), element("ul", "sources", ...sources.map(sourceItem)));
  }

  /** @param {string} status @param {string} [reason] @param {number} [durationMs] */
  end(status, reason, durationMs) {
    this.#status(status);
    if (durationMs !== undefined) this.#ending.append(` · ${duration(durationMs)}`);
    if (reason && status !== "interrupted" && status !== "cancelled") this.#ending.append(`: ${reason}`);
  }

  /** @param {string} status @param {(input: any) => void} askAgain */
  offerAgain(status, askAgain) {
    if (status === "ok") return;
    const button = element("button", "again", "Ask again");
    button.type = "button";
    button.addEventListener("click", () => askAgain(this.input));
    this.#ending.append(" ", button);
  }
}

/** One line of the list: a tool call, a sub-agent or a question to the user, with its details. */
class Cue {
  cues = element("ol", "cues");
  output = element("div", "answer");
  #status = element("span", "status");
  #time = element("span", "time");
  #form = element("form", "reply-form");

  /** @param {Event} event @param {string} kind @param {string} name @param {string} hint */
  constructor(event, kind, name, hint) {
    const title = element("span", "title", element("code", "", name), " ", element("span", "hint", hint));
    const summary = element("summary", "", title, this.#status, this.#time);
    this.details = element("details", "", summary);
    this.item = marked(element("li", `cue ${kind}`, this.details), event);
    this.#show("running");
  }

  /** @param {Event} event */
  static forRun(event) {
    const cue = new Cue(event, "run", event.data.agent, brief(event.data.input));
    cue.item.dataset.run = event.run_id;
    cue.details.append(cue.cues, cue.output);
    cue.details.open = true;
    return cue;
  }

  /** @param {Event} event */
  static forTool(event) {
    const cue = new Cue(event, "tool", event.data.tool, brief(event.data.arguments));
    cue.item.dataset.call = event.call_id;
    cue.#detail("Arguments", event.data.arguments);
    return cue;
  }

  /** @param {Event} event @param {Actions} actions */
  static forQuestion(event, actions) {
    const cue = new Cue(event, "ask", "asks you", event.data.prompt);
    cue.item.dataset.call = event.call_id;
    cue.details.open = true;
    cue.details.append(cue.#form);
    fillForm(cue.#form, event, actions);
    return cue;
  }

  /** @param {Event} event */
  completed(event) {
    this.#ended(event, this.item);
  }

  /** @param {Event} event */
  toolEnded(event) {
    this.#ended(event, this.details);
    if (event.data.status === "ok") this.#detail("Result", event.data.result);
  }

  /** @param {Event} event */
  answered(event) {
    this.#form.remove();
    this.#show("ok");
    this.#detail("Answer", event.data.value);
  }

  /** Close a question that has no answer. @param {string} reason */
  withdrawn(reason) {
    if (this.item.dataset.status !== "running") return;
    this.#form.remove();
    this.#show(reason === "ok" ? "cancelled" : reason); // the run ended well without an answer to its question
  }

  /** @param {Event} event @param {HTMLElement} place */
  #ended({ data }, place) {
    this.#show(data.status);
    if (data.duration_ms !== undefined) this.#time.textContent = duration(data.duration_ms);
    if (data.error) place.append(element("p", "fault", data.error.message || data.error.code));
    if (data.status !== "ok") this.details.open = true;
  }

  /** @param {string} status */
  #show(status) {
    this.item.dataset.status = status;
    this.#status.textContent = STATUS_WORDS[status] ?? status;
  }

  /** @param {string} label @param {any} value */
  #detail(label, value) {
    const pre = element("pre", "", typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "nothing");
    pre.tabIndex = 0;
    this.details.append(element("div", "detail", element("span", "label", label), pre));
  }
}

/** Add a button for each choice that the schema allows, or a text field. */
function fillForm(/** @type {HTMLFormElement} */ form, /** @type {Event} */ event, /** @type {Actions} */ actions) {
  const { schema, prompt } = event.data;
  const send = (/** @type {any} */ value) => {
    form.inert = true;
    actions.answer(event.run_id ?? "", event.call_id ?? "", value).catch(() => (form.inert = false));
  };
  const choices = schema?.enum ?? (schema?.type === "boolean" ? [true, false] : undefined);
  for (const choice of choices ?? []) {
    const button = element("button", "", choice === true ? "Yes" : choice === false ? "No" : String(choice));
    button.type = "button";
    button.addEventListener("click", () => send(choice));
    form.append(button);
  }
  if (choices) return;
  const input = element("input");
  input.required = true;
  input.setAttribute("aria-label", prompt);
  const isNumber = schema?.type === "number" || schema?.type === "integer";
  if (isNumber) input.type = "number";
  form.append(input, element("button", "", "Answer"));
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    send(isNumber ? input.valueAsNumber : input.value);
  });
}

/** @param {Event} event */
function thought(event) {
  return marked(element("li", "cue thought", event.data.text), event);
}

/** @param {Event} event */
function custom(event) {
  return marked(element("li", "cue custom", element("code", "", event.data.name), " ", brief(event.data.value)), event);
}

/** Store the seq of its event in an element. @template {HTMLElement} T @param {T} made @param {Event} event @returns {T} */
function marked(made, event) {
  made.dataset.seq = String(event.seq);
  return made;
}

/** @param {any} source */
function sourceItem(source) {
  return element("li", "", element("code", "", typeof source === "string" ? source : brief(source)));
}

/** Return a value as text for one line. @param {any} value */
function brief(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  const parts = Array.isArray(value) ? value.map(short) : Object.entries(value).map(([key, each]) => `${key}: ${short(each)}`);
  return parts.join(", ");
}

/** @param {any} value */
function short(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** @param {any} input */
function inputAsText(input) {
  return typeof input === "string" ? input : brief(input);
}

/** @param {number} ms */
function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
}
