// @ts-check
/** The state of the connection: a word in the header, and if it is not well, a sentence with a way out. */
import { announce, byId, setText } from "./dom.js";
import { connectionWords, countdown } from "./words.js";

/** @typedef {import("./store.js").Connection} Connection */

const TICK_MS = 250;
const PATIENCE_MS = 700; // a connection that is back within this time is not worth a sentence

export class ConnectionView {
  #state = byId("state", HTMLElement);
  #notice = byId("notice", HTMLElement);
  #text = byId("notice-text", HTMLElement);
  #countdown = byId("countdown", HTMLElement);
  #retry = byId("retry", HTMLButtonElement);
  #reload = byId("reload", HTMLButtonElement);
  #restart = byId("restart", HTMLButtonElement);
  /** @type {Connection | undefined} */ #connection;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #ticks;
  #since = 0; // when the connection was lost, in ms since 1970; 0 while it is live

  /** @param {{ retry: () => void, reload: () => void, restart: () => void }} actions */
  constructor({ retry, reload, restart }) {
    this.#retry.addEventListener("click", retry);
    this.#reload.addEventListener("click", reload);
    this.#restart.addEventListener("click", restart);
    for (const type of ["online", "offline"]) window.addEventListener(type, () => this.#show());
  }

  /** @param {Connection} connection */
  update(connection) {
    if (connection === this.#connection) return;
    this.#connection = connection;
    if (connection.state === "live") this.#since = 0;
    else this.#since ||= Date.now();
    const passing = connection.state === "waiting" || connection.state === "connecting";
    clearInterval(this.#ticks);
    if (passing) this.#ticks = setInterval(() => this.#show(), TICK_MS);
    this.#show();
  }

  /** Show that the page itself failed. @param {string} text */
  fail(text) {
    this.#put("closed", { label: "Not connected", text, remedy: "reload" });
  }

  /** Move the focus to the way out, for a person whose field for questions is no longer there. */
  focus() {
    for (const button of [this.#reload, this.#restart]) if (!button.hidden) button.focus();
  }

  #show() {
    const connection = this.#connection;
    if (!connection) return;
    const { state, retryAt, code, reason } = connection;
    const words = connectionWords(connection, { offline: !navigator.onLine });
    if (state !== "closed" && Date.now() - this.#since < PATIENCE_MS) words.text = "";
    this.#put(state, words);
    setText(this.#countdown, words.text && state !== "closed" ? countdown(retryAt, Date.now()) : "");
    this.#notice.title = code === null ? "" : `Close code ${code}${reason ? `: ${reason}` : ""}`; // for a report, not to be read
  }

  /** @param {string} state @param {import("./words.js").ConnectionWords} words */
  #put(state, { label, text, remedy }) {
    this.#state.dataset.state = state;
    setText(this.#state, label);
    if (this.#text.textContent !== text && text) announce(text);
    setText(this.#text, text);
    this.#notice.dataset.state = state;
    this.#notice.hidden = !text;
    this.#retry.hidden = state === "closed";
    this.#retry.disabled = remedy !== "retry";
    this.#reload.hidden = remedy !== "reload";
    this.#restart.hidden = remedy !== "restart";
  }
}
