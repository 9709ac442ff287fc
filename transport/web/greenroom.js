// @ts-check

/**
 * The browser's client of greenroom.v1: one session of one user, over one WebSocket that reconnects by itself.
 *
 *     import { connect } from "./greenroom.js";
 *
 *     const client = connect("wss://example.com/", { session: "s1", token: fetchToken });
 *     const runId = await client.start("assistant", "hello");
 *     for await (const event of client) console.log(event.seq, event.type, event.data);
 *
 * An application can rely on these rules:
 * - It gets every event once, in order, over any number of reconnects. Events that arrive before anyone listens wait for
 *   the first "event" listener or iterator. An iterator goes on where the last one was left.
 * - If that is impossible (the log was rebuilt, or trimmed beyond this position), a "reset" comes before the next event.
 *   Then the application drops everything that it built from events: the next event is the oldest one that is kept.
 * - A command is sent until its reply comes, always with the same id: a start runs once, however often the network fails.
 *   After the time for which the server remembers ids it is not sent again, and rejects with `outcome_unknown`.
 * - An exception of the application's own code (a listener, the token function, a storage, a WebSocket class, an input that
 *   JSON cannot hold) does not harm the client: a listener's error is reported, a failed attempt is followed by the next, a
 *   call rejects.
 * - Where no WebSocket gets through, it goes on over HTTP (see fallback.js), with the same position and the same commands: after
 *   three openings that failed, or 10 s without a welcome. The next page begins with a WebSocket again.
 * - When a page wakes up (shown again, focus, resume, online), its connection is checked: if no answer comes within 2 s, it is
 *   replaced at once, a healthy one is kept.
 *
 * A reloaded page has lost what it had rendered, so by default a new client reads from the oldest event: no gap and no
 * duplicate, at the price of reading again. `persist: true` is for pages that keep their own state: the position is stored
 * in `sessionStorage` once the application has an event, and after a refresh the client goes on after it. (Each tab has its
 * own storage. A duplicated tab starts with a copy of the position and of the state; from then on they are independent.)
 * Two clients of one session in one page have a position each: after a refresh, the first client that the page makes finds
 * the position of the first, and the second that of the second. If the order differs each time, give them a `name`.
 * In Node, pass a WebSocket class: `connect(url, { session, WebSocket })` with `import WebSocket from "ws"`.
 */

/**
 * @typedef {null | boolean | number | string | any[] | { [key: string]: any }} JSONValue
 * @typedef {{ epoch: string, seq: number }} Position  the event `seq` and all before it were seen
 * @typedef {{ seq: number, ts: number }} Logged  `ts` is in ms since 1970
 * @typedef {Logged & { run_id: string, parent_run_id?: string, call_id?: undefined }} OfRun
 * @typedef {Logged & { run_id: string, parent_run_id?: string, call_id: string }} OfCall  of a tool's call, or of a question
 * @typedef {{ status: "ok", result: any, error?: undefined } | { status: "error" | "timeout" | "cancelled" | "interrupted",
 *   error: { code: string, message: string }, result?: undefined }} Outcome
 * @typedef {OfRun & { type: "agent_started", data: { agent: string, input: any, command_id?: string } }} AgentStarted
 * @typedef {OfRun & { type: "agent_thinking", data: { text: string } }} AgentThinking
 * @typedef {OfRun & { type: "agent_output", data: { text: string } }} AgentOutput
 * @typedef {OfCall & { type: "tool_executing", data: { tool: string, arguments: any } }} ToolExecuting
 * @typedef {OfCall & { type: "tool_completed", data: { tool: string, duration_ms: number } & Outcome }} ToolCompleted
 * @typedef {OfCall & { type: "input_requested", data: { prompt: string, schema?: any } }} InputRequested
 * @typedef {OfCall & { type: "input_received", data: { value: any, by?: string } }} InputReceived
 * @typedef {OfCall & { type: "input_withdrawn", data: { reason: "timeout" | "cancelled" } }} InputWithdrawn
 * @typedef {OfRun & { type: "agent_completed", data: { agent: string, duration_ms: number, usage?: any } & Outcome }} AgentCompleted
 * @typedef {Logged & { type: "user_message", run_id?: undefined, call_id?: undefined, data: { text: string } }} UserMessage
 * @typedef {Logged & { type: "custom", run_id?: string, parent_run_id?: string, call_id?: undefined,
 *   data: { name: string, value: any } }} Custom  without `run_id`: of the session itself
 * @typedef {AgentStarted | AgentThinking | AgentOutput | ToolExecuting | ToolCompleted | InputRequested | InputReceived |
 *   InputWithdrawn | AgentCompleted | UserMessage | Custom} Event
 *   A newer server may send events of other types: a program ignores a `type` that it does not know.
 * @typedef {{ type: "reset", reason: "epoch_changed" | "trimmed" | "ahead" | string }} Reset
 * @typedef {{ session: string, connection: string, epoch: string, oldest: number, latest: number, recovered: boolean,
 *   reset?: string, ping_ms: number, max_frame_bytes: number, command_memory_ms?: number, expires_ms?: number, typing: { by: "user" | "agent", id: string }[],
 *   runs: { run_id: string, agent: string, started: number }[], queued: QueuedStart[] }} Welcome
 * @typedef {{ command_id: string, agent: string, since?: number }} QueuedStart  a start that waits for its turn; `since`
 *   (ms since 1970, the server's clock) is missing if it began to wait while this client was connected
 * @typedef {{ name: string, data: any }} Signal  ephemeral, never replayed; `typing`: { by, id, active };
 *   `queued`: { command_id, agent, waiting }
 * @typedef {"connecting" | "live" | "waiting" | "closed"} State
 * @typedef {{ state: State, retryInMs?: number, retryAt?: number, code?: number, reason?: string }} StateChange  `retryAt`
 *   (ms since 1970, this machine's clock) is when the next attempt begins
 * @typedef {{ code: number, reason: string }} Closed  a close code of the protocol; 1000 after `close()`
 * @typedef {{ getItem(key: string): string | null, setItem(key: string, value: string): void,
 *   removeItem(key: string): void }} PositionStorage
 * @typedef {{ event: Event, reset: Reset, signal: Signal, welcome: Welcome, state: StateChange, closed: Closed,
 *   refused: { code: string, message: string } }} Details
 * @typedef {object} Options
 * @property {string} session                  1 to 128 characters of A–Z a–z 0–9 . _ ~ : -
 * @property {string | (() => string | Promise<string>)} [token]
 *   A function is called for every connection, and before the token expires: the connection goes on with the fresh token. If
 *   it throws or takes too long, the client waits and tries again. With a string, the end of the token (4004) is final.
 * @property {Position} [resume]               from an earlier `client.position`; used before the one that `persist` stored
 * @property {"oldest" | "latest"} [from]      where a client without a position begins
 * @property {boolean} [strict]                end the client (4410) instead of a reset if the position is lost
 * @property {boolean} [persist]               store the position in `storage`; see above
 * @property {PositionStorage} [storage]       default `sessionStorage`
 * @property {string} [name]                   distinguishes clients of one session in one page, for `persist`
 * @property {string} [user]                   keeps the stored positions of several users of one page apart
 * @property {any} [WebSocket]                 the class to use if there is no global one
 * @property {string | URL | false} [fallback]
 *   address of the routes `events` and `commands` for networks without WebSockets, or false for WebSockets only. By default
 *   the address of the WebSocket, with http: or https:
 */

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 20_000;
const TYPING_REFRESH_MS = 2_000; // the server ends typing after 5 s
const UNRECOVERABLE = 4410;
const TOKEN_EXPIRED = 4004;
const WEBSOCKET_WORKS = 1012; // from fallback.js
const OPENINGS = 3; // of WebSockets that fail before another transport is tried
const OPENINGS_OF_PROVEN = 9; // of a transport that worked: about 1.5 minutes, in which a server comes back
const SESSION_NAME = /^[A-Za-z0-9._~:-]{1,128}$/;

/** Numbers of the positions in each storage that clients of this page use, by key. @type {WeakMap<object, Map<string, Set<number>>>} */
const taken = new WeakMap();

/** The transports that worked in this page where a WebSocket did not, by its address. @type {Map<string, number>} */
const proven = new Map();

/**
 * Attach to a session, and stay attached until `close()`, or until the server tells the client not to come back.
 *
 * Returns at once, with a client that is `connecting`. Throws TypeError for an argument that no server accepts.
 *
 * @param {string | URL} url  ws: or wss:, or relative to the page, such as "/ws"
 * @param {Options} options
 */
export function connect(url, options) {
  const whole = new URL(url, globalThis.location?.href);
  whole.protocol = whole.protocol.replace("http", "ws");
  return new Client(whole, options);
}

/**
 * Return true if a client comes back after this close code: the connection failed, and not the conversation.
 *
 * @param {number} code
 */
export function comesBack(code) {
  return code === 1001 || code === 1005 || code === 1006 || (code > 1010 && code < 4500);
}

/**
 * Return the delay in ms before attempt number `attempt` (0 is the first): random between 0 and a bound that doubles
 * ("full jitter"), so that clients that lost their server together do not come back together.
 *
 * @param {number} attempt
 */
export function backoff(attempt) {
  return Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
}

/**
 * A client of one session. `connect` makes it.
 *
 * It dispatches these CustomEvents, with the value in `detail`: "event", "reset", "signal", "welcome", "state", "closed"
 * (once, the last one), and "refused" (a frame was refused, and the connection goes on).
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
  /** @type {Item[] | undefined} */ #unclaimed = []; // items that arrived before anyone listened
  #listened = false;
  #endIsHeard = false; // a listener for "closed" was added
  /** @type {WeakMap<object, (event: any) => void>} */ #guarded = new WeakMap();
  /** @type {Closed | undefined} */ #closed;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {number | undefined} */ #retryAt;
  #toldToWait = false; // by the server's `retry_ms`
  #failures = 0; // in a row
  #transport = 0; // 1: a stream over HTTP, 2: polls
  #openings = 0; // of WebSockets that failed in a row
  #doubtful = false; // perhaps the WebSockets failed because the server was away
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #typingTimer;
  #typing = false;
  /** @type {[any, string, (event: any) => void][]} */ #watches = [
    [globalThis, "online", () => this.#woke(true)],
    [globalThis, "focus", () => this.#woke()],
    [globalThis, "pagehide", () => this.#leave()], // few browsers keep a page with an open socket for "back"
    [globalThis, "pageshow", ({ persisted }) => void (persisted && this.#woke(true))],
    [globalThis.document, "resume", () => this.#woke()],
    [globalThis.document, "visibilitychange", () => void (globalThis.document.visibilityState !== "hidden" && this.#woke())],
  ];

  /** @param {URL} url @param {Options} options */
  constructor(url, options) {
    super();
    check(url, options);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("not a WebSocket class");
    this.#url = url.href;
    this.#options = { ...options };
    this.#transport = proven.get(this.#url) ?? 0;
    if (options.persist) this.#take(options);
    this.#position = options.resume ? { epoch: options.resume.epoch, seq: options.resume.seq } : this.#stored?.load();
    for (const [target, type, listener] of this.#watches) target?.addEventListener?.(type, listener);
    this.#open();
  }

  /** State of the connection: `connecting`, `live`, `waiting` (for the next attempt) or `closed` (for good). */
  get state() {
    return this.#state;
  }

  /** What the connection is: `websocket`, `sse` or `poll`; undefined while there is none. */
  get transport() {
    return this.#attempt?.transport;
  }

  /** When the next attempt begins, in ms since 1970 by this machine's clock; undefined unless `waiting`. */
  get retryAt() {
    return this.#state === "waiting" ? this.#retryAt : undefined;
  }

  /** Position of the newest event received, for a later `connect(…, { resume })`; undefined before the first welcome. */
  get position() {
    return this.#position && { ...this.#position };
  }

  /** The session's starts that wait for their turn, oldest first. The signals named `queued` keep it up to date. */
  get queued() {
    return [...this.#queued.values()];
  }

  /**
   * Start a run. Resolves with its id when its start is committed. Waits while there is no connection.
   *
   * `commandId` comes back in the run's `agent_started`, as `data.command_id`, so that a page which shows the request
   * before the reply can find it again. `traceparent` names the page's trace, as W3C Trace Context writes it: a server that
   * traces its runs links the run to it.
   *
   * @param {string} agent @param {JSONValue} input @param {{ commandId?: string, traceparent?: string }} [options]
   * @returns {Promise<string>}
   */
  async start(agent, input, { commandId, traceparent } = {}) {
    return (await this.#command("run.start", { agent, input, traceparent }, commandId)).run_id;
  }

  /**
   * Ask a run to stop, by its id or by the id of the command that started it. Resolves with false if the run is unknown
   * or over. A start that waits for its turn has only its command's id; the start rejects with `cancelled` then.
   *
   * @param {string | { commandId: string }} run @returns {Promise<boolean>}
   */
  async cancel(run) {
    const args = typeof run === "string" ? { run_id: run } : { command_id: run.commandId };
    return (await this.#command("run.cancel", args)).cancelled;
  }

  /**
   * Answer an agent's question (`input_requested`). Rejects with `not_waiting` if it was answered or withdrawn
   * (`input_withdrawn`), and with `unknown_run` after the end of its run, which ends its questions too.
   *
   * @param {string} runId @param {string} callId @param {JSONValue} value
   */
  async answer(runId, callId, value) {
    await this.#command("input.answer", { run_id: runId, call_id: callId, value });
  }

  /**
   * Append a message of the user to the session, so that every tab shows it.
   *
   * @param {string} text
   */
  async send(text) {
    await this.#command("message.send", { text });
  }

  /**
   * Read events of the past, for example to show more at the top of a page: up to `limit` events before the event with
   * the number `before`, or those that follow `after` (by default 0: the oldest). `more` is true if there may be older
   * ones (with `after`: later ones). Does not change the position. Waits while there is no connection.
   *
   * @param {{ before?: number, after?: number, limit?: number }} [page]  a `limit` of 1 to 500, 100 by default
   * @returns {Promise<{ events: Event[], more: boolean }>}
   */
  async history({ before, after, limit = 100 } = {}) {
    if (!(isSeq(limit) && limit > 0 && limit <= MAX_HISTORY && isSeq(before ?? 1) && isSeq(after ?? 0))) {
      throw unusable("not a page of events");
    }
    /** @param {number} above @param {number} most @returns {Promise<{ events: Event[], more: boolean }>} */
    const page = (above, most) => this.#ask({ type: "history", id: newId(), after: above, limit: most });
    if (before === undefined) return page(after ?? 0, limit);
    const first = Math.max(0, before - 1 - limit);
    /** @type {Event[]} */ const events = [];
    for (let last = first, more = true; more && last < before - 1; last = events.at(-1)?.seq ?? before) {
      const next = await page(last, before - 1 - last); // the server may send less than that at once
      const some = next.events.filter(({ seq }) => seq < before);
      events.push(...some);
      more = next.more && some.length > 0;
    }
    return { events, more: first > 0 && events[0]?.seq === first + 1 };
  }

  /**
   * Tell whether the user is typing. Call it with every key: it is sent at most every 2 s, and only while live.
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

  /**
   * Begin the next attempt now, for a "try now" button. Return false if the client is not `waiting`: it is connected, is
   * about to be, or has ended.
   */
  reconnect() {
    if (this.#state !== "waiting") return false;
    this.#retryNow();
    return true;
  }

  /** Detach for good. Runs go on, commands without a reply reject with `closed`, iterators end. */
  close() {
    this.#finish({ code: 1000, reason: "closed here" });
  }

  /**
   * Iterate over all events that no iterator or listener has had yet, with `{ type: "reset" }` where the position was lost.
   * Ends after `close()`. Throws GreenroomError if the server ended the client. An event counts as processed when the next
   * one is asked for, or the loop is left.
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
    this.#endIsHeard ||= type === "closed";
    if (type !== "event" || !this.#unclaimed) return;
    queueMicrotask(() => { // later, so that a listener for "reset" that is added next gets the resets
      for (const { value } of this.#claim()) this.#announce(value);
      this.#save();
    });
  }

  /** @param {string} type @param {any} listener @param {boolean | EventListenerOptions} [options] */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, this.#guard(listener), options);
  }

  /**
   * Return a wrapper of a listener that reports its exceptions and rejections. *Node would end the process for one.*
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
        Promise.resolve(result).catch(report);
      } catch (error) {
        report(error);
      }
    };
    this.#guarded.set(listener, guarded);
    return guarded;
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  #open() {
    const { token, fallback = this.#url.replace("ws", "http") } = this.#options;
    const transport = this.#transport;
    const socket = () => new this.#WebSocket(this.#url, [SUBPROTOCOL]);
    const channel = async () => {
      const { Channel } = await import("./fallback.js");
      return new Channel(`${fallback}`, transport > 1, this.#doubtful && socket);
    };
    const attempt = this.#attempt = new Attempt({
      dial: transport ? channel : socket,
      token,
      seq: () => this.#position?.seq ?? 0,
      hello: (fetched) => this.#hello(fetched),
      received: (frame) => this.#received(attempt, frame),
      steady: () => void (this.#failures = 0),
      lost: (ended) => this.#lost(ended),
    });
    this.#enter({ state: "connecting" });
    attempt.start(); // does nothing if a listener has closed the client meanwhile
  }

  /** @param {string | undefined} token */
  #hello(token) {
    const { session, from, strict } = this.#options;
    return { type: "hello", session, token, resume: this.#position, from, strict, client: "greenroom.js" };
  }

  /** Handle the end of an attempt: come back or not, by its code. @param {Ended} ended */
  #lost({ code, reason, retryMs, failed }) {
    this.#detach();
    this.#openings += failed;
    const most = !this.#transport ? OPENINGS : proven.has(this.#url) ? OPENINGS_OF_PROVEN : 1;
    const turn = failed && this.#options.fallback !== false && this.#openings >= most;
    if (turn || (this.#transport && code === WEBSOCKET_WORKS)) {
      if (!this.#transport) this.#doubtful = failed < Infinity;
      this.#transport = turn ? (this.#transport + 1) % 3 : 0;
      this.#openings = 0;
      proven.delete(this.#url);
    }
    const expired = code === TOKEN_EXPIRED && typeof this.#options.token !== "function";
    const unrecoverable = code === UNRECOVERABLE && this.#options.strict;
    if (expired || unrecoverable || !comesBack(code)) return this.#finish({ code, reason });
    const retryInMs = retryMs ?? backoff(this.#failures);
    this.#failures += 1;
    this.#toldToWait = retryMs !== undefined;
    this.#retryTimer = setTimeout(() => this.#retryNow(), retryInMs);
    this.#retryAt = Date.now() + retryInMs;
    this.#enter({ state: "waiting", retryInMs, retryAt: this.#retryAt, code, reason });
  }

  #retryNow() {
    if (this.#state !== "waiting") return;
    clearTimeout(this.#retryTimer);
    this.#open();
  }

  /** The page may have slept. @param {boolean} [network]  it changed, so do not wait as long as the server said */
  #woke(network = false) {
    this.#commands.woke();
    if (this.#state === "live") this.#attempt?.probe();
    else if (network || !this.#toldToWait) this.#retryNow();
  }

  /** The page is left, and may come back as it is: keep no connection, and no timer for one. */
  #leave() {
    this.#attempt?.lose(1001, "the page was left");
    clearTimeout(this.#retryTimer);
  }

  /** Drop the attempt. Commands that were sent on it get no reply from it. Store the position. */
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
    this.#commands.rejectAll(endOf(closed));
    for (const feed of this.#feeds) feed.end(closed);
    this.#enter({ state: "closed", ...closed });
    // A page that does not know its end would look as if it only waited.
    if (closed.code !== 1000 && !this.#endIsHeard) console.warn(`greenroom: ${endOf(closed).message}`);
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
        return this.#commands.answered(frame, attempt);
      case "history":
        return this.#commands.told(frame);
      case "error":
        if (frame.code === "rate_limited") this.#commands.refused(attempt);
        return this.#announceAs("refused", { code: frame.code, message: frame.message });
      default: // a frame of a newer server
    }
  }

  /** @param {Attempt} attempt @param {Welcome & { type: string }} frame */
  #welcome(attempt, frame) {
    const before = this.#position;
    const place = frame.recovered ? (before?.epoch === frame.epoch ? before : undefined) : this.#begin(frame);
    if (attempt.live || !place) return attempt.lose(1006, "a bad welcome");
    this.#position = place;
    attempt.welcomed(frame.ping_ms, frame.expires_ms);
    this.#openings = 0;
    this.#doubtful = false;
    if (this.#transport) proven.set(this.#url, this.#transport);
    const queued = Array.isArray(frame.queued) ? frame.queued : []; // a server of an older version has none
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

  /** Return the first position of a stream that is not a resume; undefined if the welcome is invalid. @param {Welcome} frame */
  #begin({ epoch, oldest, latest }) {
    const seq = !this.#position && this.#options.from === "latest" ? latest : oldest - 1;
    return typeof epoch === "string" && isSeq(seq) ? { epoch, seq } : undefined;
  }

  /** @param {Attempt} attempt @param {Event[]} events */
  #events(attempt, events) {
    for (const event of events) {
      const before = this.#position;
      // An application may close the client while it handles an event. The attempt is not live then, and `lose` does nothing.
      if (!before || !attempt.live || !isSeq(event?.seq)) return attempt.lose(1006, "bad events");
      if (event.seq <= before.seq) continue;
      if (event.seq > before.seq + 1) return attempt.lose(1006, `a gap: ${event.seq} after ${before.seq}`);
      this.#position = { epoch: before.epoch, seq: event.seq };
      this.#deliver(event, before);
    }
    this.#save();
  }

  // --- commands ---------------------------------------------------------------------------------------------------

  /** @param {string} name @param {object} args @param {string} [id] @returns {Promise<any>} */
  #command(name, args, id = newId()) {
    return this.#ask({ type: "command", id, name, args });
  }

  /** @param {Parameters<Commands["add"]>[0]} frame @returns {Promise<any>} */
  async #ask(frame) {
    if (this.#closed) throw endOf(this.#closed);
    const answer = this.#commands.add(frame);
    const attempt = this.#attempt;
    if (attempt && this.#state === "live") this.#commands.flush(attempt);
    return answer;
  }

  // --- delivery to the application --------------------------------------------------------------------------------

  /** @param {Event | Reset} value @param {Position} before */
  #deliver(value, before) {
    if (this.#unclaimed) {
      this.#unclaimed.push({ value, before });
      return;
    }
    for (const feed of this.#feeds) feed.push({ value, before });
    this.#announce(value);
  }

  /** An iterator was left. Keep its remaining items for the next one. @param {Feed} feed @param {Item[]} rest */
  #left(feed, rest) {
    if (this.#feeds.delete(feed) && !this.#feeds.size && !this.#listened) this.#unclaimed = rest;
  }

  /** Return the items that arrived before anyone listened. From now on, items are delivered at once. */
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
   * Store the application's position: it is behind the received one while an iterator has not reached all items. While
   * an iterator has not reached a reset, the old position stays, so that after a refresh the page gets the reset again.
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
   * Choose a key for the stored position that no other client of this page has. It is the first free one: so a page that
   * makes its clients in the same order after a refresh finds each position again, as does one that makes a client anew.
   *
   * @param {Options} options
   */
  #take({ storage = sessionStorageIfAllowed(), session, name, user = "" }) {
    const key = `greenroom:${JSON.stringify([this.#url, user, session, ...(name === undefined ? [] : [name])])}`;
    if (typeof storage !== "object" || !storage) return; // the browser allows none
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

/** Throw TypeError for an argument for which the server would end the conversation. @param {URL} url @param {Options} options */
function check(url, options) {
  const { session, token, resume, from = "oldest", strict = false } = options;
  if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`not a WebSocket URL: ${url}`);
  if (typeof session !== "string" || !SESSION_NAME.test(session)) throw new TypeError("not a session's name");
  if (token != null && typeof token !== "function" && !isText(token)) throw new TypeError("not a token");
  if (resume != null && !(isText(resume.epoch) && isSeq(resume.seq))) throw new TypeError("not a position");
  if (from !== "oldest" && from !== "latest") throw new TypeError("not oldest or latest: from");
  if (typeof strict !== "boolean") throw new TypeError("not a boolean: strict");
}

// Values

/**
 * A command that was not done, or a conversation that is over. `code` is an error code of the protocol (`bad_input`,
 * `unknown_run`, …), `bad_args` for a command whose id waits for its reply (an argument that cannot be sent gets a TypeError
 * with the same `code`), `too_many_pending`, `too_large`, `closed`, or
 * `outcome_unknown`: the command was sent, and the server could not be reached again for so long that sending it again
 * might do it twice.
 */
export class GreenroomError extends Error {
  /** @param {string} code @param {string} message @param {unknown} [cause] */
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "GreenroomError";
    this.code = code;
  }
}

/** Return the error of every call after the end of a client. @param {Closed} closed */
function endOf({ code, reason }) {
  return new GreenroomError("closed", `the client is closed: ${reason || "the connection was closed"} (${code})`);
}

const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one fires at once

/** Call `act` after `ms`, but after 24 days at the latest. @param {number} ms @param {() => void} act */
function after(ms, act) {
  return setTimeout(act, Math.min(ms, LONGEST_TIMER_MS));
}

/** Return a random id. (`crypto.randomUUID` is missing on pages that came over plain http.) */
function newId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** Return true for a string that UTF-8 can hold: the server ends a connection for a lone surrogate. @param {unknown} value */
function isText(value) {
  return typeof value === "string" && !/\p{Surrogate}/u.test(value);
}

/** @param {unknown} value @returns {value is number} */
function isSeq(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** Return the text of a thrown value. It may be anything, and may throw when it is shown. @param {any} error */
function textOf(error) {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "unknown";
  }
}

/** Report an exception of the application's own code to the page, or to the console. @param {unknown} error */
function report(error) {
  try {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  } catch {
    // the exception cannot be shown
  }
}

// Delivery to iterators

/**
 * @typedef {{ value: Event | Reset, before: Position }} Item  an event or a reset, and the position before it
 * @typedef {IteratorResult<Event | Reset>} Result
 */

/** An iterator, and the items that it has not reached yet. */
class Feed {
  /** @type {Item[]} */ #items = [];
  /** @type {Item | undefined} */ #current; // returned, and perhaps still being processed
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

  /** The position before the oldest item that is not processed; undefined if all items are. */
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
    this.end(left); // else a reader that waits would wait for ever
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
  async #over(closed) {
    if (closed.code !== 1000) throw endOf(closed);
    return { done: true, value: undefined };
  }
}

// The stored position

/**
 * The stored position of one client. A storage that is full, forbidden, slow, broken or changed by hand causes a replay
 * after a refresh, and nothing else: its exceptions are caught here.
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
    try {
      unlessLater(this.#storage?.setItem(this.#key, JSON.stringify(position)));
    } catch {
      try {
        unlessLater(this.#storage?.removeItem(this.#key)); // an old position beside newer state would deliver events twice
      } catch {
        // it cannot be removed either
      }
    }
  }
}

/**
 * Return the result of a storage, or undefined if it is a promise: a storage that answers later cannot be used. Nothing
 * else would handle the promise's rejection.
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
 * @typedef {{ at: number, date: number, memoryMs: number, awayMs: number }} First  when a command was sent for the first time, by
 *   the monotonic clock and by the wall clock; how long the server remembers its id; how long ago it was, if the page slept
 * @typedef {{ text: string, bytes: number, asks: boolean, sent?: boolean, first?: First,
 *   timer?: ReturnType<typeof setTimeout>, over?: boolean,
 *   resolve: (result: any) => void, reject: (error: Error) => void }} Pending
 * A command without a reply. `asks`: it changes nothing. `sent`: on the present connection. `over`: set by a timer when the
 * server may have forgotten its id.
 */

const MAX_PENDING = 32; // below the burst that a server accepts after a reconnect
const MAX_DEPTH = 64; // the server ends a connection for a frame that is nested deeper
const MAX_ID = 128;
const MAX_HISTORY = 500; // events that one question may ask for
const DEFAULT_MEMORY_MS = 300_000; // if the welcome has no command_memory_ms
const REFUSED_MS = 1_000; // after it, a question that the server refused because of its rate limit is sent again

/**
 * The commands without a reply. Each is encoded once, at the call, and sent again with its id on every connection until
 * its reply comes, unless the server may have forgotten the id by then.
 */
class Commands {
  /** @type {Map<string, Pending>} */ #pending = new Map();
  #maxFrameBytes = Infinity;
  #memoryMs = Infinity;

  /**
   * Keep a command until its reply comes. A command that cannot be sent rejects at once, and is not kept.
   *
   * @param {{ id: any, type: string, name?: string, args?: object, after?: number, limit?: number }} frame
   * @returns {Promise<any>}
   */
  add(frame) {
    return new Promise((resolve, reject) => {
      const { id } = frame;
      if (!isText(id) || !id || [...id].length > MAX_ID) {
        throw unusable(`an id has 1 to ${MAX_ID} characters`);
      }
      const text = written(frame);
      if (this.#pending.has(id)) throw new GreenroomError("bad_args", `the command ${id} waits for its reply`);
      if (this.#pending.size >= MAX_PENDING) {
        throw new GreenroomError("too_many_pending", `${MAX_PENDING} commands have no reply yet`);
      }
      const bytes = new TextEncoder().encode(text).length;
      if (bytes > this.#maxFrameBytes) throw this.#tooLarge();
      const asks = frame.type === "history"; // may be sent again at any time
      this.#pending.set(id, { text, bytes, asks, resolve, reject });
    });
  }

  /** A connection begins: all commands are to be sent on it. @param {unknown} maxFrameBytes @param {unknown} memoryMs */
  attached(maxFrameBytes, memoryMs) {
    this.#maxFrameBytes = typeof maxFrameBytes === "number" && maxFrameBytes > 0 ? maxFrameBytes : Infinity;
    this.#memoryMs = typeof memoryMs === "number" && memoryMs >= 0 ? memoryMs : DEFAULT_MEMORY_MS;
    for (const { first } of this.#pending.values()) {
      if (first) first.memoryMs = Math.min(first.memoryMs, this.#memoryMs);
    }
    this.#drop((pending) => pending.bytes > this.#maxFrameBytes, () => this.#tooLarge());
    this.detached();
  }

  /** The connection is over: it brings no more replies. */
  detached() {
    for (const pending of this.#pending.values()) pending.sent = false;
    this.#forget();
  }

  /** Send the commands that were not sent on this connection yet. @param {Attempt} attempt  sending may end it */
  flush(attempt) {
    this.#forget();
    for (const pending of [...this.#pending.values()]) {
      if (attempt.over) return; // the rest was not sent, so its outcome is not unknown
      if (pending.sent) continue;
      pending.sent = true;
      if (!pending.first && !pending.asks) this.#begin(pending);
      attempt.send(pending.text);
    }
  }

  /**
   * The page may have slept. Only then the wall clock counts, since the monotonic clock may have stood still. At other
   * times it is not used: people and programs set it forward and back.
   */
  woke() {
    for (const { first } of this.#pending.values()) {
      if (first) first.awayMs = Math.max(first.awayMs, Date.now() - first.date);
    }
  }

  /**
   * @param {{ id: string, ok: boolean, result?: any, error?: { code: string, message: string } }} reply
   * @param {Attempt} attempt
   */
  answered({ id, ok, result, error }, attempt) {
    const again = error?.code === "owner_unreachable" ? this.#pending.get(id) : undefined;
    if (again) {
      again.sent = false; // the session moves to another server, which may have done the command: the id tells
      return this.flush(attempt);
    }
    const pending = this.#take(id);
    if (ok) pending?.resolve(result ?? {});
    else pending?.reject(new GreenroomError(error?.code ?? "internal", error?.message ?? "refused"));
  }

  /** A page of events has come; also the answer to a probe comes here. @param {any} frame */
  told({ id, events, more }) {
    this.#take(id)?.resolve({ events, more });
  }

  /** Something was refused, perhaps a question for events: ask again. @param {Attempt} attempt */
  refused(attempt) {
    for (const pending of this.#pending.values()) pending.sent &&= !pending.asks;
    after(REFUSED_MS, () => this.flush(attempt));
  }

  /** @param {GreenroomError} error */
  rejectAll(error) {
    this.#drop(() => true, () => error);
  }

  /** @param {Pending} pending */
  #begin(pending) {
    pending.first = { at: performance.now(), date: Date.now(), memoryMs: this.#memoryMs, awayMs: 0 };
    if (this.#memoryMs >= LONGEST_TIMER_MS) return;
    pending.timer = after(this.#memoryMs + 1, () => {
      pending.over = true;
      this.#forget();
    });
  }

  /** Reject the commands that may not be sent again. The present connection may still bring replies to its own. */
  #forget() {
    this.#drop(
      ({ sent, over, first }) => !sent && (over || (first && age(first) > first.memoryMs)),
      () => new GreenroomError("outcome_unknown", "no answer came in time"),
    );
  }

  /** @param {(pending: Pending) => unknown} condition @param {() => GreenroomError} why */
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
    return new GreenroomError("too_large", `more than ${this.#maxFrameBytes} bytes`); // for which the server would close for good
  }
}

/** Return the time since a command was first sent, in ms. @param {First} first */
function age({ at, awayMs }) {
  return Math.max(performance.now() - at, awayMs);
}

/** @param {object} frame */
function written(frame) {
  let text;
  try {
    text = JSON.stringify(frame, (key, value) => {
      if (typeof value === "bigint") throw unusable(`${key} is a BigInt`);
      return value;
    });
  } catch (error) { // BigInt, a cycle, a toJSON that throws
    throw unusable(`not JSON: ${textOf(error)}`, error);
  }
  if (depth(text) > MAX_DEPTH) throw unusable(`nested deeper than ${MAX_DEPTH}`);
  return text;
}

/** Return the error for an argument that cannot be sent. @param {string} message @param {unknown} [cause] */
function unusable(message, cause) {
  return Object.assign(new TypeError(message, { cause }), { code: "bad_args" });
}

/** Return how deep objects and lists are nested in JSON text. @param {string} text */
function depth(text) {
  let deepest = 0;
  let level = 0;
  for (const bracket of text.replace(/\\./g, "").replace(/"[^"]*"/g, "").match(/[[\]{}]/g) ?? []) {
    if (bracket === "[" || bracket === "{") deepest = Math.max(deepest, ++level);
    else level--;
  }
  return deepest;
}

// One attempt to connect

/**
 * @typedef {{ code: number, reason: string, retryMs?: number, failed: number }} Ended  the end of an attempt; `retryMs` is the
 *   server's. `failed`: 1 if the transport failed before the welcome, as far as one can see; Infinity if nothing came
 * @typedef {object} Uses  the client's values and callbacks for an attempt
 * @property {any} token
 * @property {() => any} dial                 returns a WebSocket, or a promise of something like it
 * @property {(token: string | undefined) => object} hello
 * @property {() => number} seq               the position
 * @property {(frame: any) => void} received  every frame but ping, token and goodbye
 * @property {() => void} steady              called when it has been live for STEADY_MS
 * @property {(ended: Ended) => void} lost    called once, at the end
 */

const SUBPROTOCOL = "greenroom.v1";
const TOKEN_MS = 15_000; // time limit for the token
const WELCOME_MS = 10_000; // time limit from dialling to the welcome
const SILENCE_GRACE_MS = 10_000; // silence beyond ping_ms after which a connection is dead
const PROBE_MS = 2_000; // time limit for the answer to a probe
const OPENING_AFTER_SLEEP_MS = 5_000; // more time for a page that slept before the welcome came
const LATE_MS = 1_000; // a timer that fires later than this was late because the page slept
const STEADY_MS = 5_000; // live for this long, a connection resets the count of failures
const DEFAULT_PING_MS = 25_000;
const MAX_RETRY_MS = 3_600_000;
const RENEW_MS = 90_000; // so long before its end a token is renewed: the timers of a hidden page may be a minute late
const FINAL = /^(Security|Syntax|Type)Error$/; // trying again does not help: ws: from an https: page

/**
 * One attempt to connect, from asking for a token to the loss of its connection.
 *
 * Every callback (a token, a timer, a socket's event) belongs to the attempt that asked for it, passes `#step`, and is
 * ignored when the attempt is over. So an old attempt cannot touch the next one. An exception in a step (of the
 * application's WebSocket class, or of a frame that cannot be read) ends this attempt and nothing else.
 */
class Attempt {
  #uses;
  /** @type {any} */ #socket;
  /** @type {{ code: number, reason: string, retry_ms?: unknown } | undefined} */ #goodbye;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #silenceTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #steadyTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #renewTimer;
  #silenceMs = WELCOME_MS;
  #dialled = false;
  #probing = false;
  over = false;
  live = false;

  /** @param {Uses} uses */
  constructor(uses) {
    this.#uses = uses;
  }

  start() {
    if (this.over) return;
    this.#expect(TOKEN_MS);
    this.#fetch().then(
      this.#step((fetched) => this.#dial(fetched ?? undefined)),
      this.#step((error) => this.lose(1006, `no token: ${textOf(error)}`)),
    );
  }

  /** @returns {Promise<unknown>} */
  async #fetch() {
    const { token } = this.#uses;
    return typeof token === "function" ? token() : token;
  }

  /** The server has welcomed this connection. @param {unknown} pingMs @param {unknown} expiresMs */
  welcomed(pingMs, expiresMs) {
    this.live = true;
    const ping = typeof pingMs === "number" && pingMs > 0 ? pingMs : DEFAULT_PING_MS;
    this.#expect((this.#silenceMs = ping + SILENCE_GRACE_MS));
    this.#steadyTimer = after(STEADY_MS, this.#step(() => this.#uses.steady()));
    this.#expires(expiresMs);
  }

  /**
   * Send a fresh token before the present one expires. If there is none, the connection goes on until then.
   *
   * @param {unknown} ms  until the present token expires
   */
  #expires(ms) {
    clearTimeout(this.#renewTimer);
    if (typeof ms !== "number" || typeof this.#uses.token !== "function") return;
    this.#renewTimer = after(Math.max(ms / 2, ms - RENEW_MS, 1000), this.#step(() => {
      const send = this.#step((token) => isText(token) && this.send(JSON.stringify({ type: "token", token })));
      this.#fetch().then(send, () => {});
    }));
  }

  /** @param {string} text */
  send(text) {
    this.#step(() => this.#socket?.send(text))();
  }

  /**
   * Ask the server for something small, and drop the connection if nothing at all comes back soon. *After a sleep, a dead
   * socket may look open for as long as silence is allowed.* A healthy connection is not touched.
   */
  probe() {
    if (!this.live || this.over || this.#probing) return;
    this.#probing = true;
    this.#expect(PROBE_MS);
    if (this.#socket.check) this.#socket.check();
    else this.send(JSON.stringify({ type: "history", id: newId(), after: this.#uses.seq(), limit: 1 }));
  }

  get transport() {
    return this.#socket && (this.#socket.transport ?? "websocket");
  }

  /**
   * End the attempt with a close code, and notify the client once.
   *
   * @param {number} code @param {string} reason @param {unknown} [retryMs]  0 after a probe without an answer
   * @param {number} [weight]  of a failure before the welcome
   */
  lose(code, reason, retryMs = this.#goodbye?.retry_ms, weight = 1) {
    if (this.over) return;
    const goodbye = this.#goodbye;
    const offline = globalThis.navigator?.onLine === false; // then no transport works, so none has failed
    const failed = this.#dialled && !this.live && !goodbye && !offline && code > 1004 && code < 4000 ? weight : 0;
    this.end();
    const unsaid = goodbye && (code === 1005 || code === 1006); // the close frame got lost: the goodbye counts
    this.#uses.lost({
      failed,
      ...(unsaid ? { code: goodbye.code, reason: `${goodbye.reason ?? ""}` } : { code, reason }),
      ...(typeof retryMs === "number" && retryMs >= 0 && retryMs <= MAX_RETRY_MS ? { retryMs } : {}),
    });
  }

  /** End without a notification. Does not wait for the close handshake: a dead peer never answers. */
  end() {
    if (this.over) return;
    this.over = true;
    this.live = false;
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#steadyTimer);
    clearTimeout(this.#renewTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    try {
      socket?.close();
    } catch {
      // a socket that cannot be closed is left alone: its events are ignored
    }
  }

  /**
   * Return a wrapper of `act` that does nothing when the attempt is over. An exception in it ends the attempt.
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

  /** @param {any} token */
  #dial(token) {
    if (token !== undefined && !isText(token)) return this.lose(1006, "no token: not a string");
    this.#dialled = true;
    this.#expect(WELCOME_MS);
    let socket;
    try {
      socket = this.#uses.dial();
    } catch (/** @type {any} */ error) {
      return this.lose(FINAL.test(error?.name) ? 1008 : 1006, `failed here: ${textOf(error)}`);
    }
    if (!socket.then) return this.#take(socket, token);
    socket.then(
      this.#step((made) => this.#take(made, token)),
      this.#step((error) => this.lose(1006, `failed here: ${textOf(error)}`)),
    );
  }

  /** @param {any} socket @param {string | undefined} token */
  #take(socket, token) {
    this.#socket = socket;
    socket.onopen = this.#step(() => this.send(JSON.stringify(this.#uses.hello(token))));
    socket.onmessage = this.#step((message) => this.#received(message.data));
    socket.onclose = this.#step((event) => this.lose(Number.isInteger(event?.code) ? event.code : 1006, `${event?.reason ?? ""}`));
    socket.onerror = () => {}; // onclose follows with more details; Node's ws throws without a listener
  }

  /** @param {any} text */
  #received(text) {
    this.#probing = false;
    this.#expect(this.#silenceMs);
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.lose(1006, "a bad frame");
    }
    if (frame?.type === "ping") this.send('{"type":"pong"}');
    else if (frame?.type === "token") this.#expires(frame.expires_ms);
    else if (frame?.type === "goodbye") this.#goodbye = Number.isInteger(frame.code) ? frame : undefined;
    else this.#uses.received(frame);
  }

  /** Treat the connection as dead if nothing at all arrives for `ms`. @param {number} ms */
  #expect(ms) {
    if (this.over) return;
    clearTimeout(this.#silenceTimer);
    const due = performance.now() + ms;
    this.#silenceTimer = after(ms, this.#step(() => this.#silent(performance.now() - due > LATE_MS)));
  }

  /** @param {boolean} late  the page slept: messages that arrived meanwhile are still unread, so silence proves nothing */
  #silent(late) {
    if (!late || this.#probing) {
      this.lose(1006, "nothing heard from the server", this.#probing ? 0 : undefined, late ? 1 : Infinity);
    }
    else if (this.live) this.probe();
    else this.#expect(OPENING_AFTER_SLEEP_MS);
  }
}
