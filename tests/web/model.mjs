/**
 * A server with a log, a network that fails, a page that sleeps and an application whose code throws, against one client:
 * `play(steps)` does what the steps say and returns what the application saw, for the test to judge.
 */
import { Socket, fire, turn } from "./sockets.mjs";

export async function play(steps, { begin, noted, advance, freeze, setClock }) {
  const log = { epoch: 1, length: 0 };
  const tokens = []; // of fetches without an answer
  const olds = []; // callbacks of sockets, kept for when they are over
  const answered = new Set();
  const outcomes = []; // of commands: how often each ended
  let throwing = false;
  const client = begin({ token: () => new Promise((resolve, reject) => tokens.push({ resolve, reject })) });
  for (const type of ["state", "reset", "event", "signal", "welcome"]) {
    client.addEventListener(type, () => {
      if (throwing) throw new Error("a listener");
    });
  }
  const now = () => (Socket.last && !Socket.last.closed ? Socket.last : undefined);
  const welcomed = () => (now()?.log ? now() : undefined);
  const bring = (first, last) => {
    const seqs = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
    if (seqs.length) welcomed()?.events(...seqs);
  };

  const acts = {
    token: ({ ok, nth }) => {
      const [token] = tokens.splice(nth % (tokens.length || 1), 1);
      if (ok) token?.resolve("t");
      else token?.reject(new Error("no token"));
    },
    welcome: () => {
      const socket = now();
      if (!socket || socket.log) return;
      socket.onopen?.();
      const resume = socket.of("hello")[0].resume;
      const epoch = `e${log.epoch}`;
      const recovered = resume?.epoch === epoch && resume.seq <= log.length;
      socket.log = true;
      olds.push({ onmessage: socket.onmessage, onclose: socket.onclose });
      socket.welcome({ epoch, latest: log.length, recovered, reset: resume && !recovered ? "epoch_changed" : undefined });
      bring(recovered ? resume.seq + 1 : 1, log.length);
    },
    grow: ({ count }) => {
      log.length += count;
      bring(log.length - count + 1, log.length);
    },
    again: () => bring(Math.max(1, log.length - 2), log.length),
    gap: () => {
      log.length += 2;
      bring(log.length, log.length);
    },
    rebuild: () => {
      now()?.lose(1006);
      log.epoch += 1;
      log.length = 1;
    },
    lose: ({ code }) => now()?.lose(code),
    stale: ({ nth, final }) => {
      const old = olds[nth % (olds.length || 1)];
      if (!old || welcomed()?.onmessage === old.onmessage) return;
      if (final) old.onclose?.({ code: 4506, reason: "" });
      else old.onmessage?.({ data: JSON.stringify({ type: "events", events: [{ seq: 999 }] }) });
    },
    start: () => {
      const index = outcomes.push(0) - 1;
      client.start("a", index).then(() => outcomes[index]++, () => outcomes[index]++);
    },
    reply: () => {
      const command = welcomed()?.of("command").find(({ id }) => !answered.has(`${Socket.all.length} ${id}`));
      if (!command) return;
      answered.add(`${Socket.all.length} ${command.id}`);
      welcomed()?.receive({ type: "reply", id: command.id, ok: true, result: { run_id: "r" } });
    },
    advance: ({ ms }) => advance(ms),
    freeze: ({ ms }) => freeze(ms),
    clock: ({ ms }) => setClock(ms),
    wake: ({ event }) => fire(event),
    page: ({ event }) => fire(event, { persisted: true }),
    throwing: ({ on }) => void (throwing = on),
  };

  const open = [];
  for (const { act, ...options } of steps) {
    acts[act](options);
    await turn();
    open.push(Socket.all.filter(({ closed, log: greeted }) => greeted && !closed).length);
  }
  for (let i = 0; client.state !== "live" && i < 20; i++) { // everything works again
    fire("online");
    while (tokens.length) tokens.shift().resolve("t");
    await turn();
    acts.welcome();
    await turn();
  }
  acts.grow({ count: 1 });
  for (let i = 0; i < 40; i++) acts.reply();
  await turn();

  const seen = noted.flatMap(([type, detail]) => (type === "event" ? [detail.seq] : type === "reset" ? ["reset"] : []));
  const since = seen.slice(seen.lastIndexOf("reset") + 1);
  return {
    state: client.state,
    inOrder: since.every((seq, i) => seq === i + 1) && since.length === log.length,
    position: client.position,
    expected: { epoch: `e${log.epoch}`, seq: log.length },
    most: Math.max(0, ...open),
    outcomes,
  };
}
