// @ts-check

/**
 * One store for each session of a page, however many components show it.
 *
 *     import { sharedStore } from "./shared.js";
 *
 *     const session = sharedStore("wss://example.com/", { session: "s1", token: fetchToken });
 *     const stop = session.subscribe((snapshot) => render(snapshot));
 *     await session.start("assistant", "hello");
 *
 * The hooks for React and Vue and the store for Svelte are made of this. An application can rely on these rules:
 * - Stores with the same URL and the same options share one connection and one snapshot: `keyOf` says which options count.
 *   Of functions (`token`) the newest counts. *Two users of one page need the option `user`, or the second one would see
 *   the session of the first.*
 * - Nothing is opened before the first subscriber or the first call: a server that renders a page connects to nothing.
 * - The connection stays for `linger` ms after the last subscriber has left and the last call is answered. *React's
 *   StrictMode mounts every component twice, and a page that changes its route unmounts one view before the next.*
 * - All subscribers see the same snapshot. It changes at most once for each frame that the browser shows.
 */
import { EMPTY, sessionStore } from "./store.js";

/**
 * @typedef {import("./store.js").Snapshot} Snapshot
 * @typedef {import("./greenroom.js").JSONValue} JSONValue
 * @typedef {import("./greenroom.js").Options & { linger?: number }} SharedOptions
 *   those of `connect`; `linger`: ms for which the connection stays after the last subscriber, 1000 by default
 */

const LINGER_MS = 1_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one fires at once

/** The open connections of this page. @type {Map<string, Hub>} */
const hubs = new Map();

/**
 * Return the store of a session. Stores with the same URL and options share their connection. It opens with the first
 * subscriber, so a wrong argument is a TypeError there.
 *
 * @param {string | URL} url @param {SharedOptions} options
 */
export function sharedStore(url, options) {
  return new SharedStore(url, options);
}

/**
 * Return the text by which stores share a connection: two stores do if it is the same.
 *
 * @param {string | URL} url @param {SharedOptions} options
 */
export function keyOf(url, { session, user, name, from, strict, persist, token }) {
  return JSON.stringify([`${url}`, session, user, name, from, strict, persist, typeof token === "string" ? token : ""]);
}

/**
 * Return true if two values have the same parts: the same value, or lists or plain objects whose elements are the same. A
 * snapshot shares all parts that did not change, so a selection that is the same needs no new view.
 *
 * @param {any} one @param {any} other
 */
export function same(one, other) {
  if (Object.is(one, other)) return true;
  if (!isPlain(one) || !isPlain(other) || Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.hasOwn(other, name) && Object.is(one[name], other[name]));
}

/** @param {any} value */
function isPlain(value) {
  return Array.isArray(value) || (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype);
}

/** A session as a component uses it. `sharedStore` makes it. Its functions can be taken out of it and passed on. */
export class SharedStore {
  #key;
  #url;
  #options;
  #lazy;

  /** @param {string | URL} url @param {SharedOptions} options @param {boolean} [lazy]  see `subscribe` */
  constructor(url, options, lazy = false) {
    this.#key = keyOf(url, options);
    this.#url = url;
    this.#options = options;
    this.#lazy = lazy;
  }

  /** The client, for signals of the application; undefined while nothing is open. */
  get client() {
    return hubs.get(this.#key)?.store.client;
  }

  /**
   * Call `listener` with the snapshot now, and after changes: at most once for each frame. Return a function that ends this.
   * The first subscriber opens the connection: at once, or in the next microtask if the store is lazy. *Svelte subscribes
   * while it renders on a server, and leaves before that.*
   *
   * @param {(snapshot: Snapshot) => void} listener @returns {() => void}
   */
  subscribe = (listener) => {
    let over = false;
    let leave = () => {};
    const enter = () => {
      if (!over) leave = this.#hub().enter(listener);
    };
    if (this.#lazy) {
      listener(this.getSnapshot());
      queueMicrotask(enter);
    } else enter();
    return () => {
      if (over) return;
      over = true;
      leave();
    };
  };

  /** Return the snapshot that the subscribers have; `EMPTY` while nothing is open. */
  getSnapshot = () => hubs.get(this.#key)?.snapshot ?? EMPTY;

  /**
   * Start a run, as `start` of `sessionStore` does: until its run or its refusal comes, the snapshot has it in `starts`.
   *
   * @param {string} agent @param {JSONValue} input
   * @param {Parameters<import("./greenroom.js").Client["start"]>[2]} [options] @returns {Promise<string>}
   */
  start = (agent, input, options) => this.#call((store) => store.start(agent, input, options));

  /** Ask a run to stop: see `Client.cancel`. @param {string | { commandId: string }} run @returns {Promise<boolean>} */
  cancel = (run) => this.#call(({ client }) => client.cancel(run));

  /** Answer a question: see `Client.answer`. @param {string} runId @param {string} callId @param {JSONValue} value */
  answer = (runId, callId, value) => this.#call(({ client }) => client.answer(runId, callId, value));

  /** Append a message of the user, which every tab shows. @param {string} text */
  send = (text) => this.#call(({ client }) => client.send(text));

  /**
   * Read events of the past: see `Client.history`. They do not enter the snapshot; `reduceAll(EMPTY, events)` makes one.
   *
   * @param {Parameters<import("./greenroom.js").Client["history"]>[0]} [page]
   */
  history = (page) => this.#call(({ client }) => client.history(page));

  /** Tell whether the user is typing. Call it with every key. @param {boolean} active */
  typing = (active) => void this.client?.typing(active);

  /**
   * Begin the next attempt to connect now. If the client has ended (the user was not logged in, say), begin anew, with the
   * events from the oldest one. Return false if it is connected, or about to be.
   */
  reconnect = () => hubs.get(this.#key)?.reconnect() ?? false;

  /** From now on, use the token function of these options: that of an earlier render may be out of date. @param {SharedOptions} options */
  renew = ({ token }) => {
    this.#options = { ...this.#options, token };
    hubs.get(this.#key)?.renew(token);
  };

  /** @template T @param {(store: import("./store.js").SessionStore) => Promise<T>} act @returns {Promise<T>} */
  async #call(act) {
    const hub = this.#hub();
    const leave = hub.enter();
    try {
      return await act(hub.store);
    } finally {
      leave();
    }
  }

  /** Return the open connection, or open one. */
  #hub() {
    const found = hubs.get(this.#key);
    const hub = found ?? new Hub(this.#url, this.#options, () => hubs.delete(this.#key));
    hubs.set(this.#key, hub);
    if (found) {
      hub.renew(this.#options.token);
      if (hub.store.client.state === "closed") hub.reconnect(); // it ended for those before; the newcomer may have logged in
    }
    return hub;
  }
}

/** One connection, with everyone who uses it. */
class Hub {
  /** @type {import("./store.js").SessionStore} */ store;
  snapshot = EMPTY; // the one that the subscribers have
  #stop = () => {};
  /** @type {Set<{ listener: (snapshot: Snapshot) => void, stop: () => void }>} */ #listeners = new Set();
  #users = 0; // subscribers, and calls without an answer
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #url;
  #options;
  /** @type {any} */ #token;
  #forget;

  /** @param {string | URL} url @param {SharedOptions} options @param {() => void} forget  called when it is closed */
  constructor(url, options, forget) {
    const { linger = LINGER_MS } = options;
    if (!(linger >= 0 && linger <= LONGEST_TIMER_MS)) throw new TypeError(`linger is 0 to ${LONGEST_TIMER_MS} ms`);
    this.#url = url;
    this.#options = options;
    this.#token = options.token;
    this.#forget = forget;
    this.store = this.#open();
  }

  #open() {
    const token = typeof this.#token === "function" ? () => this.#token() : this.#token;
    const store = sessionStore(this.#url, { ...this.#options, token });
    this.#stop = store.subscribe((snapshot) => void (this.snapshot = snapshot)); // first, so that each listener finds it current
    for (const each of this.#listeners) each.stop = store.subscribe(each.listener);
    return store;
  }

  /** Count a user, and call its listener from now on. Return a function that ends this. @param {(snapshot: Snapshot) => void} [listener] */
  enter(listener) {
    clearTimeout(this.#timer);
    this.#users += 1;
    const entry = listener && { listener, stop: this.store.subscribe(listener) };
    if (entry) this.#listeners.add(entry);
    return () => {
      entry?.stop();
      if (entry) this.#listeners.delete(entry);
      this.#users -= 1;
      if (this.#users === 0) this.#timer = setTimeout(() => this.#close(), this.#options.linger ?? LINGER_MS);
    };
  }

  /** @param {any} token */
  renew(token) {
    if (typeof token === "function") this.#token = token;
  }

  reconnect() {
    if (this.store.client.state !== "closed") return this.store.client.reconnect();
    for (const { stop } of [{ stop: this.#stop }, ...this.#listeners]) stop(); // a snapshot of the old client may still wait for its frame
    this.store = this.#open();
    return true;
  }

  #close() {
    this.#forget();
    this.store.close();
  }
}
