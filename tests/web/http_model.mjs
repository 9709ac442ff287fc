/**
 * A server over HTTP with a log, and a network that fails, against one client whose WebSockets are refused: `playOverHttp`
 * does what the steps say, then lets everything work again, and returns what the application saw.
 */
import { Asked } from "./http.mjs";
import { Socket, fire, turn } from "./sockets.mjs";

const turns = async () => {
  for (let i = 0; i < 6; i++) await turn();
};

export async function playOverHttp(steps, { begin, noted, advance, at, held }) {
  const log = { epoch: 1, length: 0 };
  const done = new Map(); // commands that ran, by id: how often
  const outcomes = []; // how often each command of the application ended
  const client = begin({ at, fallback: `http://model${at}/` });
  const open = (asked) => !asked.aborted && !asked.answered;
  const gets = () => Asked.of("events").filter(open);
  const posts = () => Asked.of("commands").filter(open);
  const streams = () => Asked.all.filter(({ aborted, controller }) => controller && !aborted);
  const event = (seq) => ({ seq, type: "custom", ts: 0, data: {} });
  const id = (seq) => `e${log.epoch}:${seq}`;

  /** Answer a request for events as the server does. */
  const answer = (asked) => {
    if (!asked) return;
    asked.answered = true;
    const [epoch, seq] = asked.query.after.split(":");
    const recovered = epoch === `e${log.epoch}` && Number(seq) <= log.length;
    const from = recovered ? Number(seq) : 0;
    const reset = asked.query.after !== "oldest" && !recovered ? { reset: "epoch_changed" } : {};
    const welcome = {
      type: "welcome", session: "s1", connection: "h", epoch: `e${log.epoch}`, oldest: 1, latest: log.length, recovered, ...reset,
      ping_ms: 25_000, max_frame_bytes: 65_536, command_memory_ms: 1e9, runs: [], queued: [], typing: [],
    };
    const events = Array.from({ length: log.length - from }, (_, i) => event(from + i + 1));
    if (asked.headers.Accept === "application/json") {
      asked.json({ position: id(log.length), frames: [welcome, ...(events.length ? [{ type: "events", events }] : [])] });
    } else {
      asked.stream().message("welcome", welcome, id(from));
      for (const one of events) asked.message("", one, id(one.seq));
    }
  };
  const cut = (asked) => {
    if (!asked) return;
    asked.aborted = true;
    asked.controller.error(new Error("cut"));
  };
  const acts = {
    answer: ({ nth }) => answer(gets()[nth % (gets().length || 1)]),
    grow: ({ count }) => {
      for (let i = 0; i < count; i++) {
        log.length += 1;
        for (const asked of streams()) asked.message("", event(log.length), id(log.length));
      }
    },
    cut: () => cut(streams().at(-1)),
    fail: ({ status }) => {
      const asked = Asked.all.findLast(open);
      if (!asked) return;
      asked.answered = true;
      if (status) asked.json({ detail: "of a proxy" }, status);
      else asked.reject(new TypeError("network"));
    },
    rebuild: () => {
      log.epoch += 1;
      log.length = 1;
      for (const asked of streams()) cut(asked);
    },
    start: () => {
      const index = outcomes.push(0) - 1;
      client.start("a", index).then(() => outcomes[index]++, () => outcomes[index]++);
    },
    run: ({ lost, pending }) => {
      const asked = posts()[0];
      if (!asked) return;
      asked.answered = true;
      done.set(asked.frame.id, 1);
      if (lost) asked.reject(new TypeError("network"));
      else if (pending) asked.json({ type: "pending", id: asked.frame.id }, 202);
      else asked.json({ type: "reply", id: asked.frame.id, ok: true, result: { run_id: "r" } });
    },
    wake: ({ event: type }) => fire(type, { persisted: true }),
    advance: ({ ms }) => advance(ms),
  };
  const settle = async () => {
    await turns();
    for (const socket of Socket.all) {
      if (!socket.closed) socket.lose();
      socket.closed = true;
    }
  };

  for (let i = 0; i < 4; i++) { // three WebSockets that are refused, and perhaps a stream that is held back
    await settle();
    if (i === 3 && held) acts.fail({ status: 404 });
    await settle();
    advance(i < 3 || held ? 2_000 : 0);
  }
  await settle();
  for (const { act, ...options } of steps) {
    acts[act](options);
    await settle();
  }
  for (let i = 0; i < 40; i++) { // everything works again
    if (client.state !== "live") fire("pageshow", { persisted: true });
    for (const asked of gets()) answer(asked);
    for (const asked of streams()) asked.write(":\n\n");
    while (posts().length) acts.run({});
    await settle();
    advance(client.state === "live" ? 5_000 : 0); // for the commands that are posted again
  }
  acts.grow({ count: 1 });
  for (const asked of gets()) answer(asked);
  await turns();
  const seen = noted.flatMap(([type, detail]) => (type === "event" ? [detail.seq] : type === "reset" ? ["reset"] : []));
  const since = seen.slice(seen.lastIndexOf("reset") + 1);
  return { state: client.state, seen: since, length: log.length, position: client.position, epoch: `e${log.epoch}`, outcomes };
}
