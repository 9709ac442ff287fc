// @ts-check

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
 * @typedef {null | boolean | number | string | any[] | { [key: string]: any }} JSONValue
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
    if (!listener || (typeof options === "object" && options?.signal?.aborted)) return; // no listener was added
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

  /** The attempt is over: come back or not, as its code says. @param {Ended} ended */
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
    this.#commands.flush(attempt);
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
    if (attempt && this.#state === "live") this.#commands.flush(attempt);
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

// Values

/**
 * A command that was not carried out, or a conversation that is over. `code` is an error code of the protocol
 * (`bad_input`, `unknown_run`, …), `bad_args` for what cannot be sent at all, `too_many_pending`, `too_large`, `closed`,
 * or `outcome_unknown`: the command was sent, and so much time passed before the server could be reached again that
 * repeating it might do it twice.
 */
export class GreenroomError extends Error {
  /** @param {string} code @param {string} message @param {unknown} [cause] */
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "GreenroomError";
    this.code = code;
  }
}

const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one fires at once

/** Call `act` after `ms`, or after 24 days where that is sooner. @param {number} ms @param {() => void} act */
function after(ms, act) {
  return setTimeout(act, Math.min(ms, LONGEST_TIMER_MS));
}

/** A random id; `crypto.randomUUID` is missing on pages that came over plain http. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether it is a string that UTF-8 can hold: the server ends a connection for a lone surrogate. @param {unknown} value */
function isText(value) {
  return typeof value === "string" && !/\p{Surrogate}/u.test(value);
}

/** @param {unknown} value @returns {value is number} */
function isSeq(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** What an application threw, as text: it may be anything, and may refuse to be shown. @param {any} error */
function textOf(error) {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "something that cannot be shown";
  }
}

/** Tell the page, or the console, what an application's own code threw; the client goes on. @param {unknown} error */
function report(error) {
  try {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  } catch {
    // what cannot even be reported
  }
}

// Handing out events

/**
 * @typedef {{ value: Event | Reset, before: Position }} Item  something to hand out, and the position without it
 * @typedef {IteratorResult<Event | Reset>} Result
 */

/** One iterator, and what it has not come to yet. */
class Feed {
  /** @type {Item[]} */ #items = [];
  /** @type {Item | undefined} */ #current; // handed out; its reader may still be at work on it
  /** @type {{ resolve: (result: Result) => void, reject: (error: Error) => void }[]} */ #readers = [];
  /** @type {Closed | undefined} */ #closed;
  #left;
  #progressed;

  /** @param {(rest: Item[]) => void} left @param {() => void} progressed */
  constructor(left, progressed) {
    this.#left = left;
    this.#progressed = progressed;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** The position that its reader has; undefined when it has everything. */
  get before() {
    return (this.#current ?? this.#items[0])?.before;
  }

  /** @param {Item} item */
  push(item) {
    const reader = this.#readers.shift();
    if (reader) reader.resolve(this.#hand(item));
    else this.#items.push(item);
  }

  /** @param {Closed} closed */
  end(closed) {
    this.#closed = closed;
    for (const { resolve, reject } of this.#readers.splice(0)) this.#over(closed).then(resolve, reject);
  }

  /** @returns {Promise<Result>} */
  next() {
    this.#applied();
    const item = this.#items.shift();
    if (item) return Promise.resolve(this.#hand(item));
    if (this.#closed) return this.#over(this.#closed);
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** @returns {Promise<Result>} */
  return() {
    this.#left(this.#items.splice(0));
    const left = { code: 1000, reason: "left" };
    this.end(left); // a reader that still waits would wait for ever
    this.#applied();
    return this.#over(left);
  }

  /** @param {Item} item @returns {Result} */
  #hand(item) {
    this.#current = item;
    return { done: false, value: item.value };
  }

  #applied() {
    if (!this.#current) return;
    this.#current = undefined;
    this.#progressed();
  }

  /** @param {Closed} closed @returns {Promise<Result>} */
  async #over({ code, reason }) {
    if (code !== 1000) throw new GreenroomError("closed", `${reason || "closed by the server"} (${code})`);
    return { done: true, value: undefined };
  }
}

// The stored position

/**
 * Where one client keeps its position. A storage that is full, forbidden, slow, broken or changed by hand costs a replay
 * after a refresh, nothing else: whatever it throws stays here.
 */
class StoredPosition {
  #storage;
  #key;

  /** @param {PositionStorage | undefined} storage @param {string} key */
  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
  }

  /** @returns {Position | undefined} */
  load() {
    try {
      const kept = unlessLater(this.#storage?.getItem(this.#key));
      const { epoch, seq } = JSON.parse(kept ?? "{}");
      return typeof epoch === "string" && isSeq(seq) ? { epoch, seq } : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {Position} position */
  save(position) {
    const kept = attempt(() => this.#storage?.setItem(this.#key, JSON.stringify(position)));
    // An old position with newer state would hand out events twice.
    if (!kept) attempt(() => this.#storage?.removeItem(this.#key));
  }
}

/** Whether `act` did not throw. @param {() => any} act */
function attempt(act) {
  try {
    unlessLater(act());
    return true;
  } catch {
    return false;
  }
}

/**
 * What a storage returned, unless it is a promise: a storage that answers later is none for this, and nobody else would
 * hear of its failure.
 *
 * @param {any} result
 */
function unlessLater(result) {
  if (typeof result?.then !== "function") return result;
  result.then(undefined, () => {});
  return undefined;
}

/** @returns {PositionStorage | undefined} */
function sessionStorageIfAllowed() {
  try {
    return globalThis.sessionStorage; // reading the property throws where site data are blocked
  } catch {
    return undefined;
  }
}

// Commands

/**
 * @typedef {{ text: string, bytes: number, sent: boolean, memoryMs: number, first?: { at: number, date: number },
 *   awayMs: number, timer?: ReturnType<typeof setTimeout>, over: boolean,
 *   resolve: (result: any) => void, reject: (error: Error) => void }} Pending
 * A command without an answer. `sent` is about the present connection, `first` is when it was sent at all, by the clock
 * that only goes forward and by that on the wall. `over` is set by a timer when the server may have forgotten its id.
 */

const MAX_PENDING = 32; // fewer than the server takes in one burst after a reconnect
const MAX_DEPTH = 64; // the server ends a connection for a frame that is nested deeper
const MAX_ID = 128;
const DEFAULT_MEMORY_MS = 300_000; // of a server that does not say it

/**
 * The commands that have no answer yet: each is written once, at the call, and sent again with its id on every connection
 * until its reply comes, unless the server may have forgotten the id by then.
 */
class Commands {
  /** @type {Map<string, Pending>} */ #pending = new Map();
  #maxFrameBytes = Infinity;
  #memoryMs = Infinity;

  /**
   * Keep a command until it is answered. What cannot be sent is rejected here, and nothing of it is kept.
   *
   * @param {string} name @param {object} args @param {unknown} [id] @returns {Promise<any>}
   */
  add(name, args, id = newId()) {
    return new Promise((resolve, reject) => {
      if (typeof id !== "string" || !isText(id) || !id || [...id].length > MAX_ID) {
        throw new GreenroomError("bad_args", `a command's id is a string of 1 to ${MAX_ID} characters`);
      }
      const text = written({ type: "command", id, name, args });
      if (this.#pending.has(id)) throw new GreenroomError("bad_args", `a command with the id ${id} waits for its answer`);
      if (this.#pending.size >= MAX_PENDING) {
        throw new GreenroomError("too_many_pending", `${MAX_PENDING} commands have no answer yet`);
      }
      const bytes = new TextEncoder().encode(text).length;
      if (bytes > this.#maxFrameBytes) throw this.#tooLarge();
      this.#pending.set(id, { text, bytes, sent: false, memoryMs: Infinity, awayMs: 0, over: false, resolve, reject });
    });
  }

  /** A connection begins: everything is to be sent on it. @param {unknown} maxFrameBytes @param {unknown} memoryMs */
  attached(maxFrameBytes, memoryMs) {
    this.#maxFrameBytes = typeof maxFrameBytes === "number" && maxFrameBytes > 0 ? maxFrameBytes : Infinity;
    this.#memoryMs = typeof memoryMs === "number" && memoryMs >= 0 ? memoryMs : DEFAULT_MEMORY_MS;
    for (const pending of this.#pending.values()) {
      if (pending.first) pending.memoryMs = Math.min(pending.memoryMs, this.#memoryMs);
    }
    this.#drop((pending) => pending.bytes > this.#maxFrameBytes, () => this.#tooLarge());
    this.detached();
  }

  /** The connection is over: no reply comes to what was sent on it. */
  detached() {
    for (const pending of this.#pending.values()) pending.sent = false;
    this.#forget();
  }

  /** Send what was not sent on this connection yet. @param {Attempt} attempt  its connection; sending may end it */
  flush(attempt) {
    this.#forget();
    for (const pending of [...this.#pending.values()]) {
      if (attempt.over) return; // what is left was not sent, and its outcome is not unknown
      if (pending.sent) continue;
      pending.sent = true;
      if (!pending.first) this.#begin(pending);
      attempt.send(pending.text);
    }
  }

  /**
   * The page slept, or may have: only then does the clock on the wall say how long, where the other one stood still.
   * At other times it is not asked: it is set forward and back while nothing else happens.
   */
  woke() {
    for (const pending of this.#pending.values()) {
      if (pending.first) pending.awayMs = Math.max(pending.awayMs, Date.now() - pending.first.date);
    }
  }

  /** @param {{ id: string, ok: boolean, result?: any, error?: { code: string, message: string } }} reply */
  answered({ id, ok, result, error }) {
    const pending = this.#take(id);
    if (ok) pending?.resolve(result ?? {});
    else pending?.reject(new GreenroomError(error?.code ?? "internal", error?.message ?? "refused"));
  }

  /** @param {GreenroomError} error */
  rejectAll(error) {
    this.#drop(() => true, () => error);
  }

  /** @param {Pending} pending */
  #begin(pending) {
    pending.first = { at: performance.now(), date: Date.now() };
    pending.memoryMs = this.#memoryMs;
    if (this.#memoryMs >= LONGEST_TIMER_MS) return;
    pending.timer = after(this.#memoryMs + 1, () => {
      pending.over = true;
      this.#forget();
    });
  }

  /** Give up what may not be sent again. What was sent on the present connection may still be answered. */
  #forget() {
    this.#drop(
      (pending) => !pending.sent && (pending.over || age(pending) > pending.memoryMs),
      () => new GreenroomError("outcome_unknown", "the server could not be reached for its answer"),
    );
  }

  /** @param {(pending: Pending) => boolean} condition @param {() => GreenroomError} why */
  #drop(condition, why) {
    for (const [id, pending] of [...this.#pending]) {
      if (condition(pending)) this.#take(id)?.reject(why());
    }
  }

  /** @param {string} id */
  #take(id) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    clearTimeout(pending?.timer);
    return pending;
  }

  #tooLarge() {
    return new GreenroomError("too_large", `more than ${this.#maxFrameBytes} bytes`); // the server would close for good
  }
}

/** How long ago a command was first sent, in ms. @param {Pending} pending */
function age({ first, awayMs }) {
  return first ? Math.max(performance.now() - first.at, awayMs) : 0;
}

/** @param {object} frame */
function written(frame) {
  let text;
  try {
    text = JSON.stringify(frame);
  } catch (error) { // BigInt, a cycle, a toJSON that throws
    throw new GreenroomError("bad_args", `not JSON: ${textOf(error)}`, error);
  }
  if (depth(text) > MAX_DEPTH) throw new GreenroomError("bad_args", `nested deeper than ${MAX_DEPTH}`);
  return text;
}

/** Objects and lists within each other in JSON text. @param {string} text */
function depth(text) {
  let deepest = 0;
  let level = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted && character === "\\") i++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === "{" || character === "[")) deepest = Math.max(deepest, ++level);
    else if (!quoted && (character === "}" || character === "]")) level--;
  }
  return deepest;
}

// One attempt to be connected

/**
 * @typedef {{ code: number, reason: string, retryMs?: number }} Ended  how an attempt ended; `retryMs` is the server's word
 * @typedef {object} Uses  what an attempt needs of its client, and tells it
 * @property {string} url
 * @property {any} token
 * @property {any} WebSocket
 * @property {(token: string | undefined) => object} hello
 * @property {() => number} seq               the position
 * @property {(frame: any) => void} received  every frame but ping and goodbye
 * @property {() => void} steady              it has been live for a while
 * @property {(ended: Ended) => void} lost    once, the last one
 */

const SUBPROTOCOL = "greenroom.v1";
const OPENING_MS = 15_000; // from asking for the token to welcome
const SILENCE_GRACE_MS = 10_000; // beyond ping_ms
const PROBE_MS = 5_000; // for the answer to a probe
const LATE_MS = 1_000; // a timer that is later than that was held up together with everything else: the page slept
const STEADY_MS = 5_000;
const DEFAULT_PING_MS = 25_000;
const MAX_RETRY_MS = 3_600_000;
const FINAL = new Set(["SecurityError", "SyntaxError", "TypeError"]); // such as ws: from a page behind https:

/**
 * One attempt to be connected, from asking for a token to the loss of its connection.
 *
 * Everything that comes late (a token, a timer, a socket's event) belongs to the attempt that asked for it, passes
 * `#step`, and is ignored once the attempt is over. So nothing of an old attempt can touch the next one. What a step
 * throws, be it the application's WebSocket class or a frame that cannot be read, ends this attempt and nothing else.
 */
class Attempt {
  #uses;
  /** @type {any} */ #socket;
  /** @type {{ code: number, reason: string, retry_ms?: unknown } | undefined} */ #goodbye;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #silenceTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #steadyTimer;
  #silenceMs = OPENING_MS;
  #probing = false;
  over = false;
  live = false;

  /** @param {Uses} uses */
  constructor(uses) {
    this.#uses = uses;
  }

  start() {
    if (this.over) return;
    this.#expect(OPENING_MS);
    const { token } = this.#uses;
    new Promise((resolve) => resolve(typeof token === "function" ? token() : token)).then(
      this.#step((fetched) => this.#dial(fetched ?? undefined)),
      this.#step((error) => this.lose(1006, `no token: ${textOf(error)}`)),
    );
  }

  /** The server has welcomed this connection. @param {unknown} pingMs */
  welcomed(pingMs) {
    this.live = true;
    const ping = typeof pingMs === "number" && pingMs > 0 ? pingMs : DEFAULT_PING_MS;
    this.#expect((this.#silenceMs = ping + SILENCE_GRACE_MS));
    this.#steadyTimer = after(STEADY_MS, this.#step(() => this.#uses.steady()));
  }

  /** @param {string} text */
  send(text) {
    this.#step(() => this.#socket?.send(text))();
  }

  /**
   * Ask the server for something small, and take the connection for dead when nothing at all comes back soon: after a
   * sleep a socket may look open for as long as the silence is allowed to last. A healthy connection is not touched.
   */
  probe() {
    if (!this.live || this.over || this.#probing) return;
    this.#probing = true;
    this.#expect(PROBE_MS);
    this.send(JSON.stringify({ type: "history", id: newId(), after: this.#uses.seq(), limit: 1 }));
  }

  /** It is over, by a code of the protocol: say so to the client, once. @param {number} code @param {string} reason */
  lose(code, reason) {
    if (this.over) return;
    this.end();
    const goodbye = this.#goodbye;
    const unsaid = goodbye && (code === 1005 || code === 1006); // the close frame got lost
    const retryMs = goodbye?.retry_ms;
    this.#uses.lost({
      ...(unsaid ? { code: goodbye.code, reason: `${goodbye.reason ?? ""}` } : { code, reason }),
      ...(typeof retryMs === "number" && retryMs >= 0 && retryMs <= MAX_RETRY_MS ? { retryMs } : {}),
    });
  }

  /** Let go, without waiting for the close: a peer that is gone never answers one. Nothing is told any more. */
  end() {
    if (this.over) return;
    this.over = true;
    this.live = false;
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#steadyTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    try {
      socket?.close();
    } catch {
      // a socket that cannot be closed is left alone: it is not listened to
    }
  }

  /**
   * Make of `act` what may be called at any time: it does nothing once this is over, and what it throws ends this.
   *
   * @param {(value?: any) => void} act @returns {(value?: any) => void}
   */
  #step(act) {
    return (value) => {
      if (this.over) return;
      try {
        act(value);
      } catch (error) {
        this.lose(1006, `failed here: ${textOf(error)}`);
      }
    };
  }

  /** @param {unknown} token */
  #dial(token) {
    if (token !== undefined && !isText(token)) return this.lose(1006, "no token: it is not a string");
    const { url, WebSocket, hello } = this.#uses;
    let socket;
    try {
      socket = this.#socket = new WebSocket(url, [SUBPROTOCOL]);
    } catch (/** @type {any} */ error) {
      return this.lose(FINAL.has(error?.name) ? 1008 : 1006, `refused here: ${textOf(error)}`);
    }
    socket.onopen = this.#step(() => this.send(JSON.stringify(hello(/** @type {string | undefined} */ (token)))));
    socket.onmessage = this.#step((message) => this.#received(message.data));
    socket.onclose = this.#step((event) => this.lose(Number.isInteger(event?.code) ? event.code : 1006, `${event?.reason ?? ""}`));
    socket.onerror = () => {}; // close follows, and knows more; Node's ws throws where nobody listens
  }

  /** @param {any} text */
  #received(text) {
    this.#probing = false;
    this.#expect(this.#silenceMs);
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.lose(1006, "a frame that is not JSON");
    }
    if (frame?.type === "ping") this.send('{"type":"pong"}');
    else if (frame?.type === "goodbye") this.#goodbye = Number.isInteger(frame.code) ? frame : undefined;
    else this.#uses.received(frame);
  }

  /** Take the connection for dead when nothing at all arrives for this long. @param {number} ms */
  #expect(ms) {
    if (this.over) return;
    clearTimeout(this.#silenceTimer);
    const due = performance.now() + ms;
    this.#silenceTimer = after(ms, this.#step(() => this.#silent(performance.now() - due > LATE_MS)));
  }

  /** @param {boolean} late  the page slept: what arrived meanwhile is still to be read, so this proves nothing */
  #silent(late) {
    if (!late || this.#probing) this.lose(1006, "nothing heard from the server");
    else if (this.live) this.probe();
    else this.#expect(PROBE_MS);
  }
}
