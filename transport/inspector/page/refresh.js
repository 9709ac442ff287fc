// @ts-check
/** When the page asks the server: once a second while it is seen, later and later while the server is lost. */
import { Lost, Refused } from "./api.js";

/**
 * @typedef {"loading" | "live" | "paused" | "lost" | "login" | "refused"} Kind
 * @typedef {{ kind: Kind, text: string, retryAt: number | null }} State  `retryAt`: in ms, as performance.now()
 */

export const EVERY_MS = 1_000;
const LONGEST_DELAY_MS = 15_000;

/** Return how long to wait before the next attempt. Pure. @param {number} failures  in a row, at least 1 */
export function retryDelay(failures) {
  return Math.min(LONGEST_DELAY_MS, EVERY_MS * 2 ** (failures - 1));
}

/** Calls `load` again and again, never twice at once. */
export class Refresher {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {AbortController | null} */ #current = null;
  #failures = 0;
  #paused = false;
  #load;
  #report;
  /** @type {Kind} */ kind = "loading";

  /** @param {(signal: AbortSignal) => Promise<void>} load @param {(state: State) => void} report */
  constructor(load, report) {
    this.#load = load;
    this.#report = report;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.now()));
  }

  get paused() {
    return this.#paused;
  }

  /** Pause, or go on. @param {boolean} paused */
  pause(paused) {
    this.#paused = paused;
    if (paused && this.kind === "live") {
      this.#stop();
      this.#say("paused");
    } else if (!paused) this.now();
  }

  /** Load now, whatever is on its way. */
  now() {
    this.#stop();
    this.#current = new AbortController();
    void this.#run(this.#current.signal);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#current?.abort();
    this.#current = null;
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    const begun = performance.now();
    try {
      await this.#load(signal);
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return;
    }
    if (signal.aborted) return;
    this.#failures = 0;
    if (this.#paused) return this.#say("paused");
    this.#say("live");
    this.#again(Math.max(EVERY_MS / 4, EVERY_MS - (performance.now() - begun)));
  }

  /** @param {unknown} error */
  #failed(error) {
    const status = error instanceof Refused ? error.status : 0;
    // Only the web application around the inspector can log this operator in: the page has no form for that.
    const elsewhere = error instanceof Refused && error.code === "log_in_to_application";
    if (error instanceof Refused && status === 401 && !elsewhere) return this.#say("login", error.message);
    if (error instanceof Refused && (status === 403 || elsewhere)) return this.#say("refused", error.message);
    this.#failures += 1;
    const delay = retryDelay(this.#failures);
    this.#again(delay);
    const text = error instanceof Lost || error instanceof Refused ? error.message : `The page has an error: ${error}`;
    this.#say("lost", text, performance.now() + delay);
  }

  /** @param {number} delay */
  #again(delay) {
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.now(), delay);
  }

  /** @param {Kind} kind @param {string} [text] @param {number | null} [retryAt] */
  #say(kind, text = "", retryAt = null) {
    this.kind = kind;
    this.#report({ kind, text, retryAt });
  }
}
