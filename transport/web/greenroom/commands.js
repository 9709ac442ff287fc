// @ts-check
import { GreenroomError, LONGEST_TIMER_MS, after, isText, newId, textOf } from "./values.js";

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
export class Commands {
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

  /** Send what was not sent on this connection yet. @param {(text: string) => void} send */
  flush(send) {
    this.#forget();
    for (const pending of [...this.#pending.values()]) {
      if (pending.sent) continue;
      pending.sent = true;
      if (!pending.first) this.#begin(pending);
      send(pending.text);
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
