/** A `fetch` whose server is the test, and the Web Locks of a browser. */

export class Asked {
  static all = [];
  aborted = false;
  constructor(url, { method = "GET", headers, body, signal }, resolve, reject) {
    this.url = new URL(url);
    Object.assign(this, { method, headers, resolve, reject });
    this.query = Object.fromEntries(this.url.searchParams);
    this.frame = body && JSON.parse(body);
    signal?.addEventListener("abort", () => {
      this.aborted = true;
      this.reject(signal.reason);
      try {
        this.controller?.error(signal.reason);
      } catch {
        // the stream is over
      }
    });
    Asked.all.push(this);
  }
  static get last() {
    return Asked.all.at(-1);
  }
  /** Return the requests of a route, in order. */
  static of(route) {
    return Asked.all.filter(({ url }) => url.pathname.endsWith(`/${route}`));
  }
  /** Answer with a value as JSON. */
  json(value, status = 200) {
    this.resolve(new Response(value === undefined ? null : JSON.stringify(value), { status, headers: { "Content-Type": "application/json" } }));
  }
  text(text, type, status = 200) {
    this.resolve(new Response(text, { status, headers: { "Content-Type": type } }));
  }
  /** Answer with a stream of events, which stays open. */
  stream() {
    const body = new ReadableStream({ start: (controller) => void (this.controller = controller) });
    this.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } }));
    return this;
  }
  write(text) {
    this.controller.enqueue(new TextEncoder().encode(text));
  }
  message(event, data, id) {
    this.write(`${id ? `id: ${id}\n` : ""}${event ? `event: ${event}\n` : ""}data: ${JSON.stringify(data)}\n\n`);
  }
  welcome(fields = {}) {
    this.message("welcome", welcomeOf(this, fields), "e1:0");
  }
  events(...seqs) {
    for (const seq of seqs) this.message("", { seq, type: "custom", ts: 0, data: {} }, `e1:${seq}`);
  }
  /** Answer a poll. */
  frames(seqs = [], { welcome = {}, more = [] } = {}) {
    const events = seqs.map((seq) => ({ seq, type: "custom", ts: 0, data: {} }));
    const position = `e1:${seqs.at(-1) ?? (this.query.after.startsWith("e1:") ? this.query.after.slice(3) : 0)}`;
    const frames = [welcomeOf(this, welcome), ...(events.length ? [{ type: "events", events }] : []), ...more];
    this.json({ position, frames });
  }
}

function welcomeOf({ query }, fields) {
  return {
    type: "welcome", session: "s1", connection: "h1", epoch: "e1", oldest: 1, latest: 0, recovered: query.after.startsWith("e1:"),
    ping_ms: 25_000, max_frame_bytes: 65_536, command_memory_ms: 300_000, runs: [], queued: [], typing: [], ...fields,
  };
}

const { fetch } = globalThis;
const scripted = (url, init) => new Promise((resolve, reject) => new Asked(url, init, resolve, reject));
globalThis.fetch = scripted;

/** Let requests go to real servers, perhaps over a network that holds streams back; or to the test again. */
export function network(real, { streams = true } = {}) {
  const open = (url, init) =>
    streams || init.headers.Accept !== "text/event-stream" ? fetch(url, init) : Promise.reject(new TypeError("held back"));
  globalThis.fetch = real ? open : scripted;
}

const held = new Set();
const locks = {
  async request(name, { ifAvailable }, act) {
    if (!ifAvailable) throw new Error("only asked for what is free");
    if (held.has(name)) return act(null);
    held.add(name);
    try {
      return await act({ name });
    } finally {
      held.delete(name);
    }
  },
};
Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true, writable: true });
