// @ts-check
import { Attempt } from "./greenroom/attempt.js";
import { Commands } from "./greenroom/commands.js";
import { Feed } from "./greenroom/feed.js";
import { StoredPosition, sessionStorageIfAllowed } from "./greenroom/position.js";
import { GreenroomError, isSeq, isText, report } from "./greenroom/values.js";

export { GreenroomError };

/**
 * The browser's end of greenroom.v1: one session of one user, over one WebSocket that comes back by itself.
 *
 *     import { connect } from "./greenroom.js";
 *
 *     const client = connect("wss://example.com/", { session: "s1", token: fetchToken });
 *     const runId = await client.start("assistant", "hello");
 *     for await (const event of client) console.log(event.seq, event.type, event.data);
 *
 * What an application can rely on:
 * - It gets every event once, in order, over any number of reconnects. Nothing is handed out before somebody listens:
 *   what came earlier waits for the first "event" listener or iterator. An iterator goes on where the last one was left.
 * - Where that cannot be kept (the log was rebuilt, or trimmed beyond this position), it is told by a "reset" before
 *   the next event, and drops what it has: the events that follow begin at the oldest one kept.
 * - A command is sent until it is answered, with the same id: a start runs once, however often the network fails. Beyond
 *   the time for which the server remembers ids it is not sent again, and rejects with `outcome_unknown`.
 * - What its own code throws (a listener, the token function, a storage, a WebSocket class, an input that JSON cannot hold)
 *   stays there: a listener's error is reported, an attempt that failed is followed by the next, a call rejects.
 * - A page that wakes up (shown again, focus, resume, online) has its connection looked at: one that is dead is replaced
 *   within 5 s, one that is well is kept.
 *
 * A page that is reloaded has lost what it had rendered, so by default a new client reads from the oldest event: no gap
 * and no duplicate, at the price of reading again. `persist: true` is for pages that keep their own state: the position
 * goes to `sessionStorage` once the application has an event, and a refresh goes on after it. (Each tab has its own
 * storage; a duplicated tab starts with a copy of the position and of the state, and from there the two do not touch.)
 * Two clients of one session in one page have a position each: the first that a page makes finds that of the first after a
 * refresh, the second that of the second. A page that makes them in another order each time gives them a `name`.
 * In Node, hand over a WebSocket class: `connect(url, { session, WebSocket })` with `import WebSocket from "ws"`.
 */

/**
 * @typedef {null | boolean | number | string | JSONValue[] | { [key: string]: JSONValue }} JSONValue
 * @typedef {{ epoch: string, seq: number }} Position  everything up to and including `seq` was seen
 * @typedef {{ seq: number, type: string, ts: number, run_id?: string, parent_run_id?: string, call_id?: string,
 *   data: { [key: string]: any } }} Event  `ts` is in ms since 1970
 * @typedef {{ type: "reset", reason: "epoch_changed" | "trimmed" | "ahead" | string }} Reset
 * @typedef {{ session: string, connection: string, epoch: string, oldest: number, latest: number, recovered: boolean,
 *   reset?: string, ping_ms: number, max_frame_bytes: number, command_memory_ms?: number, typing: { by: "user" | "agent", id: string }[],
 *   runs: { run_id: string, agent: string, started: number }[], queued: QueuedStart[] }} Welcome
 * @typedef {{ command_id: string, agent: string, since?: number }} QueuedStart  a start that waits for its turn; `since`
 *   (ms since 1970, the server's clock) is missing where it began to wait while this client was there
 * @typedef {{ name: string, data: any }} Signal  ephemeral, never replayed; `typing`: { by, id, active };
 *   `queued`: { command_id, agent, waiting }
 * @typedef {"connecting" | "live" | "waiting" | "closed"} State
 * @typedef {{ state: State, retryInMs?: number, code?: number, reason?: string }} StateChange
 * @typedef {{ code: number, reason: string }} Closed  a close code of the protocol; 1000 after `close()`
 * @typedef {{ getItem(key: string): string | null, setItem(key: string, value: string): void,
 *   removeItem(key: string): void }} PositionStorage
 * @typedef {{ event: Event, reset: Reset, signal: Signal, welcome: Welcome, state: StateChange, closed: Closed,
 *   refused: { code: string, message: string } }} Details
 * @typedef {object} Options
 * @property {string} session                  1 to 128 characters of A–Z a–z 0–9 . _ ~ : -
 * @property {string | (() => string | Promise<string>)} [token]
 *   A function is called for every connection, so that a token that expired (4004) is followed by a fresh one; where it
 *   throws or takes too long, the client waits and tries again. With a string, 4004 is final.
 * @property {Position} [resume]               from an earlier `client.position`; goes before what `persist` finds
 * @property {"oldest" | "latest"} [from]      where to begin without a position
 * @property {boolean} [strict]                a position that cannot be had ends the client (4410) instead of a reset
 * @property {boolean} [persist]               keep the position in `storage`; see above
 * @property {PositionStorage} [storage]       `sessionStorage` unless told otherwise
 * @property {string} [name]                   tells clients of one session in one page apart, for `persist`
 * @property {string} [user]                   keeps the stored positions of several users of one page apart
 * @property {any} [WebSocket]                 the class to use where there is no global one
 */

const BACKOFF_MS = { first: 200, longest: 20_000 };
const TYPING_REFRESH_MS = 2_000; // the server forgets after 5 s
const UNRECOVERABLE = 4410;
const TOKEN_EXPIRED = 4004;
const SESSION_NAME = /^[A-Za-z0-9._~:-]{1,128}$/;

/** Which places of each storage are taken by clients of this page, by key. @type {WeakMap<object, Map<string, Set<number>>>} */
const taken = new WeakMap();

/** @typedef {import("./greenroom/feed.js").Item} Item */

/**
 * Attach to a session and stay attached until `close()`, or until the server says not to come back.
 *
 * Returns at once, with a client that is `connecting`. Throws TypeError when an argument cannot be used.
 *
 * @param {string | URL} url  ws: or wss:
 * @param {Options} options
 */
export function connect(url, options) {
  return new Client(new URL(url), options);
}

/**
 * Whether a close code means that the connection failed, and not the conversation.
 *
 * @param {number} code
 */
export function comesBack(code) {
  return code === 1001 || code === 1005 || code === 1006 || (code > 1010 && code < 4500);
}

/**
 * The delay before the `attempt`-th try in a row, from 0: uniform between 0 and a bound that doubles ("full jitter"),
 * so that clients which lost one server together do not come back together.
 *
 * @param {number} attempt
 */
export function backoff(attempt) {
  return Math.random() * Math.min(BACKOFF_MS.longest, BACKOFF_MS.first * 2 ** attempt);
}

/**
 * A client of one session; made by `connect`.
 *
 * Events of its own, each a CustomEvent with the value in `detail`: "event", "reset", "signal", "welcome", "state",
 * "closed" (once, the last one), and "refused" (a frame was refused and the connection lives).
 */
export class Client extends EventTarget {
  #url;
  #options;
  #WebSocket;
  /** @type {StoredPosition | undefined} */ #stored;
  #release = () => {};
  /** @type {State} */ #state = "connecting";
  /** @type {Position | undefined} */ #position;
  /** @type {Attempt | undefined} */ #attempt;
  #commands = new Commands();
  /** @type {Map<string, QueuedStart>} */ #queued = new Map();
  /** @type {Set<Feed>} */ #feeds = new Set();
  /** @type {Item[] | undefined} */ #unclaimed = []; // what nobody has been there for
  #listened = false;
  /** @type {WeakMap<object, (event: any) => void>} */ #guarded = new WeakMap();
  /** @type {Closed | undefined} */ #closed;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  #toldToWait = false; // by the server
  #failures = 0; // in a row
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #typingTimer;
  #typing = false;
  /** @type {[any, string, (event: any) => void][]} */ #watches = [
    [globalThis, "online", () => this.#woke(true)],
    [globalThis, "focus", () => this.#woke()],
    [globalThis, "pagehide", () => this.#leave()], // else few browsers keep the page for "back"
    [globalThis, "pageshow", ({ persisted }) => void (persisted && this.#woke(true))],
    [globalThis.document, "resume", () => this.#woke()],
    [globalThis.document, "visibilitychange", () => void (globalThis.document.visibilityState !== "hidden" && this.#woke())],
  ];

  /** @param {URL} url @param {Options} options */
  constructor(url, options) {
    super();
    check(url, options);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("there is no global WebSocket here: hand one over as an option");
    this.#url = url.href;
    this.#options = { ...options };
    if (options.persist) this.#take(options);
    this.#position = options.resume ? { epoch: options.resume.epoch, seq: options.resume.seq } : this.#stored?.load();
    for (const [target, type, listener] of this.#watches) target?.addEventListener?.(type, listener);
    this.#open();
  }

  /** Where the connection is: `connecting`, `live`, `waiting` (for the next try) or `closed` (for good). */
  get state() {
    return this.#state;
  }

  /** What was received so far; undefined before the first welcome. For a later `connect(…, { resume })`. */
  get position() {
    return this.#position && { ...this.#position };
  }

  /** The session's starts that wait for their turn, oldest first; kept up to date by the "signal" named `queued`. */
  get queued() {
    return [...this.#queued.values()];
  }

  /**
   * Start a run; resolves with its id when it is committed. Waits while there is no connection.
   *
   * `commandId` comes back in the run's `agent_started`, as `data.command_id`: a page that shows the request before it
   * is answered finds it again by that.
   *
   * @param {string} agent @param {JSONValue} input @param {{ commandId?: string }} [options]
   * @returns {Promise<string>}
   */
  async start(agent, input, { commandId } = {}) {
    return (await this.#command("run.start", { agent, input }, commandId)).run_id;
  }

  /**
   * Ask a run to stop, by its id or by that of the command that started it; resolves with false when it is unknown or
   * over. A start that still waits for its turn is known by its command alone; it rejects with `cancelled` then.
   *
   * @param {string | { commandId: string }} run @returns {Promise<boolean>}
   */
  async cancel(run) {
    const args = typeof run === "string" ? { run_id: run } : { command_id: run.commandId };
    return (await this.#command("run.cancel", args)).cancelled;
  }

  /**
   * Answer what an agent asked (`input_requested`). Rejects with `not_waiting` once it was answered, or withdrawn
   * (`input_withdrawn`), and with `unknown_run` after the end of its run, which ends its questions too.
   *
   * @param {string} runId @param {string} callId @param {JSONValue} value
   */
  async answer(runId, callId, value) {
    await this.#command("input.answer", { run_id: runId, call_id: callId, value });
  }

  /**
   * Put a message of the user into the session, for every tab to show.
   *
   * @param {string} text
   */
  async send(text) {
    await this.#command("message.send", { text });
  }

  /**
   * Say that the user is typing, or is not. To be called with every key: it is sent every 2 s, and only while live.
   *
   * @param {boolean} active
   */
  typing(active) {
    if (this.#state !== "live" || (active ? this.#typingTimer : !this.#typing)) return;
    this.#typing = Boolean(active);
    clearTimeout(this.#typingTimer);
    this.#typingTimer = active ? setTimeout(() => (this.#typingTimer = undefined), TYPING_REFRESH_MS) : undefined;
    this.#attempt?.send(JSON.stringify({ type: "typing", active: this.#typing }));
  }

  /** Detach for good. Runs go on; commands without an answer are rejected with `closed`; iterators end. */
  close() {
    this.#finish({ code: 1000, reason: "closed here" });
  }

  /**
   * Every event that nobody had yet, and `{ type: "reset" }` where the position was lost. Ends after `close()`; throws
   * GreenroomError when the server ended it. An event counts as had when the next one is asked for, or the loop is left.
   *
   * @returns {AsyncIterableIterator<Event | Reset>}
   */
  [Symbol.asyncIterator]() {
    const feed = new Feed((rest) => this.#left(feed, rest), () => this.#save());
    for (const item of this.#claim()) feed.push(item);
    if (this.#closed) feed.end(this.#closed);
    else this.#feeds.add(feed);
    return feed;
  }

  /**
   * @template {keyof Details} K
   * @overload
   * @param {K} type @param {(event: CustomEvent<Details[K]>) => void} listener
   * @param {boolean | AddEventListenerOptions} [options] @returns {void}
   */
  /**
   * @overload
   * @param {string} type @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options] @returns {void}
   */
  /** @param {string} type @param {any} listener @param {boolean | AddEventListenerOptions} [options] */
  addEventListener(type, listener, options) {
    super.addEventListener(type, this.#guard(listener), options);
    this.#listened ||= type === "event";
    if (type !== "event" || !this.#unclaimed) return;
    queueMicrotask(() => { // so that a listener for "reset" that is added next gets its share
      for (const { value } of this.#claim()) this.#announce(value);
      this.#save();
    });
  }

  /** @param {string} type @param {any} listener @param {boolean | EventListenerOptions} [options] */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, this.#guard(listener), options);
  }

  /**
   * What stands for a listener: it reports what that throws, or rejects with. Node would end the process for it.
   *
   * @param {any} listener
   */
  #guard(listener) {
    if (typeof listener !== "function" && (typeof listener !== "object" || !listener)) return listener;
    const known = this.#guarded.get(listener);
    if (known) return known;
    const client = this;
    const guarded = (/** @type {Event} */ event) => {
      try {
        const result = typeof listener === "function" ? listener.call(client, event) : listener.handleEvent(event);
        if (typeof result?.then === "function") result.then(undefined, report);
      } catch (error) {
        report(error);
      }
    };
    this.#guarded.set(listener, guarded);
    return guarded;
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  #open() {
    const { token } = this.#options;
    const attempt = this.#attempt = new Attempt({
      url: this.#url,
      WebSocket: this.#WebSocket,
      token,
      seq: () => this.#position?.seq ?? 0,
      hello: (fetched) => this.#hello(fetched),
      received: (frame) => this.#received(attempt, frame),
      steady: () => void (this.#failures = 0),
      lost: (ended) => this.#lost(ended),
    });
    this.#enter({ state: "connecting" });
    attempt.start(); // which does nothing when a listener has closed the client meanwhile
  }

  /** @param {string | undefined} token */
  #hello(token) {
    const { session, from, strict } = this.#options;
    return { type: "hello", session, token, resume: this.#position, from, strict, client: "greenroom.js" };
  }

  /** The attempt is over: come back or not, as its code says. @param {import("./greenroom/attempt.js").Ended} ended */
  #lost({ code, reason, retryMs }) {
    this.#detach();
    const expired = code === TOKEN_EXPIRED && typeof this.#options.token !== "function";
    const unrecoverable = code === UNRECOVERABLE && this.#options.strict;
    if (expired || unrecoverable || !comesBack(code)) return this.#finish({ code, reason });
    const retryInMs = retryMs ?? backoff(this.#failures);
    this.#failures += 1;
    this.#toldToWait = retryMs !== undefined;
    this.#retryTimer = setTimeout(() => this.#retryNow(), retryInMs);
    this.#enter({ state: "waiting", retryInMs, code, reason });
  }

  #retryNow() {
    if (this.#state !== "waiting") return;
    clearTimeout(this.#retryTimer);
    this.#open();
  }

  /** The page may have slept. @param {boolean} [network]  what the server said of the time to wait counts no more */
  #woke(network = false) {
    this.#commands.woke();
    if (this.#state === "live") this.#attempt?.probe();
    else if (network || !this.#toldToWait) this.#retryNow();
  }

  /** The page is left, perhaps to come back as it is: no connection, and no timer for one. */
  #leave() {
    this.#attempt?.lose(1001, "the page was left");
    clearTimeout(this.#retryTimer);
  }

  /** Nothing of the attempt is left, and what was sent on it gets no answer; what was handed out counts. */
  #detach() {
    this.#save();
    this.#attempt?.end();
    this.#attempt = undefined;
    clearTimeout(this.#typingTimer);
    this.#typingTimer = undefined;
    this.#typing = false;
    this.#commands.detached();
  }

  /** @param {Closed} closed */
  #finish(closed) {
    if (this.#closed) return;
    this.#closed = closed;
    clearTimeout(this.#retryTimer);
    for (const [target, type, listener] of this.#watches) target?.removeEventListener?.(type, listener);
    this.#release();
    this.#detach();
    this.#commands.rejectAll(new GreenroomError("closed", `${closed.reason || "the connection was closed"} (${closed.code})`));
    for (const feed of this.#feeds) feed.end(closed);
    this.#enter({ state: "closed", ...closed });
    this.#announceAs("closed", closed);
  }

  /** @param {StateChange} change */
  #enter(change) {
    this.#state = change.state;
    this.#announceAs("state", change);
  }

  // --- frames -----------------------------------------------------------------------------------------------------

  /** @param {Attempt} attempt @param {any} frame */
  #received(attempt, frame) {
    switch (frame?.type) {
      case "welcome":
        return this.#welcome(attempt, frame);
      case "events":
        return this.#events(attempt, frame.events);
      case "signal":
        return this.#signal(frame);
      case "reply":
        return this.#commands.answered(frame);
      case "error":
        return this.#announceAs("refused", { code: frame.code, message: frame.message });
      default: // of a newer server, or the answer to a probe
    }
  }

  /** @param {Attempt} attempt @param {Welcome & { type: string }} frame */
  #welcome(attempt, frame) {
    const before = this.#position;
    const place = frame.recovered ? (before?.epoch === frame.epoch ? before : undefined) : this.#begin(frame);
    if (attempt.live || !place) return attempt.lose(1006, "a welcome that cannot be");
    this.#position = place;
    attempt.welcomed(frame.ping_ms);
    const queued = Array.isArray(frame.queued) ? frame.queued : []; // an older server has none
    this.#queued = new Map(queued.map((start) => [start?.command_id, start]));
    if (!frame.recovered && before) this.#deliver({ type: "reset", reason: frame.reset ?? "unknown" }, before);
    this.#commands.attached(frame.max_frame_bytes, frame.command_memory_ms);
    this.#commands.flush((text) => attempt.send(text));
    this.#save();
    if (attempt.over) return; // a listener closed the client, or nothing could be sent
    this.#enter({ state: "live" });
    if (!attempt.over) this.#announceAs("welcome", frame);
  }

  /** @param {Signal} frame */
  #signal({ name, data }) {
    const id = name === "queued" && data?.command_id;
    if (id && !data.waiting) this.#queued.delete(id);
    else if (id && !this.#queued.has(id)) this.#queued.set(id, { command_id: id, agent: data.agent });
    this.#announceAs("signal", { name, data });
  }

  /** Where a stream that is no resume begins; undefined for a welcome that does not say. @param {Welcome} frame */
  #begin({ epoch, oldest, latest }) {
    const seq = !this.#position && this.#options.from === "latest" ? latest : oldest - 1;
    return typeof epoch === "string" && isSeq(seq) ? { epoch, seq } : undefined;
  }

  /** @param {Attempt} attempt @param {Event[]} events */
  #events(attempt, events) {
    for (const event of events) {
      const before = this.#position;
      // An application may close the client while it handles one: then this is not live, and there is nothing to lose.
      if (!before || !attempt.live || !isSeq(event?.seq)) return attempt.lose(1006, "events that cannot be");
      if (event.seq <= before.seq) continue;
      if (event.seq > before.seq + 1) return attempt.lose(1006, `a gap: ${event.seq} after ${before.seq}`);
      this.#position = { epoch: before.epoch, seq: event.seq };
      this.#deliver(event, before);
    }
    this.#save();
  }

  // --- commands ---------------------------------------------------------------------------------------------------

  /** @param {string} name @param {object} args @param {string} [id] @returns {Promise<any>} */
  async #command(name, args, id) {
    if (this.#closed) throw new GreenroomError("closed", "the client is closed");
    const answer = this.#commands.add(name, args, id);
    const attempt = this.#attempt;
    if (attempt && this.#state === "live") this.#commands.flush((text) => attempt.send(text));
    return answer;
  }

  // --- handing out ------------------------------------------------------------------------------------------------

  /** @param {Event | Reset} value @param {Position} before */
  #deliver(value, before) {
    if (this.#unclaimed) {
      this.#unclaimed.push({ value, before });
      return;
    }
    for (const feed of this.#feeds) feed.push({ value, before });
    this.#announce(value);
  }

  /** An iterator was left: what it had not come to is for whoever comes next. @param {Feed} feed @param {Item[]} rest */
  #left(feed, rest) {
    if (this.#feeds.delete(feed) && !this.#feeds.size && !this.#listened) this.#unclaimed = rest;
  }

  /** What arrived while nobody was there; from the first call on, items go straight out. */
  #claim() {
    const items = this.#unclaimed ?? [];
    this.#unclaimed = undefined;
    return items;
  }

  /** @param {Event | Reset} value */
  #announce(value) {
    if ("seq" in value) this.#announceAs("event", value);
    else this.#announceAs("reset", value);
  }

  /** @template {keyof Details} K @param {K} type @param {Details[K]} detail */
  #announceAs(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /**
   * Store how far the application is, which is behind what was received while an iterator has not come to it. While one
   * has not come to a reset the old position stays: after a refresh the page has to hear of the reset again.
   */
  #save() {
    if (!this.#stored || !this.#position) return;
    let { epoch, seq } = this.#position;
    for (const { before } of [...(this.#unclaimed ?? []).slice(0, 1), ...this.#feeds]) {
      if (!before) continue;
      if (before.epoch !== epoch) return;
      seq = Math.min(seq, before.seq);
    }
    this.#stored.save({ epoch, seq });
  }

  /**
   * Take a place for the position that no other client of this page has. The first free one: a page that makes its
   * clients in the same order after a refresh finds each position again, and so does one that makes a client anew.
   *
   * @param {Options} options
   */
  #take({ storage = sessionStorageIfAllowed(), session, name, user = "" }) {
    const key = `greenroom:${JSON.stringify([this.#url, user, session, ...(name === undefined ? [] : [name])])}`;
    if (typeof storage !== "object" || !storage) return; // none is allowed here
    const byKey = taken.get(storage) ?? new Map();
    const places = byKey.get(key) ?? new Set();
    taken.set(storage, byKey.set(key, places));
    let place = 0;
    while (places.has(place)) place += 1;
    places.add(place);
    this.#release = () => void places.delete(place);
    this.#stored = new StoredPosition(storage, place ? `${key}#${place}` : key);
  }
}

/** Throw TypeError for what the server would end the conversation for. @param {URL} url @param {Options} options */
function check(url, options) {
  const { session, token, resume, from = "oldest", strict = false } = options;
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`not a WebSocket URL: ${url}`);
  if (typeof session !== "string" || !SESSION_NAME.test(session)) throw new TypeError("not a session's name");
  if (token != null && typeof token !== "function" && !isText(token)) throw new TypeError("not a token");
  if (resume != null && !(isText(resume.epoch) && isSeq(resume.seq))) throw new TypeError("not a position");
  if (from !== "oldest" && from !== "latest") throw new TypeError("from is oldest or latest");
  if (typeof strict !== "boolean") throw new TypeError("strict is a boolean");
}
