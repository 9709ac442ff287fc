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
 * - A command is sent until it is answered, with the same id: a start runs once, however often the network fails.
 *
 * A page that is reloaded has lost what it had rendered, so by default a new client reads from the oldest event: no gap
 * and no duplicate, at the price of reading again. `persist: true` is for pages that keep their own state: the position
 * goes to `sessionStorage` once the application has an event, and a refresh goes on after it. (Each tab has its own
 * storage; a duplicated tab starts with a copy of the position and of the state, and from there the two do not touch.)
 * In Node, hand over a WebSocket class: `connect(url, { session, WebSocket })` with `import WebSocket from "ws"`.
 */

/**
 * @typedef {null | boolean | number | string | JSONValue[] | { [key: string]: JSONValue }} JSONValue
 * @typedef {{ epoch: string, seq: number }} Position  everything up to and including `seq` was seen
 * @typedef {{ seq: number, type: string, ts: number, run_id?: string, parent_run_id?: string, call_id?: string,
 *   data: { [key: string]: any } }} Event  `ts` is in ms since 1970
 * @typedef {{ type: "reset", reason: "epoch_changed" | "trimmed" | "ahead" | string }} Reset
 * @typedef {{ session: string, connection: string, epoch: string, oldest: number, latest: number, recovered: boolean,
 *   reset?: string, ping_ms: number, max_frame_bytes: number, typing: { by: "user" | "agent", id: string }[],
 *   runs: { run_id: string, agent: string, started: number }[] }} Welcome
 * @typedef {{ name: string, data: any }} Signal  ephemeral, never replayed; `typing`: { by, id, active }
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
 *   throws, the client waits and tries again. With a string, 4004 is final.
 * @property {Position} [resume]               from an earlier `client.position`; goes before what `persist` finds
 * @property {"oldest" | "latest"} [from]      where to begin without a position
 * @property {boolean} [persist]               keep the position in `storage`; see above
 * @property {PositionStorage} [storage]       `sessionStorage` unless told otherwise
 * @property {string} [user]                   keeps the stored positions of several users of one page apart
 * @property {any} [WebSocket]                 the class to use where there is no global one
 */

const SUBPROTOCOL = "greenroom.v1";
const BACKOFF_MS = { first: 200, longest: 20_000 };
const OPENING_MS = 15_000; // from the first packet to welcome
const SILENCE_GRACE_MS = 10_000; // beyond ping_ms
const STEADY_MS = 5_000; // a connection that lived this long starts the backoff anew
const COMMAND_MEMORY_MS = 300_000; // how long the server answers a repeated id with the first reply
const TYPING_REFRESH_MS = 2_000; // the server forgets after 5 s
const MAX_PENDING = 32; // fewer than the server takes in one burst after a reconnect
const SESSION_NAME = /^[A-Za-z0-9._~:-]{1,128}$/;

/**
 * A command that was not carried out, or a conversation that is over. `code` is an error code of the protocol
 * (`bad_input`, `unknown_run`, …), `too_many_pending`, `too_large`, `closed`, or `outcome_unknown`: the command was sent,
 * and so much time passed before the server could be reached again that repeating it might do it twice.
 */
export class GreenroomError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "GreenroomError";
    this.code = code;
  }
}

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
  /** @type {Store | undefined} */ #store;
  /** @type {State} */ #state = "connecting";
  /** @type {Position | undefined} */ #position;
  /** @type {any} */ #socket;
  /** @type {Map<string, Pending>} */ #pending = new Map();
  /** @type {Set<Feed>} */ #feeds = new Set();
  /** @type {Item[] | undefined} */ #unclaimed = []; // what nobody has been there for
  #listened = false;
  /** @type {{ code: number, reason: string, retry_ms?: number } | undefined} */ #goodbye;
  /** @type {Closed | undefined} */ #closed;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #silenceTimer;
  #silenceMs = OPENING_MS;
  #maxFrameBytes = Infinity;
  #attempt = 0;
  #liveSince = 0;
  #typingSent = 0;
  #listeners = Object.entries({
    online: () => this.#retryNow(),
    pagehide: () => void (this.#lost(1001, "the page was left"), clearTimeout(this.#retryTimer)), // else few browsers keep it
    pageshow: (/** @type {any} */ { persisted }) => void (persisted && this.#retryNow()),
  });

  /** @param {URL} url @param {Options} options */
  constructor(url, options) {
    super();
    if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`not a WebSocket URL: ${url}`);
    if (!SESSION_NAME.test(options.session ?? "")) throw new TypeError(`not a session's name: ${options.session}`);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("there is no global WebSocket here: hand one over as an option");
    this.#url = url.href;
    this.#options = options;
    if (options.persist) this.#store = new Store(options, this.#url);
    this.#position = options.resume ?? this.#store?.load();
    for (const [type, listener] of this.#listeners) globalThis.addEventListener?.(type, listener);
    void this.#open();
  }

  /** Where the connection is: `connecting`, `live`, `waiting` (for the next try) or `closed` (for good). */
  get state() {
    return this.#state;
  }

  /** What was received so far; undefined before the first welcome. For a later `connect(…, { resume })`. */
  get position() {
    return this.#position && { ...this.#position };
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
  async start(agent, input, { commandId = newId() } = {}) {
    return (await this.#command("run.start", { agent, input }, commandId)).run_id;
  }

  /**
   * Ask a run to stop; resolves with false when it is unknown or over.
   *
   * @param {string} runId @returns {Promise<boolean>}
   */
  async cancel(runId) {
    return (await this.#command("run.cancel", { run_id: runId })).cancelled;
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
    if (this.#state !== "live") return;
    const due = active ? Date.now() - this.#typingSent >= TYPING_REFRESH_MS : this.#typingSent > 0;
    if (!due) return;
    this.#typingSent = active ? Date.now() : 0;
    this.#transmit({ type: "typing", active });
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
    super.addEventListener(type, listener, options);
    this.#listened ||= type === "event";
    if (type !== "event" || !this.#unclaimed) return;
    queueMicrotask(() => { // so that a listener for "reset" that is added next gets its share
      for (const { value } of this.#claim()) this.#announce(value);
      this.#save();
    });
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  async #open() {
    this.#enter({ state: "connecting" });
    this.#listenFor(OPENING_MS);
    let token;
    try {
      token = await (typeof this.#options.token === "function" ? this.#options.token() : this.#options.token);
    } catch (error) {
      return this.#lost(1006, `no token: ${error instanceof Error ? error.message : error}`);
    }
    if (this.#state !== "connecting" || this.#socket) return; // closed, or given up, while the token was fetched
    let socket;
    try {
      socket = this.#socket = new this.#WebSocket(this.#url, [SUBPROTOCOL]);
    } catch (error) {
      return this.#finish({ code: 1008, reason: `refused here: ${error}` }); // such as ws: from a page behind https:
    }
    socket.onopen = () => this.#hello(token);
    socket.onmessage = (/** @type {any} */ message) => this.#received(message.data);
    socket.onclose = (/** @type {any} */ event) => this.#lost(event.code, event.reason);
    socket.onerror = () => {}; // close follows, and knows more; Node's ws throws where nobody listens
  }

  /** @param {string | undefined} token */
  #hello(token) {
    const { session, from } = this.#options;
    this.#transmit({ type: "hello", session, token, resume: this.#position, from, client: "greenroom.js" });
  }

  /** @param {object} frame */
  #transmit(frame) {
    this.#socket?.send(JSON.stringify(frame));
  }

  /** Give up without waiting for the close: a peer that is gone never answers one. @param {string} reason */
  #drop(reason) {
    this.#lost(1006, reason);
  }

  #detach() {
    clearTimeout(this.#silenceTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** The connection is over: come back or not, as its code says. @param {number} code @param {string} reason */
  #lost(code, reason) {
    if (this.#closed) return;
    const goodbye = this.#goodbye;
    this.#goodbye = undefined;
    if (goodbye && (code === 1005 || code === 1006)) ({ code, reason } = goodbye);
    this.#detach();
    if (this.#liveSince && Date.now() - this.#liveSince >= STEADY_MS) this.#attempt = 0;
    this.#liveSince = this.#typingSent = 0;
    const expired = code === 4004 && typeof this.#options.token !== "function";
    if (expired || !comesBack(code)) return this.#finish({ code, reason });
    const retryInMs = goodbye?.retry_ms ?? backoff(this.#attempt);
    this.#attempt += 1;
    this.#enter({ state: "waiting", retryInMs, code, reason });
    this.#retryTimer = setTimeout(() => this.#retryNow(), retryInMs);
  }

  #retryNow() {
    if (this.#state !== "waiting") return;
    clearTimeout(this.#retryTimer);
    void this.#open();
  }

  /** @param {Closed} closed */
  #finish(closed) {
    if (this.#closed) return;
    this.#closed = closed;
    clearTimeout(this.#retryTimer);
    for (const [type, listener] of this.#listeners) globalThis.removeEventListener?.(type, listener);
    this.#detach();
    for (const { reject } of this.#pending.values()) {
      reject(new GreenroomError("closed", `${closed.reason || "the connection was closed"} (${closed.code})`));
    }
    this.#pending.clear();
    for (const feed of this.#feeds) feed.end(closed);
    this.#enter({ state: "closed", ...closed });
    this.#announceAs("closed", closed);
  }

  /** @param {StateChange} change */
  #enter(change) {
    this.#state = change.state;
    this.#announceAs("state", change);
  }

  /** Take the connection for dead when nothing at all arrives for this long. @param {number} ms */
  #listenFor(ms) {
    this.#silenceMs = ms;
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#drop("nothing heard from the server"), ms);
  }

  // --- frames -----------------------------------------------------------------------------------------------------

  /** @param {any} text */
  #received(text) {
    this.#listenFor(this.#silenceMs);
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.#drop("a frame that is not JSON");
    }
    switch (frame?.type) {
      case "welcome":
        return this.#welcome(frame);
      case "events":
        return this.#events(frame.events);
      case "signal":
        return this.#announceAs("signal", { name: frame.name, data: frame.data });
      case "reply":
        return this.#reply(frame);
      case "ping":
        return this.#transmit({ type: "pong" });
      case "goodbye":
        return void (this.#goodbye = frame);
      case "error":
        return this.#announceAs("refused", { code: frame.code, message: frame.message });
      default: // of a newer server
    }
  }

  /** @param {Welcome & { type: string }} frame */
  #welcome(frame) {
    const before = this.#position;
    if (!frame.recovered) {
      const latest = !before && this.#options.from === "latest";
      this.#position = { epoch: frame.epoch, seq: latest ? frame.latest : frame.oldest - 1 };
      if (before) this.#deliver({ type: "reset", reason: frame.reset ?? "unknown" }, before);
    }
    this.#liveSince = Date.now();
    this.#maxFrameBytes = frame.max_frame_bytes;
    this.#listenFor(frame.ping_ms + SILENCE_GRACE_MS);
    for (const [id, pending] of this.#pending) this.#submit(id, pending);
    this.#save();
    this.#enter({ state: "live" });
    this.#announceAs("welcome", frame);
  }

  /** @param {Event[]} events */
  #events(events) {
    for (const event of events) {
      const before = this.#position;
      if (!before || this.#closed) return; // an application may close while it handles one
      if (event.seq <= before.seq) continue;
      if (event.seq > before.seq + 1) return this.#drop(`a gap: ${event.seq} after ${before.seq}`);
      this.#position = { epoch: before.epoch, seq: event.seq };
      this.#deliver(event, before);
    }
    this.#save();
  }

  // --- commands ---------------------------------------------------------------------------------------------------

  /** @param {string} name @param {object} args @param {string} [id] @returns {Promise<any>} */
  #command(name, args, id = newId()) {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new GreenroomError("closed", "the client is closed"));
      if (this.#pending.size >= MAX_PENDING) {
        return reject(new GreenroomError("too_many_pending", `${MAX_PENDING} commands have no answer yet`));
      }
      /** @type {Pending} */
      const pending = { frame: { type: "command", id, name, args }, sentAt: 0, resolve, reject };
      this.#pending.set(id, pending);
      if (this.#state === "live") this.#submit(id, pending);
    });
  }

  /**
   * Send a command, or send it again, unless the server may have forgotten that it had it.
   *
   * @param {string} id @param {Pending} pending
   */
  #submit(id, pending) {
    if (pending.sentAt && Date.now() - pending.sentAt > COMMAND_MEMORY_MS) {
      this.#pending.delete(id);
      return pending.reject(new GreenroomError("outcome_unknown", "the server could not be reached for its answer"));
    }
    if (new TextEncoder().encode(JSON.stringify(pending.frame)).length > this.#maxFrameBytes) {
      this.#pending.delete(id); // the server would close the connection for good
      return pending.reject(new GreenroomError("too_large", `more than ${this.#maxFrameBytes} bytes`));
    }
    pending.sentAt ||= Date.now();
    this.#transmit(pending.frame);
  }

  /** @param {{ id: string, ok: boolean, result?: any, error?: { code: string, message: string } }} frame */
  #reply({ id, ok, result, error }) {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    if (ok) pending.resolve(result ?? {});
    else pending.reject(new GreenroomError(error?.code ?? "internal", error?.message ?? "refused"));
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
    if (!this.#store || !this.#position) return;
    let { epoch, seq } = this.#position;
    for (const { before } of [...(this.#unclaimed ?? []).slice(0, 1), ...this.#feeds]) {
      if (!before) continue;
      if (before.epoch !== epoch) return;
      seq = Math.min(seq, before.seq);
    }
    this.#store.save({ epoch, seq });
  }
}

/**
 * @typedef {{ frame: object, sentAt: number, resolve: (result: any) => void, reject: (error: Error) => void }} Pending
 * A command without an answer; `sentAt` is 0 until it was sent once.
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
    this.#closed = { code: 1000, reason: "left" };
    this.#applied();
    return this.#over(this.#closed);
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

/** Where a position is kept; a storage that is full, forbidden or changed by hand costs a replay, nothing else. */
class Store {
  #storage;
  #key;

  /** @param {Options} options @param {string} url */
  constructor({ storage, session, user = "" }, url) {
    this.#storage = storage ?? sessionStorageIfAllowed();
    this.#key = `greenroom:${JSON.stringify([url, user, session])}`;
  }

  /** @returns {Position | undefined} */
  load() {
    try {
      const { epoch, seq } = JSON.parse(this.#storage?.getItem(this.#key) ?? "{}");
      return typeof epoch === "string" && Number.isSafeInteger(seq) && seq >= 0 ? { epoch, seq } : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {Position} position */
  save(position) {
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(position));
    } catch {
      this.#storage?.removeItem(this.#key); // an old position with newer state would hand out events twice
    }
  }
}

/** @returns {PositionStorage | undefined} */
function sessionStorageIfAllowed() {
  try {
    return globalThis.sessionStorage; // reading the property throws where site data are blocked
  } catch {
    return undefined;
  }
}

/** A random id; `crypto.randomUUID` is missing on pages that came over plain http. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
