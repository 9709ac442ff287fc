// @ts-check

/**
 * The way over HTTP, for networks that let no WebSocket through: greenroom.js loads this module when its WebSocket has failed.
 *
 * A `Channel` has as much of a WebSocket's interface as greenroom.js uses, and carries the same frames: so the position, the
 * commands and their ids do not depend on the transport. Downwards it reads a stream of server-sent events by `fetch`
 * (`EventSource` cannot send a token in a header), or polls. Upwards each frame is a POST.
 *
 * - Under HTTP/1.1 a browser has six connections to a host, for all tabs together. *With six streams, the next tab could not
 *   even load its page.* So at most three channels of a browser hold a connection; each has a Web Lock, which ends with its
 *   tab. The others ask every few seconds, and take a lock as soon as one is free.
 * - A server that restarts also refuses WebSockets for a while. So a new channel tries one beside it, and ends with 1012 if it
 *   opens: then the client goes back to it.
 */

const HELD = 3; // connections that the channels of a browser hold at once
const WAIT_S = 25; // how long a poll waits for news
const LEAST_PING_MS = 20_000; // the comments of a stream come every 15 s, whatever the ping is
const ASK_MS = { first: 250, longest: 3_000 }; // between polls that do not wait
const AGAIN_MS = { first: 1_000, longest: 5_000 }; // between POSTs of a command that waits for its reply
const WEBSOCKET_WORKS = 1012;

/**
 * @typedef {{ [key: string]: any }} Frame
 * @typedef {{ event: string, data: string, id: string | undefined }} Message  of a stream
 * @typedef {() => void} Release
 */

/** A connection over HTTP in the form of a WebSocket. It sends frames as text to `onmessage`. */
export class Channel {
  /** What it does at present. @type {"sse" | "poll"} */
  transport;
  /** @type {undefined | ((message: { data: string }) => void)} */ onmessage;
  /** @type {undefined | ((end: { code: number, reason: string }) => void)} */ onclose;
  #base;
  #polls;
  #dial;
  #session = "";
  /** @type {string | undefined} */ #token;
  #strict = false;
  #after = "oldest"; // EPOCH:SEQ, as soon as it is known
  /** @type {Frame | undefined} */ #welcome; // the newest one
  /** @type {string | undefined} */ #connection; // of the first one: the client knows itself by it
  #over = new AbortController();
  #turn = new AbortController(); // the present stream or poll
  #asking = false; // the next poll does not wait
  /** @type {Release | undefined} */ #release; // of the place among the connections of the browser
  /** @type {Promise<unknown>} */ #posts = Promise.resolve(); // one after the other: commands keep their order

  /**
   * @param {string} base  the address of the HTTP routes `events` and `commands`; in a page it may be relative
   * @param {boolean} polls  no stream: something on the way holds back what is not complete
   * @param {false | (() => any)} [dial]  opens a WebSocket, to find out whether it works again
   */
  constructor(base, polls, dial = false) {
    const { origin, pathname } = new URL(base, globalThis.location?.href);
    this.#base = `${origin}${pathname}`.replace(/\/+$/, "");
    this.#polls = polls;
    this.#dial = dial;
    this.transport = polls ? "poll" : "sse";
  }

  /** A channel can send at once. @param {() => void} opened */
  set onopen(opened) {
    queueMicrotask(opened);
  }

  /** @param {string} text */
  send(text) {
    const frame = JSON.parse(text);
    if (frame.type === "hello") this.#begin(frame);
    else if (frame.type === "token") this.#renew(frame);
    else if (frame.type === "command" || frame.type === "history" || frame.type === "typing") this.#post(frame);
  }

  /** Prove that the server can be reached: read on, on a new connection. */
  check() {
    this.#asking = true;
    this.#turn.abort();
  }

  close() {
    this.#over.abort();
    this.#turn.abort();
    this.#release?.();
    this.#release = undefined;
  }

  get #streams() {
    return this.transport === "sse";
  }

  /** @param {Frame} hello */
  #begin({ session, token, resume, from, strict }) {
    this.#session = session;
    this.#token = token;
    this.#strict = Boolean(strict);
    this.#after = resume ? `${resume.epoch}:${resume.seq}` : (from ?? "oldest");
    this.#run();
  }

  /** Read until the end. A connection that fails, or that ends by itself, ends the channel. */
  async #run() {
    while (!this.#over.signal.aborted) {
      const { signal } = (this.#turn = new AbortController());
      try {
        this.#release ??= await place(new URL(this.#base).origin);
        if (signal.aborted) continue;
        this.transport = this.#release && !this.#polls ? "sse" : "poll";
        if (this.#streams) await this.#stream(signal);
        else await this.#poll(signal);
      } catch (error) {
        if (!signal.aborted) this.#end(1006, `${error instanceof Error ? error.message : error}`);
      }
    }
    this.close(); // it may have been closed while it took a place
  }

  // --- downwards ----------------------------------------------------------------------------------------------------

  /** @param {AbortSignal} signal */
  async #stream(signal) {
    const response = await this.#fetch("events", {}, { headers: { Accept: "text/event-stream" }, signal });
    if (!response.ok) return this.#refused(response);
    if (!isOf(response, "text/event-stream") || !response.body) throw new Error("not a stream of events");
    this.#asking = false;
    const reader = response.body.getReader();
    const parser = new Parser();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) throw new Error("the stream has ended");
      this.#handle(parser.push(decoder.decode(value, { stream: true })));
    }
  }

  /** @param {Message[]} messages  of one chunk, perhaps none: a comment is a sign of life */
  #handle(messages) {
    /** @type {string[]} */ let events = [];
    const flush = () => {
      if (events.length) this.#emit(`{"type":"events","events":[${events.join(",")}]}`);
      events = [];
    };
    if (!messages.length) this.#emit('{"type":"ping"}');
    for (const { event, data, id } of messages) {
      if (this.#over.signal.aborted) return;
      if (event === "message") events.push(data);
      else flush();
      this.#after = id ?? this.#after;
      if (event !== "message") this.#frame(JSON.parse(data));
    }
    flush();
  }

  /** @param {AbortSignal} signal */
  async #poll(signal) {
    let pauseMs = ASK_MS.first;
    for (;;) {
      const wait = this.#release && this.#welcome && !this.#asking ? WAIT_S : 0;
      const response = await this.#fetch("events", { wait }, { headers: { Accept: "application/json" }, signal });
      if (!response.ok) return this.#refused(response);
      if (!isOf(response, "application/json")) throw new Error("not an answer to a poll");
      const { position, frames } = await response.json();
      if (signal.aborted) return;
      this.#asking = false;
      this.#after = position;
      for (const frame of frames) this.#frame(frame);
      if (this.#over.signal.aborted) return;
      if (this.#release) continue;
      pauseMs = frames.length > 1 ? ASK_MS.first : Math.min(pauseMs * 1.5, ASK_MS.longest);
      await pause(pauseMs, signal);
      if (signal.aborted || (this.#release = await place(new URL(this.#base).origin))) return;
    }
  }

  /** @param {Frame} frame */
  #frame(frame) {
    if (frame.type === "goodbye") return this.#goodbye(frame);
    if (frame.type !== "welcome") return this.#emit(JSON.stringify(frame));
    const before = this.#welcome;
    this.#welcome = frame;
    if (!before) return this.#first(frame);
    if (!frame.recovered) return this.#end(1006, "the position is lost"); // the next connection is told so
    this.#emit('{"type":"ping"}');
    this.#tell("queued", before.queued, frame.queued, "command_id", "waiting");
    this.#tell("typing", before.typing, frame.typing, "id", "active");
    if (frame.expires_ms) this.#emit(JSON.stringify({ type: "token", expires_ms: frame.expires_ms }));
  }

  /** @param {Frame} welcome */
  #first(welcome) {
    this.#connection = welcome.connection;
    this.#emit(JSON.stringify({ ...welcome, ping_ms: Math.max(welcome.ping_ms, LEAST_PING_MS) }));
    if (!this.#dial || this.#over.signal.aborted) return;
    try {
      const socket = this.#dial();
      socket.onerror = () => {};
      socket.onopen = () => {
        this.#goodbye({ code: WEBSOCKET_WORKS, reason: "a WebSocket can be opened", retry_ms: 0 });
        socket.close();
      };
    } catch {
      // the application's class cannot be used at the moment
    }
  }

  /**
   * Send the signals that were missed between two welcomes.
   *
   * @param {string} name @param {Frame[] | undefined} before @param {Frame[] | undefined} now
   * @param {string} key @param {string} flag
   */
  #tell(name, before = [], now = [], key, flag) {
    const missing = (/** @type {Frame[]} */ list, /** @type {Frame} */ one) => !list.some((other) => other[key] === one[key]);
    const changes = [
      ...before.filter((one) => missing(now, one)).map((one) => ({ ...one, [flag]: false })),
      ...now.filter((one) => missing(before, one)).map((one) => ({ ...one, [flag]: true })),
    ];
    for (const data of changes) this.#emit(JSON.stringify({ type: "signal", name, data }));
  }

  // --- upwards ------------------------------------------------------------------------------------------------------

  /** @param {Frame} frame  a token before the present one expires */
  #renew(frame) {
    this.#token = frame.token;
    if (this.#streams) this.#post(frame); // a poll has the token in its header
  }

  /** @param {Frame} frame @param {number} [againMs]  it was posted before, and waits for its reply */
  #post(frame, againMs = 0) {
    this.#posts = this.#posts.then(() => this.#posted(frame, againMs)).catch((error) => {
      this.#end(1006, `${error instanceof Error ? error.message : error}`);
    });
  }

  /** @param {Frame} frame @param {number} againMs */
  async #posted(frame, againMs) {
    const { signal } = this.#over;
    if (signal.aborted) return;
    const connection = this.#streams ? this.#welcome?.connection : undefined;
    // *A poll's connection ends with its answer, and typing with it; and typing under a new id would be that of another.*
    const types = frame.type === "typing" && connection !== this.#connection;
    const by = types ? { typist: this.#connection } : { connection };
    const response = await this.#fetch("commands", { ...by, wait: againMs ? 0 : 1 }, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(frame),
      signal,
    });
    const answer = await response.json().catch(() => undefined);
    if (signal.aborted || response.status === 204 || response.status === 409) return;
    const waits = response.status === 202 || (againMs > 0 && response.status === 429); // a refusal would hide that it was taken
    if (waits) return this.#later(frame, Math.min(againMs * 2 || AGAIN_MS.first, AGAIN_MS.longest));
    // 408 has a code that says not to come back, but the network was too slow for the body, and may be better soon.
    if (answer?.type === "goodbye" && response.status !== 408) return this.#goodbye(answer);
    if (response.status === 408 || typeof answer?.type !== "string") throw new Error(`HTTP ${response.status} for a ${frame.type}`);
    this.#emit(JSON.stringify(answer));
  }

  /** @param {Frame} frame @param {number} ms */
  #later(frame, ms) {
    pause(ms, this.#over.signal).then(() => this.#post(frame, ms));
  }

  // --- both ---------------------------------------------------------------------------------------------------------

  /**
   * @param {string} route @param {{ [name: string]: any }} query @param {RequestInit & { headers: { [name: string]: string } }} init
   */
  #fetch(route, query, init) {
    const url = new URL(`${this.#base}/${route}`);
    const place = route === "events" ? { after: this.#after, strict: this.#strict ? 1 : undefined } : {};
    for (const [name, value] of Object.entries({ session: this.#session, ...place, ...query })) {
      if (value !== undefined) url.searchParams.set(name, `${value}`);
    }
    const headers = this.#token === undefined ? init.headers : { ...init.headers, Authorization: `Bearer ${this.#token}` };
    return fetch(url, { ...init, headers, cache: "no-store", credentials: "include", redirect: "error" });
  }

  /** @param {Response} response  instead of a stream or of an answer to a poll */
  async #refused(response) {
    const answer = await response.json().catch(() => undefined);
    if (Number.isInteger(answer?.code)) this.#goodbye(answer);
    else this.#end(1006, `HTTP ${response.status}`);
  }

  /** @param {Frame} goodbye */
  #goodbye(goodbye) {
    this.#emit(JSON.stringify({ ...goodbye, type: "goodbye" }));
    this.#end(goodbye.code, `${goodbye.reason ?? ""}`);
  }

  /** @param {string} data */
  #emit(data) {
    if (!this.#over.signal.aborted) this.onmessage?.({ data });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#over.signal.aborted) return;
    this.close();
    this.onclose?.({ code, reason });
  }
}

/** A parser of text/event-stream, as the HTML standard defines it. */
export class Parser {
  #text = "";
  /** @type {string[]} */ #data = [];
  #event = "";
  /** @type {string | undefined} */ #id;
  #begun = false;
  /** The time after which the server wants the client back, in ms. @type {number | undefined} */ retryMs;

  /** Return the messages that this piece of text completes. @param {string} text @returns {Message[]} */
  push(text) {
    if (!this.#begun && text) text = text.replace(/^\uFEFF/, "");
    this.#begun ||= text !== "";
    const lines = (this.#text + text).split(/\r\n|\n|\r(?!$)/); // a \r at the end may be one half of \r\n
    this.#text = lines.pop() ?? "";
    /** @type {Message[]} */ const messages = [];
    for (const line of lines) {
      if (line) this.#field(line);
      else messages.push(...this.#dispatch());
    }
    return messages;
  }

  /** @param {string} line */
  #field(line) {
    const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  /** @returns {Message[]} */
  #dispatch() {
    const message = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    const complete = this.#data.length > 0;
    this.#data = [];
    this.#event = "";
    return complete ? [message] : [];
  }
}

/** @param {Response} response @param {string} type */
function isOf(response, type) {
  return response.headers.get("Content-Type")?.startsWith(type) ?? false;
}

/** Wait, but not longer than until the signal. @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", over); // a signal may see thousands of pauses
      resolve();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener("abort", over);
  });
}

/**
 * Take a place among the connections that a browser may hold to this origin. Resolves with undefined if all are taken, or
 * where the tabs of a browser cannot be counted (a page that came over plain http has no Web Locks).
 *
 * @param {string} origin @returns {Promise<Release | undefined>}
 */
async function place(origin) {
  const inBrowser = "document" in globalThis || "WorkerGlobalScope" in globalThis;
  if (!inBrowser || multiplexed(origin)) return () => {};
  if (!globalThis.navigator?.locks) return undefined;
  for (let number = 0; number < HELD; number++) {
    const release = await lock(`greenroom ${origin} ${number}`);
    if (release) return release;
  }
  return undefined;
}

/** Return true if this page came from the origin over HTTP/2 or 3, where one connection is enough. @param {string} origin */
function multiplexed(origin) {
  return ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type)).some((entry) => {
    const { name, nextHopProtocol = "" } = /** @type {PerformanceResourceTiming} */ (entry);
    return name.startsWith(`${origin}/`) && /^h[23]/.test(nextHopProtocol);
  });
}

/** @param {string} name @returns {Promise<Release | undefined>} */
function lock(name) {
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (held) => {
      if (!held) return resolve(undefined);
      return new Promise((release) => resolve(() => release(undefined)));
    }).catch(() => resolve(undefined)); // a page that may use no locks
  });
}
