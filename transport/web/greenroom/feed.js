// @ts-check
import { GreenroomError } from "./values.js";

/**
 * @typedef {import("../greenroom.js").Event} Event
 * @typedef {import("../greenroom.js").Reset} Reset
 * @typedef {import("../greenroom.js").Position} Position
 * @typedef {import("../greenroom.js").Closed} Closed
 * @typedef {{ value: Event | Reset, before: Position }} Item  something to hand out, and the position without it
 * @typedef {IteratorResult<Event | Reset>} Result
 */

/** One iterator, and what it has not come to yet. */
export class Feed {
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
