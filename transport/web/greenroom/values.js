// @ts-check
/** What the parts of greenroom.js share: its error, ids, and looks at values that somebody else made. */

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

export const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one fires at once

/** Call `act` after `ms`, or after 24 days where that is sooner. @param {number} ms @param {() => void} act */
export function after(ms, act) {
  return setTimeout(act, Math.min(ms, LONGEST_TIMER_MS));
}

/** A random id; `crypto.randomUUID` is missing on pages that came over plain http. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether it is a string that UTF-8 can hold: the server ends a connection for a lone surrogate. @param {unknown} value */
export function isText(value) {
  return typeof value === "string" && !/\p{Surrogate}/u.test(value);
}

/** @param {unknown} value @returns {value is number} */
export function isSeq(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** What an application threw, as text: it may be anything, and may refuse to be shown. @param {any} error */
export function textOf(error) {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "something that cannot be shown";
  }
}

/** Tell the page, or the console, what an application's own code threw; the client goes on. @param {unknown} error */
export function report(error) {
  try {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  } catch {
    // what cannot even be reported
  }
}
