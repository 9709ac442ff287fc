// @ts-check
/** The views that are one list with a filter: runs, sessions, connections. */
import { get } from "./api.js";
import { cancelRun, closeConnection } from "./actions.js";
import { button, choice, element, filterForm, labelled, setAttribute, setText, textField } from "./dom.js";
import { parseRoute, routeTo, sessionRoute } from "./routes.js";
import { action, link, Pager, status, Table, text } from "./table.js";
import { bytes, clock, count, duration, NOTHING, parseAge, stateWord } from "./words.js";

const TYPED_MS = 250; // after the last key, a filter is applied

/**
 * @typedef {Record<string, string>} Params
 * @typedef {HTMLInputElement | HTMLSelectElement} Field
 *
 * @typedef {object} ListOptions
 * @property {string} title
 * @property {string} name                     of the view, of its route, and of the rows in the answer
 * @property {Record<string, Field>} fields    by the names of the parameters
 * @property {string[]} labels                 of the fields
 * @property {Table<any>} table
 */

/** A list in pages of 200, with fields above it that are the parameters of its address. */
class ListView {
  #shown = "";
  #place = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #typing;
  #options;

  /** @param {ListOptions} options */
  constructor(options) {
    const { title, name, fields, labels, table } = options;
    this.#options = options;
    this.title = title;
    this.list = table;
    this.pager = new Pager(() => this.moved());
    const clear = button("small clear", "Clear", () => (location.hash = routeTo(name)));
    const shown = Object.values(fields).map((field, index) => labelled(labels[index], field));
    this.filter = filterForm(`Filter of the ${name}`, ...shown, clear);
    this.filter.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#go(), TYPED_MS);
    });
    this.node = element("div", "list", element("div", "tools", this.filter, this.pager.node), table.node);
  }

  /** Called when a page is turned. The page sets it. */
  moved = () => {};

  /** Go to the address of what the fields say. */
  #go() {
    const { name, fields } = this.#options;
    const params = Object.entries(fields).map(([each, field]) => [each, field.value.trim()]);
    this.#typing = undefined;
    location.replace(routeTo(name, Object.fromEntries(params)));
  }

  /** Forget a filter that was not applied: it would lead back to this view. */
  leave() {
    clearTimeout(this.#typing);
    this.#typing = undefined;
  }

  /** @param {Params} params @param {AbortSignal} signal */
  async refresh(params, signal) {
    const { name } = this.#options;
    const asked = JSON.stringify(params);
    if (asked !== this.#shown) this.pager.reset();
    this.#fill(params);
    const { after, first } = this.pager;
    const place = `${asked} ${after}`;
    const { [name]: values, total, next } = await get(name, { ...this.query(params), after }, signal);
    this.list.update(values, { first, total, anew: place !== this.#place });
    this.pager.show(values.length, total, next);
    this.#shown = asked;
    this.#place = place;
  }

  /** Show the parameters in the fields, but leave the field alone in which a person is. @param {Params} params */
  #fill(params) {
    if (this.#typing !== undefined) return;
    for (const [name, field] of Object.entries(this.#options.fields)) {
      const none = field instanceof HTMLSelectElement ? field.options[0].value : "";
      if (document.activeElement !== field) field.value = params[name] ?? none;
    }
  }

  /** Return what is asked of the server. @param {Params} params @returns {Record<string, unknown>} */
  query(params) {
    return params;
  }
}

// --- runs -------------------------------------------------------------------------------------------------------------

const OPEN_STATES = ["running", "asking", "queued", "stopping"];

export class RunsView extends ListView {
  #older;

  constructor() {
    const older = textField("30s, 5m, 2h", "brief");
    const fields = {
      agent: textField(),
      user: textField(),
      state: choice([["", "Any"], ...OPEN_STATES.map((each) => /** @type {[string, string]} */ ([each, stateWord(each)]))]),
      older,
      sort: choice([["", "Oldest first"], ["newest", "Newest first"]]),
    };
    const labels = ["Agent", "User", "State", "Older than", "Order"];
    super({ title: "Runs", name: "runs", labels, fields, table: runTable() });
    this.#older = older;
  }

  /** @param {Params} params @returns {Record<string, unknown>} */
  query({ older = "", ...rest }) {
    const age = parseAge(older);
    setAttribute(this.#older, "aria-invalid", older && age === null ? "true" : null);
    return { ...rest, older_than: age };
  }
}

function runTable() {
  return new Table({
    label: "Open runs",
    keyOf: (/** @type {any} */ { user, session, run }) => `${user}\n${session}\n${run}`,
    href: sessionRoute,
    act: cancelRun,
    empty: "No open run fits the filter.",
    columns: [
      { name: "agent", label: "Agent", show: agentCell },
      { name: "state", label: "State", show: status(({ state }) => state, stateWord) },
      { name: "age number", label: "Age", show: text(({ age }) => duration(age)) },
      { name: "doing", label: "Doing now", show: doing },
      { name: "number subs", label: "Sub-agents", show: text(({ subruns }) => (subruns ? count(subruns) : "")) },
      { name: "user", label: "User", show: text(({ user }) => user, ({ user }) => user) },
      { name: "session", label: "Session", show: link(({ session }) => session, sessionRoute) },
      { name: "run", label: "Run", show: text(({ run }) => run, ({ run }) => run) },
      { name: "actions", label: "", show: action("Cancel", ({ agent, run }) => `Cancel run ${run} of ${agent}`, cancelRun) },
    ],
  });
}

/** Show the agent of a run. A sub-agent is indented. @param {HTMLElement} cell @param {any} run */
function agentCell(cell, { agent, depth, parent }) {
  setText(cell, agent);
  cell.dataset.depth = String(Math.min(depth, 4));
  cell.title = depth ? `${agent}, a sub-agent of run ${parent}` : agent;
}

/** Show the open tool of a run, or its question. @param {HTMLElement} cell @param {any} run */
function doing(cell, { open_tool: tool, open_tools: tools, question }) {
  if (!cell.childElementCount) cell.append(element("code"), " ", element("span", "soft"));
  const [name, since] = cell.children;
  const open = tool ?? question;
  setText(name, tool ? tool.name : question ? "question" : "");
  setText(since, open ? `${duration(open.age)}${tools > 1 ? ` · ${tools} tools` : ""}` : "");
  cell.title = open ? `${tool ? `tool ${tool.name}` : "a question to the user"}, open since ${openedAt(open)}` : "";
}

/** Return when a tool or a question was opened. @param {{ since: number, age: number }} open */
function openedAt({ since, age }) {
  return clock(since, since + age);
}

// --- sessions ---------------------------------------------------------------------------------------------------------

export class SessionsView extends ListView {
  constructor() {
    super({ title: "Sessions", name: "sessions", labels: ["User"], fields: { user: textField() }, table: sessionTable() });
    this.node.prepend(openForm());
  }
}

/** Return the form that opens a session which need not be in memory. */
function openForm() {
  const user = textField("");
  const session = textField("");
  user.required = session.required = true;
  const fields = [labelled("User", user), labelled("Session", session), element("button", "", "Open")];
  const form = filterForm("Open a session by its name", ...fields);
  form.addEventListener("submit", () => {
    location.hash = sessionRoute({ user: user.value.trim(), session: session.value.trim() });
  });
  return element("details", "opener", element("summary", "", "Open a session that is not in memory"), form);
}

function sessionTable() {
  const agents = (/** @type {any} */ session) => session.agents?.join(", ") ?? "";
  const uncommitted = (/** @type {any} */ { seq, committed }) => (seq > committed ? count(seq - committed) : "");
  const faults = (/** @type {any} */ session) => session.faults?.join("; ") ?? "";
  return new Table({
    label: "Sessions in memory",
    keyOf: (/** @type {any} */ { user, session }) => `${user}\n${session}`,
    href: sessionRoute,
    empty: "No session is in memory.",
    columns: [
      { name: "session", label: "Session", show: link(({ session }) => session, sessionRoute) },
      { name: "user", label: "User", show: text(({ user }) => user, ({ user }) => user) },
      { name: "agents", label: "Open runs", show: text(agents, agents) },
      { name: "number", label: "Queued", show: text(({ queued }) => (queued ? count(queued) : "")) },
      { name: "number", label: "Clients", show: text(({ connections }) => count(connections)) },
      { name: "number", label: "Events", show: text(({ seq }) => count(seq)) },
      { name: "number", label: "Unsaved", show: text(uncommitted) },
      { name: "number", label: "In memory", show: text(({ bytes_in_memory: size }) => bytes(size)) },
      { name: "faults", label: "Faults", show: text(faults, faults) },
    ],
  });
}

// --- connections ------------------------------------------------------------------------------------------------------

const SLOWEST_FIRST = "lag";

export class ConnectionsView extends ListView {
  constructor() {
    const sort = choice([[SLOWEST_FIRST, "Most events behind"], ["waiting", "Most bytes waiting"], ["age", "Oldest"]]);
    const fields = { user: textField(), sort };
    super({ title: "Connections", name: "connections", labels: ["User", "Order"], fields, table: connectionTable() });
  }

  /** @param {Params} params @param {AbortSignal} signal */
  async refresh(params, signal) {
    this.list.sorted(params.sort || SLOWEST_FIRST);
    await super.refresh(params, signal);
  }

  /** @param {Params} params @returns {Record<string, unknown>} */
  query(params) {
    return { ...params, sort: params.sort || SLOWEST_FIRST };
  }
}

function connectionTable() {
  return new Table({
    label: "Connections",
    keyOf: (/** @type {any} */ { connection }) => connection,
    href: (each) => (each.session ? sessionRoute(each) : location.hash),
    act: closeConnection,
    empty: "No client is connected.",
    onSort: (sort) => (location.hash = routeTo("connections", { ...parseRoute(location.hash).params, sort })),
    columns: [
      { name: "user", label: "User", show: text(({ user }) => user ?? NOTHING, ({ user }) => user ?? "") },
      { name: "session", label: "Session", show: sessionCell },
      { name: "state", label: "State", show: text(({ state }) => state) },
      { name: "number lag", label: "Events behind", sort: SLOWEST_FIRST, show: text(({ lag_events: lag }) => count(lag)) },
      { name: "number", label: "Waiting", sort: "waiting", show: text(({ waiting_bytes: size }) => bytes(size)) },
      { name: "number", label: "Blocked", show: text(({ blocked_seconds: time }) => (time ? duration(time) : "")) },
      { name: "number age", label: "Age", sort: "age", show: text(({ age }) => duration(age)) },
      { name: "address", label: "Address", show: text(({ address }) => address, ({ address }) => address) },
      { name: "actions", label: "", show: action("Close", ({ connection }) => `Close connection ${connection}`, closeConnection) },
    ],
  });
}

/** @param {HTMLElement} cell @param {any} connection */
function sessionCell(cell, connection) {
  if (connection.session) link((/** @type {any} */ each) => each.session, sessionRoute)(cell, connection);
  else if (!cell.childElementCount) setText(cell, NOTHING);
}
