// @ts-check
/** One session, live: its runs with their sub-agents and tools as bars on an axis of time, and its newest events. */
import { cancelRun } from "./actions.js";
import { get } from "./api.js";
import { button, element, Rows, setAttribute, setText } from "./dom.js";
import { EventsView } from "./events.js";
import { merged, placed, ticks, traces } from "./layout.js";
import { moveAmong } from "./moving.js";
import { routeTo } from "./routes.js";
import { clock, count, duration, stateWord } from "./words.js";

/**
 * @typedef {import("./layout.js").Trace} Trace
 * @typedef {import("./layout.js").Bar} Bar
 * @typedef {{ user: string, session: string }} Where
 * @typedef {{ trace: Trace, where: Where, now: number, wanted: string, newest: boolean }} Shown
 */

const MOST_TRACES = 200; // shown at once
const UNKNOWN = "unknown"; // its start is in older events
const MOST_RUNS = 2_000; // remembered, sub-agents too

export class SessionView {
  title = "Session";
  /** @type {Where} */ #where = { user: "", session: "" };
  /** @type {import("./layout.js").Run[]} what the answers had so far */ #runs = [];
  /** @type {number | null} the seq before which are older events */ #next = null;
  #seq = 0;
  #epoch = "";
  #name = element("p", "session-name");
  #facts = element("p", "soft");
  #stack = element("div", "stack traces");
  /** @type {Rows<Shown>} */
  #rows = new Rows(this.#stack, ({ trace }) => trace.run.run, () => new TraceView());
  #empty = element("p", "empty", "No run is in the newest events of this session.");
  #more = button("small", "Older runs", () => void this.#loadOlder());
  #events = new EventsView();
  filter = this.#events.filter;
  node = element("div", "session", element("div", "session-head", this.#name, this.#facts), this.#halves());
  list = { move: (/** @type {number} */ step) => moveAmong(this.#stack, "summary", step) };

  constructor() {
    const back = element("a", "back", "Sessions");
    back.href = routeTo("sessions");
    this.#name.before(back);
  }

  /** @param {Record<string, string>} params @param {AbortSignal} signal @param {number} now */
  async refresh({ user = "", session = "", run = "" }, signal, now) {
    const other = user !== this.#where.user || session !== this.#where.session;
    if (other) this.#begin({ user, session });
    const answer = await get("session", this.#where, signal);
    this.#take(answer);
    const found = traces(this.#runs, now).slice(0, MOST_TRACES);
    this.#rows.update(found.map((trace, index) => ({ trace, where: this.#where, now, wanted: run, newest: index === 0 })));
    this.#empty.hidden = found.length > 0;
    this.#more.hidden = this.#next === null || found.length >= MOST_TRACES || this.#runs.length >= MOST_RUNS;
    setText(this.#facts, factsOf(answer));
    this.#events.follow(this.#where);
  }

  /**
   * Add the runs of the newest events to those that are known.
   *
   * *A tab was hidden for an hour, and a run had ended in events that no answer had: it was shown as running for ever.* So a
   * gap between two answers forgets what was before it.
   *
   * @param {{ epoch: string, seq: number, next: number | null, runs: import("./layout.js").Run[] }} answer
   */
  #take({ epoch, seq, next, runs }) {
    const gap = next !== null && next > this.#seq + 1;
    if (gap || epoch !== this.#epoch) {
      this.#runs = [];
      this.#next = next;
    }
    this.#runs = merged([runs, this.#runs]).slice(0, MOST_RUNS);
    this.#seq = seq;
    this.#epoch = epoch;
  }

  #halves() {
    const runs = element("section", "panel", element("h2", "", "Runs"), this.#stack, this.#empty, this.#more);
    return element("div", "halves", runs, this.#events.node);
  }

  /** Stop what goes on while this view is shown. */
  leave() {
    this.#events.stop();
  }

  /** @param {boolean} allowed */
  mayShowContent(allowed) {
    this.#events.mayShowContent(allowed);
  }

  /** @param {Where} where */
  #begin(where) {
    this.#where = where;
    this.#runs = [];
    this.#epoch = "";
    this.#rows.update([]);
    this.#events.clear();
    this.#name.replaceChildren(element("strong", "", where.session), element("span", "soft", ` of ${where.user}`));
    setText(this.#facts, "Loading…");
  }

  async #loadOlder() {
    const where = this.#where;
    const answer = await get("session", { ...where, before: this.#next }).catch(() => null);
    if (!answer || where !== this.#where) return;
    this.#runs = merged([this.#runs, answer.runs]).slice(0, MOST_RUNS);
    this.#next = answer.next ?? null;
  }
}

/** @param {Record<string, any>} answer */
function factsOf({ seq, live, connections, epoch, left_out: more }) {
  const clients = `${count(connections)} ${connections === 1 ? "client" : "clients"}`;
  return `${count(seq)} events · ${live ? "in memory" : "only in the log"} · ${clients} · epoch ${epoch}${more ? ` · ${count(more)} more runs are open` : ""}`;
}

/** A run that a person started, with everything that it did. Its bars are made when it is unfolded. */
class TraceView {
  #agent = element("strong");
  #state = element("span", "status");
  #run = element("code", "run-id");
  #start = element("time");
  #time = element("span", "time");
  #axis = element("div", "axis");
  #bars = element("ol", "bars");
  #hidden = element("p", "empty");
  #cancel = button("small", "Cancel", () => void this.#askToCancel());
  /** @type {Rows<{ bar: Bar, trace: Trace, wanted: string }>} */
  #rows = new Rows(this.#bars, ({ bar }) => bar.key, ({ bar }) => new BarView(bar));
  /** @type {Shown | undefined} */ #shown;
  #summary = element("summary", "", this.#state, this.#agent, this.#run, this.#start, this.#time);
  #chart = element("div", "chart", this.#axis, this.#bars, this.#hidden, this.#cancel);
  #details = element("details", "trace", this.#summary, this.#chart);
  node = this.#details;

  constructor() {
    this.#axis.setAttribute("aria-hidden", "true");
    this.#details.addEventListener("toggle", () => this.#draw());
  }

  /** @param {Shown} shown */
  update(shown) {
    const { trace, now, wanted, newest } = shown;
    const first = !this.#shown;
    const asked = first || wanted !== this.#shown?.wanted;
    this.#shown = shown;
    const { agent, run, status, started_at, ended_at } = trace.run;
    setText(this.#agent, agent || UNKNOWN);
    setText(this.#run, run);
    setAttribute(this.#state, "data-status", status);
    setText(this.#state, stateWord(status));
    setText(this.#start, clock(started_at, now));
    setText(this.#time, duration((ended_at ?? now) - trace.start));
    const open = ended_at === null || ended_at === undefined;
    this.#cancel.hidden = !open;
    setAttribute(this.#cancel, "aria-label", `Cancel run ${run} of ${agent}`);
    if (asked) {
      const holds = trace.bars.some((bar) => bar.run === wanted);
      if (first || holds) this.#details.open = wanted ? holds : newest;
      if (holds) requestAnimationFrame(() => this.#details.scrollIntoView({ block: "nearest" }));
    }
    this.#draw();
  }

  #draw() {
    if (!this.#details.open || !this.#shown) return;
    const { trace, wanted } = this.#shown;
    const span = trace.end - trace.start;
    this.#axis.replaceChildren(
      ...ticks(span).map((at) => {
        const mark = element("span", "", at ? duration(at) : "0");
        mark.style.left = `${(100 * at) / span}%`;
        return mark;
      }),
    );
    this.#rows.update(trace.bars.map((bar) => ({ bar, trace, wanted })));
    this.#hidden.hidden = !trace.hidden;
    setText(this.#hidden, `${count(trace.hidden)} more runs and tools are not shown.`);
  }

  async #askToCancel() {
    if (!this.#shown) return;
    const { trace, where } = this.#shown;
    await cancelRun({ ...where, agent: trace.run.agent, run: trace.run.run });
  }
}

/** A run or a tool as a bar. */
class BarView {
  #name = element("span", "bar-name");
  #bar = element("span", "bar");
  #time = element("span", "bar-time");
  #state = element("span", "unseen");
  #what;

  /** @param {Bar} bar */
  constructor({ kind, name, depth, run }) {
    setText(this.#name, name || UNKNOWN);
    this.#name.dataset.depth = String(Math.min(depth, 8));
    const track = element("span", "track", this.#bar);
    track.setAttribute("aria-hidden", "true");
    this.node = element("li", `bar-row ${kind}`, this.#name, this.#state, track, this.#time);
    this.#what = kind === "run" ? `${name}, run ${run}` : `tool ${name}`;
  }

  /** @param {{ bar: Bar, trace: Trace, wanted: string }} shown */
  update({ bar, trace, wanted }) {
    const { left, width } = placed(bar, trace);
    this.node.dataset.status = bar.status;
    this.node.classList.toggle("wanted", bar.kind === "run" && bar.run === wanted);
    this.#bar.style.left = `${left}%`;
    this.#bar.style.width = `${width}%`;
    setText(this.#state, `, ${stateWord(bar.status)}, `);
    setText(this.#time, duration(bar.end - bar.start));
    this.node.title = `${this.#what}, since ${clock(bar.start, bar.end)}`;
  }
}
