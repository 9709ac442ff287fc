// @ts-check
/** The newest events of a session, newest first. They come while the view is shown, by requests that wait. */
import { get } from "./api.js";
import { element, filterForm, labelled, Rows, setText, textField } from "./dom.js";
import { brief, bytes, clock, count, duration } from "./words.js";

/**
 * @typedef {object} SessionEvent
 * @property {number} seq
 * @property {number} at
 * @property {string} type
 * @property {string | null} [run]
 * @property {string | null} [name]     of the tool or agent
 * @property {string | null} [status]
 * @property {number} [seconds]         how long the tool or the run took
 * @property {number} [size]            in bytes
 * @property {unknown} [content]        what is in it, if the server tells
 * @property {number} [skipped]         instead of all this: number of events that are not shown
 */

export const MOST_EVENTS = 200;
const WAIT_SECONDS = 25;
const PATIENCE_MS = 40_000;
const BREATH_MS = 250; // between two requests: a session with very many events is not asked without end
const MOST_BEHIND = 1_000; // events; with more the page skips to the newest

/**
 * Return an event of the session's log as it is shown. Pure.
 *
 * @param {Record<string, any>} event  as it is on the wire, with its size @param {boolean} content  whether its data is shown
 * @returns {SessionEvent}
 */
export function shownEvent({ seq, ts, type, run_id: run, data, size }, content) {
  const { tool, agent, name, status, duration_ms: ms } = data ?? {};
  const seconds = typeof ms === "number" ? ms / 1_000 : undefined;
  const shown = { seq, at: ts / 1_000, type, run, name: tool ?? agent ?? name, status, seconds, size };
  return content ? { ...shown, content: data } : shown;
}

/**
 * Return the newest of the known and the new events, newest first. Pure.
 *
 * @param {SessionEvent[]} known  newest first @param {SessionEvent[]} more  oldest first
 */
export function newestFirst(known, more) {
  const last = known[0]?.seq ?? -1;
  return [...more.filter(({ seq }) => seq > last).reverse(), ...known].slice(0, MOST_EVENTS);
}

/**
 * Return whether an event has a text in one of its fields. Pure.
 *
 * @param {SessionEvent} event @param {string} wanted
 */
export function fits({ type, name, status, run, seq }, wanted) {
  const part = wanted.toLowerCase();
  return [type, name, status, run, seq].some((each) => String(each ?? "").toLowerCase().includes(part));
}

export class EventsView {
  /** @type {SessionEvent[]} */ #known = [];
  /** @type {AbortController | null} */ #current = null;
  /** @type {number | null} */ #after = null;
  #epoch = "";
  #list = element("ol", "events");
  /** @type {Rows<SessionEvent>} */ #rows = new Rows(this.#list, ({ seq }) => String(seq), eventView);
  #fault = element("p", "empty");
  #wanted = textField();
  #content = element("input");
  #contentLabel = element("label", "check", this.#content, " Content");
  filter = filterForm("Filter of the events", labelled("Type, tool, run or status", this.#wanted), this.#contentLabel);
  node = element("section", "panel event-panel", element("h2", "", "Events"), this.filter, this.#fault, this.#list);

  constructor() {
    this.#content.type = "checkbox";
    this.#contentLabel.hidden = true;
    this.#list.tabIndex = 0;
    this.#list.setAttribute("aria-label", "Events, newest first");
    this.#wanted.addEventListener("input", () => this.#show());
    this.#content.addEventListener("change", () => {
      this.stop();
      this.clear();
    });
  }

  /** Offer to show what is in the events. The server decides. @param {boolean} allowed */
  mayShowContent(allowed) {
    this.#contentLabel.hidden = !allowed;
  }

  clear() {
    this.stop();
    this.#known = [];
    this.#after = null;
    this.#epoch = "";
    this.#show();
  }

  stop() {
    this.#current?.abort();
    this.#current = null;
  }

  /** Follow a session, if it is not followed already. @param {{ user: string, session: string }} where */
  follow(where) {
    if (this.#current) return;
    const control = new AbortController();
    this.#current = control;
    this.#run(where, control.signal)
      .catch((error) => control.signal.aborted || this.#say(error instanceof Error ? error.message : String(error)))
      .finally(() => this.#current === control && (this.#current = null));
  }

  /** @param {{ user: string, session: string }} where @param {AbortSignal} signal */
  async #run(where, signal) {
    while (!signal.aborted) {
      const content = this.#content.checked;
      const params = { ...where, after: this.#after, wait: WAIT_SECONDS, limit: MOST_EVENTS, content: content ? 1 : null };
      const { events, ...answer } = await get("session/events", params, signal, PATIENCE_MS);
      if (this.#epoch && answer.epoch !== this.#epoch) this.#known = []; // the log began anew
      const anew = this.#epoch !== "" && answer.epoch !== this.#epoch && this.#after !== null;
      this.#epoch = answer.epoch;
      if (anew) this.#after = null;
      else this.#take({ ...answer, events: events.map((/** @type {any} */ each) => shownEvent(each, content)) });
      this.#say("");
      await new Promise((done) => setTimeout(done, BREATH_MS));
    }
  }

  /** @param {{ events: SessionEvent[], seq: number, latest?: number }} answer */
  #take({ events, seq, latest = seq }) {
    const [first] = events;
    const skipped = first && this.#known.length ? first.seq - this.#known[0].seq - 1 : 0;
    if (skipped > 0) this.#known = newestFirst(this.#known, [{ seq: first.seq - 0.5, at: first.at, type: "", skipped }]);
    this.#known = newestFirst(this.#known, events);
    this.#after = latest - seq > MOST_BEHIND ? null : seq;
    if (events.length) this.#show();
  }

  #show() {
    this.#rows.update(this.#known.filter((event) => fits(event, this.#wanted.value.trim())));
  }

  /** @param {string} text */
  #say(text) {
    setText(this.#fault, text);
    this.#fault.hidden = !text;
  }
}

/** An event never changes: it is shown once. @param {SessionEvent} event */
function eventView(event) {
  const node = element("li", "event");
  if (event.skipped) node.append(element("span", "soft", `${count(event.skipped)} events not shown`));
  else fill(node, event);
  return { node, update() {} };
}

/** @param {HTMLElement} node @param {SessionEvent} event */
function fill(node, { seq, at, type, name, status, run, seconds, size, content }) {
  if (status) node.dataset.status = status;
  const time = element("time", "", clock(at, at));
  const what = element("span", "type", type);
  const mark = status ? element("span", "mark", ` ${status}`) : "";
  const took = seconds === undefined ? "" : ` ${duration(seconds)}`;
  const rest = element("span", "rest", name ? element("code", "", name) : "", mark, took);
  const length = element("span", "size", size === undefined ? "" : bytes(size));
  node.append(element("span", "seq", count(seq)), time, what, rest, length);
  node.title = [name, run && `run ${run}`].filter(Boolean).join(" · ");
  if (content === undefined) return;
  const pre = element("pre", "", JSON.stringify(content, null, 2));
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `Content of event ${seq}`);
  node.append(element("details", "", element("summary", "", brief(content) || "nothing"), pre));
}
