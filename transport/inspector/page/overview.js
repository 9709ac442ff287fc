// @ts-check
/** The server at a glance: its figures with their newest values as lines, runs by agent, health, and its other numbers. */
import { element, Rows, setAttribute, setText, svg } from "./dom.js";
import { Spark, withSample } from "./history.js";
import { labelOf } from "./labels.js";
import { routeTo, sessionRoute, workerAddress } from "./routes.js";
import { link, Table, text } from "./table.js";
import { bytes, count, duration, flat, rate, stateWord } from "./words.js";

/**
 * @typedef {Record<string, any>} Overview  the answer of api/overview
 *
 * @typedef {object} Figure
 * @property {string} label
 * @property {(seen: Overview) => number | null | undefined} read
 * @property {(value: number | null | undefined) => string} show
 * @property {(seen: Overview) => string} detail
 * @property {string | ((seen: Overview) => string | null)} [href]  the view that has more about it, if any has now
 * @property {string} [sample]  its name in the server's samples
 */

/** @type {Figure[]} */
const FIGURES = [
  {
    label: "Events per second",
    read: (seen) => seen.events_per_second,
    show: rate,
    detail: (seen) => `${count(seen.events_total)} in all`,
    sample: "events_per_second",
  },
  {
    label: "Runs running",
    read: (seen) => seen.runs?.running,
    show: count,
    detail: (seen) => `${count(seen.runs?.asking)} asking their users`,
    href: routeTo("runs"),
  },
  {
    label: "Runs queued",
    read: (seen) => seen.runs?.queued,
    show: count,
    detail: () => "wait for their turn",
    href: routeTo("runs", { state: "queued" }),
  },
  {
    label: "Sessions",
    read: (seen) => seen.sessions,
    show: count,
    detail: (seen) => `${count(seen.users)} ${seen.users === 1 ? "user" : "users"} connected`,
    href: routeTo("sessions"),
  },
  {
    label: "Connections",
    read: (seen) => seen.connections,
    show: count,
    detail: waitingWords,
    href: routeTo("connections"),
  },
  {
    label: "Longest open tool",
    read: (seen) => seen.longest_tool?.age,
    show: duration,
    detail: ({ longest_tool: tool }) => (tool ? `${tool.name} of ${tool.agent} · ${tool.user}` : "no tool is open"),
    href: ({ longest_tool: tool }) => tool && sessionRoute(tool),
  },
  { label: "Commit wait, 99 % below", read: (seen) => seen.commit_wait?.p99, show: duration, detail: commitWords },
  {
    label: "Event loop lag",
    read: (seen) => seen.loop_lag?.last,
    show: duration,
    detail: (seen) => `longest ${duration(seen.loop_lag?.max)}`,
    sample: "loop_lag",
  },
  {
    label: "Failures",
    read: (seen) => seen.failures,
    show: count,
    detail: () => "since the start",
    href: routeTo("failures"),
  },
  {
    label: "Restarts",
    read: (seen) => seen.restarts,
    show: count,
    detail: (seen) => `${count(seen.actors)} actors`,
    href: routeTo("tree"),
  },
];
const ENDINGS = ["ok", "error", "timeout", "cancelled", "interrupted"];
const PANELS = [
  ["log", "Event log"],
  ["tool_threads", "Threads of tools"],
  ["quotas", "Limits of users"],
  ["endpoint", "WebSocket connections"],
  ["cluster", "Cluster"],
];
const BAR_WIDTH = 100;

/** @param {Overview} seen */
function commitWords({ commit_wait: wait }) {
  return wait ? `median ${duration(wait.p50)} · longest ${duration(wait.max)}` : "the log never waits";
}

/** @param {Overview} seen */
function waitingWords({ waiting_bytes: waiting, blocked }) {
  return blocked ? `${count(blocked)} ${blocked === 1 ? "takes" : "take"} no data` : `${bytes(waiting)} waiting`;
}

export class OverviewView {
  title = "Overview";
  #cards = FIGURES.map((figure) => new Card(figure));
  #reasons = element("ul", "reasons");
  #health = element("p", "verdict");
  #agents = agentTable();
  #workers = new Workers();
  #panels = PANELS.map(([name, label]) => new Panel(name, label));
  node = element(
    "div",
    "overview",
    element("div", "cards", ...this.#cards.map(({ node }) => node)),
    section("Health", this.#health, this.#reasons),
    this.#workers.node,
    section("Runs by agent", this.#agents.node),
    element("div", "panels", ...this.#panels.map(({ node }) => node)),
  );
  list = this.#agents;

  /** Note the figures of this moment, also while another view is shown. @param {Overview} seen */
  observe(seen) {
    for (const card of this.#cards) card.update(seen);
    const { ok, ready, reasons } = seen.health;
    setText(this.#health, healthWords(seen.health));
    setAttribute(this.#health, "data-health", ok ? (ready ? "ok" : "unready") : "failed");
    this.#reasons.hidden = !reasons.length;
    if ([...this.#reasons.children].map((each) => each.textContent).join("\n") !== reasons.join("\n")) {
      this.#reasons.replaceChildren(...reasons.map((/** @type {string} */ reason) => element("li", "", reason)));
    }
    this.#workers.update(seen);
    this.#agents.update((seen.runs?.by_agent ?? []).slice(0, 200));
    for (const panel of this.#panels) panel.update(seen);
  }

  /** Nothing is asked besides the overview, which the page asks for in any view. */
  async refresh() {}
}

/** @param {{ ok: boolean, ready: boolean }} health */
function healthWords({ ok, ready }) {
  if (!ok) return "The server has to be started again.";
  return ready ? "The server works and takes clients." : "The server works, but takes no new clients now.";
}

/** @param {string} title @param {Node[]} content */
function section(title, ...content) {
  return element("section", "panel", element("h2", "", title), ...content);
}

/** One figure. */
class Card {
  #figure;
  /** @type {(number | null)[]} */ #samples = [];
  #value = element("span", "value");
  #detail = element("span", "detail");
  #spark = new Spark();

  /** @param {Figure} figure */
  constructor(figure) {
    this.#figure = figure;
    const label = element("span", "label", figure.label);
    this.node = element(figure.href ? "a" : "div", "card", label, this.#value, this.#detail);
    this.node.append(this.#spark.node);
    if (typeof figure.href === "string") this.node.setAttribute("href", figure.href);
  }

  /** @param {Overview} seen */
  update(seen) {
    const { read, show, detail, sample } = this.#figure;
    if (!this.#samples.length && sample) {
      // The server remembers the last minutes of some figures: the line need not begin with this page.
      for (const each of (seen.samples ?? []).slice(0, -1)) this.#samples = withSample(this.#samples, each[sample] ?? null);
    }
    this.#samples = withSample(this.#samples, read(seen) ?? null);
    setText(this.#value, show(read(seen)));
    setText(this.#detail, detail(seen));
    this.#spark.show(this.#samples);
    if (typeof this.#figure.href === "function") setAttribute(this.node, "href", this.#figure.href(seen));
  }
}

/**
 * The processes of a server with workers. Each of them shows only its own numbers, so the others are linked.
 *
 * @typedef {{ worker: number, node: string | null, port: number | null }} Worker
 */
class Workers {
  #hint = element("p", "soft");
  #list = element("ul", "workers");
  /** @type {Rows<Worker>} */ #rows = new Rows(this.#list, ({ worker }) => String(worker), () => this.#row());
  /** @type {Overview} */ #seen = {};
  node = section("Workers", this.#hint, this.#list);

  constructor() {
    this.node.hidden = true;
  }

  /** @param {Overview} seen */
  update({ workers }) {
    this.node.hidden = !workers;
    if (!workers) return;
    this.#seen = workers;
    const apart = workers.all.some((/** @type {Worker} */ { port }) => port !== null);
    setText(this.#hint, apart ? workersWords(workers) : `${workersWords(workers)} ${NO_PORTS}`);
    this.#rows.update(workers.all);
  }

  #row() {
    const name = element("a");
    const detail = element("span", "soft");
    const update = (/** @type {Worker} */ { worker, node, port }) => {
      setText(name, `Worker ${worker}`);
      setAttribute(name, "href", port === null ? null : workerAddress(location, this.#seen.scheme, port));
      setAttribute(name, "aria-current", worker === this.#seen.number ? "true" : null);
      const words = [worker === this.#seen.number && "answers here", node, port !== null && `port ${port}`];
      setText(detail, words.filter(Boolean).join(" · "));
    };
    return { node: element("li", "", name, " ", detail), update };
  }
}

const NO_PORTS = "To reach each of them, set worker_http_port.";

/** @param {{ number: number, count: number }} workers */
function workersWords({ number, count: all }) {
  return `All numbers are those of worker ${number} of ${all}, which answers here.`;
}

/** The numbers of one part of the server. */
class Panel {
  #name;
  #list = element("dl", "facts");
  /** @type {Rows<[string, string]>} */ #rows = new Rows(this.#list, ([name]) => name, factView);

  /** @param {string} name @param {string} label */
  constructor(name, label) {
    this.#name = name;
    this.node = section(label, this.#list);
    this.node.hidden = true;
  }

  /** @param {Overview} seen */
  update(seen) {
    const facts = flat(seen[this.#name]);
    this.node.hidden = !facts.length;
    this.#rows.update(facts.map(([path, shown]) => [labelOf(this.#name, path), shown]));
  }
}

/** @param {[string, string]} fact */
function factView([name]) {
  const value = element("dd");
  const node = element("div", "", element("dt", "", name), value);
  return { node, update: (/** @type {[string, string]} */ [, shown]) => setText(value, shown) };
}

function agentTable() {
  /** @type {(name: string) => (agent: any) => string} */
  const number = (name) => (agent) => count(agent[name]);
  return new Table({
    label: "Runs by agent",
    keyOf: (/** @type {any} */ { agent }) => agent,
    href: ({ agent }) => routeTo("runs", { agent }),
    empty: "No agent has run since the start.",
    columns: [
      { name: "agent", label: "Agent", show: link(({ agent }) => agent, ({ agent }) => routeTo("runs", { agent })) },
      { name: "number", label: "Running", show: text(number("running")) },
      { name: "number", label: "Queued", show: text(number("queued")) },
      { name: "number", label: "Asking", show: text(number("asking")) },
      { name: "endings", label: "How runs ended", show: endings },
      ...ENDINGS.map((name) => ({ name: `number ${name}`, label: stateWord(name), show: text(number(name)) })),
    ],
  });
}

/**
 * Show how the runs of an agent ended, as a bar with a part for each way. The numbers stand beside it.
 *
 * @param {HTMLElement} cell @param {any} agent
 */
function endings(cell, agent) {
  if (!cell.firstElementChild) {
    const parts = ENDINGS.map((name) => svg("rect", { "data-status": name, y: 0, height: 8 }));
    const shape = { class: "share", viewBox: `0 0 ${BAR_WIDTH} 8`, preserveAspectRatio: "none", "aria-hidden": "true" };
    cell.append(svg("svg", shape, ...parts));
  }
  const total = ENDINGS.reduce((sum, name) => sum + (agent[name] ?? 0), 0);
  let from = 0;
  ENDINGS.forEach((name, index) => {
    const width = total ? (BAR_WIDTH * (agent[name] ?? 0)) / total : 0;
    const part = /** @type {Element} */ (cell.firstElementChild?.children[index]);
    setAttribute(part, "x", from);
    setAttribute(part, "width", width);
    from += width;
  });
}
