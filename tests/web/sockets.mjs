/** A WebSocket class whose server is the test, and a page whose events the test fires. */

const WELCOME = {
  type: "welcome", session: "s1", connection: "c1", epoch: "e1", oldest: 1, latest: 0, recovered: false, ping_ms: 25_000,
  max_frame_bytes: 65_536, runs: [], typing: [],
};

export class Socket {
  static all = [];
  sent = []; // frames
  closed = false;
  constructor() {
    Socket.all.push(this);
  }
  static get last() {
    return Socket.all.at(-1);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  receive(frame) {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }
  /** Open the socket, and answer the client's hello with a welcome. */
  welcome(fields = {}) {
    this.onopen?.();
    const recovered = "resume" in (this.sent.at(-1) ?? {});
    this.receive({ ...WELCOME, recovered, ...fields });
  }
  events(...seqs) {
    this.receive({ type: "events", events: seqs.map((seq) => ({ seq, type: "custom", ts: 0, data: {} })) });
  }
  lose(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }
  /** Return the frames of this type that the client sent. */
  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

const target = new EventTarget();
globalThis.addEventListener = target.addEventListener.bind(target);
globalThis.removeEventListener = target.removeEventListener.bind(target);
globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });

/** Fire an event of the page at window, or at document. */
export function fire(type, fields = {}) {
  const at = ["visibilitychange", "resume"].includes(type) ? globalThis.document : target;
  at.dispatchEvent(Object.assign(new Event(type), fields));
}

/** Wait until all pending promises and callbacks have run. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));
