// @ts-check

/**
 * The state of a session as plain data, made from its events by one pure function.
 *
 *     import { sessionStore } from "./store.js";
 *
 *     const store = sessionStore("wss://example.com/", { session: "s1", token: fetchToken });
 *     const stop = store.subscribe((snapshot) => render(snapshot));
 *     await store.start("assistant", "hello");
 *
 * An application can rely on these rules:
 * - A snapshot is JSON: it can be stored, sent and compared. It is never changed. The next snapshot shares every part that
 *   did not change, so that a view can skip a part by `===`.
 * - `reduce` is pure and never throws. The same events in the same order make the same snapshot, in one batch or in many.
 *   An event with a `seq` that was already applied returns the same snapshot.
 * - An event of an unknown type, or with values of the wrong type, changes nothing except `seq`.
 * - After a reset the snapshot has no part of the earlier events, and `lost` has the reason.
 * - A run of which only the last events are kept is shown from there, with `partial: true`.
 *
 * `subscribe` and `getSnapshot` have the form that React's `useSyncExternalStore` and Svelte's stores expect.
 */
import { connect } from "./greenroom.js";

/**
 * @typedef {import("./greenroom.js").Event} Event
 * @typedef {import("./greenroom.js").JSONValue} JSONValue
 * @typedef {import("./greenroom.js").State} State
 *
 * @typedef {"running" | "ok" | "error" | "timeout" | "cancelled" | "interrupted" | string} Status
 * @typedef {{ code: string, message: string }} Failure
 *
 * @typedef {{ kind: "output", seq: number, text: string }} Output  consecutive pieces, joined
 * @typedef {{ kind: "thinking", seq: number, ts: number, text: string }} Thinking
 * @typedef {{ kind: "tool", seq: number, run: string, id: string, tool: string, arguments: any, status: Status,
 *   started: number, ended: number | null, duration_ms: number | null, result: any, error: Failure | null }} Tool
 * @typedef {{ kind: "question", seq: number, run: string, id: string, prompt: string, schema: any,
 *   status: "open" | "answered" | "withdrawn", asked: number, value: any, by: string | null, reason: string | null }} Question
 *   `reason`: `timeout` or `cancelled`, or the status of the run, whose end withdraws its questions
 * @typedef {{ kind: "run", seq: number, id: string }} RunItem  a run that begins here; its state is in `runs`
 * @typedef {{ kind: "custom", seq: number, ts: number, name: string, value: any }} Custom
 * @typedef {Output | Thinking | Tool | Question | RunItem | Custom} Item
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {string | null} parent      the id of the run that called this one; null for a run that a person started
 * @property {string} agent              "" while it is not known (only with `partial`)
 * @property {any} input
 * @property {string | null} command_id  of the command that started it
 * @property {boolean} partial           its first events are no longer kept
 * @property {Status} status
 * @property {number} seq                of its first event
 * @property {number} last               seq of its last event so far
 * @property {number} started            in ms since 1970, as `ended`
 * @property {number | null} ended
 * @property {number | null} duration_ms
 * @property {string} text               all its output
 * @property {Item[]} items              what it did, in the order of the log
 * @property {any} result
 * @property {Failure | null} error
 * @property {any} usage
 *
 * @typedef {{ command_id: string, agent: string, input: any, own: boolean, status: "sending" | "queued" }} Start
 *   a start without a run. `own`: of this store, so its input is known. `queued`: the server has it, and it waits for its turn
 * @typedef {{ kind: "message", seq: number, ts: number, text: string }} Message
 * @typedef {{ kind: "refused", command_id: string, agent: string, input: any, status: "refused" | "cancelled", error: Failure }} Refused
 *   a start of this store that did not become a run
 *
 * @typedef {object} Connection
 * @property {State} state
 * @property {number | null} retryAt  when the next attempt begins, in ms since 1970; null unless `waiting`
 * @property {number} attempt         failed attempts in a row
 * @property {number | null} code     close code of the newest failure; null while live
 * @property {string} reason          of that failure
 * @property {boolean} wasLive        whether there ever was a welcome
 * @property {string} id              the server's name for the newest connection
 *
 * @typedef {object} Snapshot
 * @property {string} epoch           with `seq` the position, for `resume`; "" before the first welcome
 * @property {number} seq             of the newest event that was applied, 0 before the first one
 * @property {number} first           seq of the first event that was applied; above 1 if earlier ones are not kept
 * @property {{ reason: string, seq: number } | null} lost  the newest reset, and the `seq` before it
 * @property {Run[]} runs             all runs in the order of their starts, sub-agents too
 * @property {(RunItem | Message | Custom | Refused)[]} timeline  what the session consists of, oldest first
 * @property {Start[]} starts         starts that have no run yet, oldest first
 * @property {{ by: string, id: string }[]} typing  who is typing, without this connection
 * @property {Connection} connection
 *
 * @typedef {Event | { type: string, [field: string]: any }} Change
 *   an event, a reset or a welcome as the client delivers it, or
 *   `{ type: "state", …StateChange }`, `{ type: "signal", name, data }`,
 *   `{ type: "start", command_id, agent, input }`, `{ type: "start_failed", command_id, code, message }`
 */

/** The snapshot before the first event. @type {Snapshot} */
export const EMPTY = {
  epoch: "",
  seq: 0,
  first: 0,
  lost: null,
  runs: [],
  timeline: [],
  starts: [],
  typing: [],
  connection: { state: "connecting", retryAt: null, attempt: 0, code: null, reason: "", wasLive: false, id: "" },
};

/**
 * Return the snapshot after `change`: `snapshot` itself if nothing changed.
 *
 * @param {Snapshot} snapshot @param {Change} change @returns {Snapshot}
 */
export function reduce(snapshot, change) {
  return reduceAll(snapshot, [change]);
}

/**
 * Return the snapshot after all `changes`. The result is the same as with `reduce` for each. It is faster: each part is
 * copied once for all changes, and not once for each.
 *
 * @param {Snapshot} snapshot @param {Iterable<Change>} changes @returns {Snapshot}
 */
export function reduceAll(snapshot, changes) {
  const draft = new Draft(snapshot);
  for (const change of changes) apply(draft, change);
  return draft.result;
}

/** Return the run with this id, or undefined. @param {Snapshot} snapshot @param {string} id @returns {Run | undefined} */
export function runOf({ runs }, id) {
  return runs[placeOf(runs, id)];
}

/** Return the runs that a person started and that are open, oldest first. @param {Snapshot} snapshot */
export function openRuns({ runs }) {
  return runs.filter(({ parent, status }) => parent === null && status === "running");
}

/**
 * Return the questions that wait for the user's answer, oldest first. Answer with `answer(question.run, question.id, value)`.
 *
 * @param {Snapshot} snapshot @returns {Question[]}
 */
export function openQuestions({ runs }) {
  const all = runs.flatMap(({ status, items }) => (status === "running" ? items : []));
  return all.flatMap((item) => (item.kind === "question" && item.status === "open" ? item : [])).sort((a, b) => a.seq - b.seq);
}

// --- the reducer ----------------------------------------------------------------------------------------------------

/** A snapshot that is being made: it copies each part before its first change, and leaves the original alone. */
class Draft {
  #copies = new Set();
  #root;

  /** @param {Snapshot} snapshot */
  constructor(snapshot) {
    this.#root = { snapshot };
  }

  /** The snapshot so far. Only for reading: use `change` to change it. */
  get result() {
    return this.#root.snapshot;
  }

  /** Return the snapshot as a copy that may be changed. */
  change() {
    return this.copy(this.#root, "snapshot");
  }

  /**
   * Put a copy in the place of `parent[key]`, unless it is one already, and return it for changes.
   *
   * @template {object} P @template {keyof P} K @param {P} parent @param {K} key @returns {P[K]}
   */
  copy(parent, key) {
    const value = /** @type {any} */ (parent[key]);
    if (this.#copies.has(value)) return value;
    const made = Array.isArray(value) ? [...value] : { ...value };
    this.#copies.add(made);
    parent[key] = made;
    return made;
  }

  /**
   * Return a list of the snapshot for changes.
   *
   * @template {"runs" | "timeline" | "starts" | "typing"} K @param {K} key @returns {Snapshot[K]}
   */
  list(key) {
    return this.copy(this.change(), key);
  }

  /** Return a run for changes. @param {number} place @returns {Run} */
  run(place) {
    return this.copy(this.list("runs"), place);
  }
}

/** @param {Draft} draft @param {any} change */
function apply(draft, change) {
  if (!isObject(change)) return;
  if (!isSeq(change.seq)) return CHANGES.get(change.type)?.(draft, change);
  const { seq, first } = draft.result;
  if (change.seq <= seq) return; // applied already
  const snapshot = draft.change();
  snapshot.seq = change.seq;
  if (!first) snapshot.first = change.seq;
  if (isObject(change.data)) EVENTS.get(change.type)?.(draft, change, change.data);
}

/** What each type of event does. @type {Map<any, (draft: Draft, event: any, data: any) => void>} */
const EVENTS = new Map(Object.entries({
  agent_started: started,
  agent_thinking(draft, event, { text }) {
    if (typeof text === "string") add(draft, event, { kind: "thinking", seq: event.seq, ts: timeOf(event), text });
  },
  agent_output: said,
  tool_executing(draft, event, { tool, arguments: given }) {
    if (!isName(event.call_id) || typeof tool !== "string") return;
    add(draft, event, {
      kind: "tool", seq: event.seq, run: event.run_id, id: event.call_id, tool, arguments: given ?? null, status: "running",
      started: timeOf(event), ended: null, duration_ms: null, result: null, error: null,
    });
  },
  tool_completed(draft, event, data) {
    const tool = open(draft, event, "tool", "running");
    if (tool && isName(data.status)) Object.assign(tool, ended(event, data));
  },
  input_requested(draft, event, { prompt, schema }) {
    if (!isName(event.call_id) || typeof prompt !== "string") return;
    add(draft, event, {
      kind: "question", seq: event.seq, run: event.run_id, id: event.call_id, prompt, schema: schema ?? null, status: "open",
      asked: timeOf(event), value: null, by: null, reason: null,
    });
  },
  input_received(draft, event, { value, by }) {
    const question = open(draft, event, "question", "open");
    if (question) Object.assign(question, { status: "answered", value: value ?? null, by: typeof by === "string" ? by : null });
  },
  input_withdrawn(draft, event, { reason }) {
    const question = open(draft, event, "question", "open");
    if (question) Object.assign(question, { status: "withdrawn", reason: isName(reason) ? reason : null });
  },
  agent_completed: completed,
  user_message(draft, event, { text }) {
    if (typeof text === "string") draft.list("timeline").push({ kind: "message", seq: event.seq, ts: timeOf(event), text });
  },
  custom(draft, event, { name, value }) {
    if (typeof name !== "string") return;
    /** @type {Custom} */
    const item = { kind: "custom", seq: event.seq, ts: timeOf(event), name, value: value ?? null };
    if (event.run_id === undefined) draft.list("timeline").push(item); // of the session itself
    else add(draft, event, item);
  },
}));

/** What each other change does. @type {Map<any, (draft: Draft, change: any) => void>} */
const CHANGES = new Map(Object.entries({
  reset(draft, { reason }) {
    const { seq, timeline } = draft.result;
    Object.assign(draft.change(), {
      epoch: "", seq: 0, first: 0, lost: { reason: isName(reason) ? reason : "unknown", seq }, runs: [],
      timeline: timeline.filter(({ kind }) => kind === "refused"),
    });
  },
  state: entered,
  welcome(draft, { epoch, connection, typing, queued }) {
    const snapshot = draft.change();
    if (isName(epoch)) snapshot.epoch = epoch;
    Object.assign(draft.copy(snapshot, "connection"), { wasLive: true, id: isName(connection) ? connection : "" });
    snapshot.typing = listOf(typing).filter(({ by, id }) => isName(by) && isName(id) && id !== connection).map(({ by, id }) => ({ by, id }));
    const waiting = new Map(listOf(queued).flatMap(({ command_id, agent }) => (isName(command_id) ? [[command_id, agent]] : [])));
    for (const { command_id } of [...snapshot.starts]) if (!waiting.has(command_id)) queue(draft, command_id, "", false);
    for (const [commandId, agent] of waiting) queue(draft, commandId, agent, true);
  },
  signal(draft, { name, data }) {
    if (!isObject(data)) return;
    if (name === "queued" && isName(data.command_id)) queue(draft, data.command_id, data.agent, data.waiting === true);
    if (name === "typing" && isName(data.by) && isName(data.id)) type(draft, data.by, data.id, data.active === true);
  },
  start(draft, { command_id, agent, input }) {
    const { starts, runs } = draft.result;
    const known = [...starts, ...runs].some((each) => each.command_id === command_id);
    if (!isName(command_id) || known) return; // a command that is repeated starts no second run
    draft.list("starts").push({ command_id, agent: nameOf(agent), input: input ?? null, own: true, status: "sending" });
  },
  start_failed(draft, { command_id, code, message }) {
    const start = takeStart(draft, command_id);
    if (!start) return;
    const { agent, input } = start;
    const error = { code: nameOf(code), message: nameOf(message) };
    const status = code === "cancelled" ? "cancelled" : "refused";
    draft.list("timeline").push({ kind: "refused", command_id, agent, input, status, error });
  },
}));

/** @param {Draft} draft @param {any} event @param {any} data */
function started(draft, event, { agent, input, command_id }) {
  if (!isName(event.run_id) || placeOf(draft.result.runs, event.run_id) >= 0) return;
  const commandId = isName(command_id) ? command_id : null;
  begin(draft, event, { agent: nameOf(agent), input: input ?? null, command_id: commandId });
  if (commandId === null) return;
  takeStart(draft, commandId);
  const refused = draft.result.timeline.findIndex((item) => item.kind === "refused" && item.command_id === commandId);
  if (refused >= 0) draft.list("timeline").splice(refused, 1); // it was taken for lost (`outcome_unknown`)
}

/** Add a run, in its parent or in the timeline. Return its place. @param {Draft} draft @param {any} event @param {Partial<Run>} known */
function begin(draft, event, known) {
  const parent = isName(event.parent_run_id) && event.parent_run_id !== event.run_id ? event.parent_run_id : null;
  const item = /** @type {RunItem} */ ({ kind: "run", seq: event.seq, id: event.run_id });
  if (parent === null) draft.list("timeline").push(item);
  else {
    const found = placeOf(draft.result.runs, parent);
    // Of a parent without an event that is kept, nothing but its id is known.
    const place = found >= 0 ? found : begin(draft, { ...event, run_id: parent, parent_run_id: undefined }, { partial: true });
    draft.copy(draft.run(place), "items").push(item);
  }
  return draft.list("runs").push({
    id: event.run_id, parent, agent: "", input: null, command_id: null, partial: false, status: "running", seq: event.seq,
    last: event.seq, started: timeOf(event), ended: null, duration_ms: null, text: "", items: [], result: null, error: null,
    usage: null, ...known,
  }) - 1;
}

/**
 * Return the run of an event for changes. An event of a run whose start is not kept makes the run. Return undefined if the
 * run is over: nothing comes after its end.
 *
 * @param {Draft} draft @param {any} event
 */
function runOfEvent(draft, event) {
  if (!isName(event.run_id)) return undefined;
  const { runs } = draft.result;
  const found = placeOf(runs, event.run_id);
  if (found >= 0 && runs[found].status !== "running") return undefined;
  const run = draft.run(found >= 0 ? found : begin(draft, event, { partial: true }));
  run.last = event.seq;
  return run;
}

/** @param {Draft} draft @param {any} event @param {Item} item */
function add(draft, event, item) {
  const run = runOfEvent(draft, event);
  if (run) draft.copy(run, "items").push(item);
}

/** @param {Draft} draft @param {any} event @param {any} data */
function said(draft, event, { text }) {
  const run = typeof text === "string" ? runOfEvent(draft, event) : undefined;
  if (!run) return;
  run.text += text;
  const items = draft.copy(run, "items");
  if (items.at(-1)?.kind === "output") /** @type {Output} */ (draft.copy(items, items.length - 1)).text += text;
  else items.push({ kind: "output", seq: event.seq, text });
}

/**
 * Return the newest item of the event's call that is open, for changes.
 *
 * @param {Draft} draft @param {any} event @param {string} kind @param {string} status @returns {any}
 */
function open(draft, event, kind, status) {
  const run = runOfEvent(draft, event);
  if (!run) return undefined;
  const matches = (/** @type {any} */ item) => item.kind === kind && item.id === event.call_id && item.status === status;
  const place = run.items.findLastIndex(matches);
  return place < 0 ? undefined : draft.copy(draft.copy(run, "items"), place);
}

/** @param {Draft} draft @param {any} event @param {any} data */
function completed(draft, event, data) {
  const run = isName(data.status) ? runOfEvent(draft, event) : undefined;
  if (!run) return;
  const { agent } = run;
  Object.assign(run, ended(event, data), { usage: data.usage ?? null, agent: agent || nameOf(data.agent) });
  run.items.forEach((item, place) => {
    if (item.kind !== "question" || item.status !== "open") return;
    Object.assign(draft.copy(draft.copy(run, "items"), place), { status: "withdrawn", reason: data.status });
  });
}

/** Return the fields of the end of a run or of a tool. @param {any} event @param {any} data */
function ended(event, { status, result, error, duration_ms }) {
  const failure = isObject(error) ? { code: nameOf(error.code), message: nameOf(error.message) } : null;
  const duration = Number.isFinite(duration_ms) ? duration_ms : null;
  return { status, ended: timeOf(event), duration_ms: duration, result: result ?? null, error: failure };
}

/** The connection entered a state. @param {Draft} draft @param {any} change */
function entered(draft, { state, retryAt, code, reason }) {
  if (!isName(state)) return;
  const snapshot = draft.change();
  const connection = draft.copy(snapshot, "connection");
  connection.state = /** @type {State} */ (state);
  connection.retryAt = state === "waiting" && Number.isFinite(retryAt) ? retryAt : null;
  if (state === "waiting") connection.attempt += 1;
  if (state === "live") Object.assign(connection, { attempt: 0, code: null, reason: "" });
  else if (snapshot.typing.length) snapshot.typing = []; // the next welcome says who still types
  if (state === "waiting" || state === "closed") Object.assign(connection, { code: Number.isInteger(code) ? code : null, reason: nameOf(reason) });
}

/**
 * A start waits for its turn, or no longer does: then its run or its refusal follows. Of a start of another tab only the
 * agent is known, and its run brings the rest.
 *
 * @param {Draft} draft @param {string} commandId @param {any} agent @param {boolean} waits
 */
function queue(draft, commandId, agent, waits) {
  const { starts, runs } = draft.result;
  const place = starts.findIndex((start) => start.command_id === commandId);
  const status = waits ? "queued" : "sending";
  if (place < 0) {
    if (!waits || runs.some((run) => run.command_id === commandId)) return;
    draft.list("starts").push({ command_id: commandId, agent: nameOf(agent), input: null, own: false, status });
  } else if (!waits && !starts[place].own) {
    draft.list("starts").splice(place, 1);
  } else if (starts[place].status !== status) {
    draft.copy(draft.list("starts"), place).status = status;
  }
}

/** Remove a start, and return it if there was one. @param {Draft} draft @param {any} commandId @returns {Start | undefined} */
function takeStart(draft, commandId) {
  const place = draft.result.starts.findIndex((start) => start.command_id === commandId);
  return place < 0 ? undefined : draft.list("starts").splice(place, 1)[0];
}

/** @param {Draft} draft @param {string} by @param {string} id @param {boolean} active */
function type(draft, by, id, active) {
  const { typing, connection } = draft.result;
  const place = typing.findIndex((typist) => typist.id === id);
  if (id === connection.id || active === place >= 0) return;
  if (active) draft.list("typing").push({ by, id });
  else draft.list("typing").splice(place, 1);
}

/** Return the place of a run, or -1. Open runs are near the end. @param {Run[]} runs @param {string} id */
function placeOf(runs, id) {
  return runs.findLastIndex((run) => run.id === id);
}

// Values that came over the network: nothing is certain of them

/** @param {any} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {any} value @returns {value is string} */
function isName(value) {
  return typeof value === "string" && value !== "";
}

/** @param {any} value */
function nameOf(value) {
  return typeof value === "string" ? value : "";
}

/** @param {any} value */
function isSeq(value) {
  return Number.isSafeInteger(value) && value > 0;
}

/** @param {any} event @returns {number} */
function timeOf({ ts }) {
  return Number.isFinite(ts) ? ts : 0;
}

/** @param {any} value @returns {any[]} */
function listOf(value) {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

// --- the store ------------------------------------------------------------------------------------------------------

const BATCH = 1_024; // changes that wait at most until they are reduced: a hidden page has no frames, and may get many events
const FRAME_MS = 16; // between two snapshots where there are no frames
const LATEST_MS = 1_000; // after which a frame that was asked for no longer counts

/**
 * Connect to a session, and keep its snapshot until `close()`. The arguments are those of `connect` of greenroom.js.
 *
 * @param {string | URL} url @param {import("./greenroom.js").Options} options
 */
export function sessionStore(url, options) {
  return new SessionStore(connect(url, options));
}

/** A client and the snapshot of its session. `sessionStore` makes it. */
export class SessionStore {
  #snapshot = EMPTY;
  /** @type {Change[]} */ #waiting = [];
  /** @type {Set<(snapshot: Snapshot) => void>} */ #listeners = new Set();
  #shown = EMPTY; // the snapshot that the listeners have
  #planned = false;

  /** @param {import("./greenroom.js").Client} client  one that no other code listens to yet, so that no event is missed */
  constructor(client) {
    /** The client: for its `cancel`, `answer`, `send`, `typing`, `reconnect`, and for signals of the application. */
    this.client = client;
    client.addEventListener("event", ({ detail }) => this.#take(detail));
    client.addEventListener("reset", ({ detail }) => this.#take(detail));
    client.addEventListener("state", ({ detail }) => this.#take({ type: "state", ...detail }));
    client.addEventListener("signal", ({ detail }) => this.#take({ type: "signal", ...detail }));
    client.addEventListener("welcome", ({ detail }) => this.#take({ ...detail, type: "welcome" }));
  }

  /** Return the newest snapshot. */
  getSnapshot = () => {
    this.#drain();
    return this.#snapshot;
  };

  /**
   * Call `listener` with the snapshot now, and after changes: at most once for each frame that the browser shows. Return a
   * function that ends this. An exception of a listener is reported, and harms no other.
   *
   * @param {(snapshot: Snapshot) => void} listener @returns {() => void}
   */
  subscribe = (listener) => {
    const own = (/** @type {Snapshot} */ snapshot) => listener(snapshot); // one listener may subscribe twice
    this.#listeners.add(own);
    this.#call(own, this.getSnapshot());
    return () => void this.#listeners.delete(own);
  };

  /**
   * Start a run, as `client.start` does. Until its run or its refusal comes, the snapshot has it in `starts`.
   *
   * @param {string} agent @param {JSONValue} input
   * @param {Parameters<import("./greenroom.js").Client["start"]>[2]} [options] @returns {Promise<string>}
   */
  async start(agent, input, { commandId = newId(), ...options } = {}) {
    this.#take({ type: "start", command_id: commandId, agent, input });
    try {
      return await this.client.start(agent, input, { commandId, ...options });
    } catch (/** @type {any} */ error) {
      this.#take({ type: "start_failed", command_id: commandId, code: error?.code, message: error?.message });
      throw error;
    }
  }

  /** Detach for good, as `client.close` does. The snapshot stays. */
  close() {
    this.client.close();
  }

  /** @param {Change} change */
  #take(change) {
    this.#waiting.push(change);
    if (this.#waiting.length >= BATCH) this.#drain();
    if (this.#planned) return;
    this.#planned = true;
    nextFrame(() => {
      this.#planned = false;
      this.#notify();
    });
  }

  #drain() {
    if (this.#waiting.length) this.#snapshot = reduceAll(this.#snapshot, this.#waiting.splice(0));
  }

  #notify() {
    this.#drain();
    const snapshot = this.#snapshot;
    if (snapshot === this.#shown) return;
    this.#shown = snapshot;
    for (const listener of [...this.#listeners]) this.#call(listener, snapshot);
  }

  /** @param {(snapshot: Snapshot) => void} listener @param {Snapshot} snapshot */
  #call(listener, snapshot) {
    try {
      listener(snapshot);
    } catch (error) {
      if (typeof globalThis.reportError === "function") globalThis.reportError(error);
      else console.error(error);
    }
  }
}

/**
 * Call `act` before the browser shows the next frame. Where there are no frames (Node, a hidden page), a timer takes their
 * place. *A page may be hidden between the two: then the frame that was asked for comes when it is shown again, in hours.*
 *
 * @param {() => void} act
 */
function nextFrame(act) {
  const drawn = typeof requestAnimationFrame === "function" && globalThis.document?.visibilityState !== "hidden";
  let over = false;
  const once = () => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    act();
  };
  const timer = setTimeout(once, drawn ? LATEST_MS : FRAME_MS);
  if (drawn) requestAnimationFrame(once);
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
