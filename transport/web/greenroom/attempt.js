// @ts-check
import { after, isText, newId, textOf } from "./values.js";

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
export class Attempt {
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
