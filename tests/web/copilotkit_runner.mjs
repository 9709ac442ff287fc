// The runner for CopilotKit, driven through its own interface: each scene gets the address of AG-UI on a real server.
import { createServer, request } from "node:http";
import { GreenroomAgentRunner } from "greenroom-client/copilotkit";

const url = process.argv[2];
const input = (threadId, runId, content = "tea", more = {}) => ({
  threadId, runId, messages: [{ id: "m1", role: "user", content }], tools: [], context: [], state: {}, forwardedProps: {}, ...more,
});
const runOf = (runner, agentId, threadId, runId, { headers, ...more } = {}) =>
  runner.run({ threadId, agent: { agentId, headers }, input: input(threadId, runId, "tea", more) });

/** Collect the events of an Observable. `until` resolves with the first event of a type, `end` with all of them. */
function collect(observable) {
  const events = [], waiting = [];
  let ended;
  const end = new Promise((resolve) => { ended = resolve; });
  const subscription = observable.subscribe({
    next(event) {
      events.push(event);
      for (const [type, resolve] of waiting) if (type === event.type) resolve(event);
    },
    error: (error) => ended(`failed: ${error}`),
    complete: () => ended(events),
  });
  const until = (type) => new Promise((resolve) => {
    const found = events.find((event) => event.type === type);
    if (found) resolve(found);
    else waiting.push([type, resolve]);
  });
  return { events, end, until, leave: () => subscription.unsubscribe() };
}

const brief = (events) => events.map(({ type, delta, code, outcome }) => delta ?? code ?? outcome?.type ?? type);

/** Serve the real server behind a proxy. `cut` ends each response after so many bytes, `answer` may give one of its own. */
async function behind({ cut = Infinity, answer = () => {} }, scene) {
  const seen = [];
  const proxy = createServer((asked, response) => {
    seen.push(asked);
    const status = answer(seen.length);
    if (status) return response.writeHead(status).end();
    const target = new URL(asked.url, url);
    const onward = request(target, { method: asked.method, headers: { ...asked.headers, host: target.host } }, (got) => {
      response.writeHead(got.statusCode, got.headers);
      let left = cut;
      got.on("data", (chunk) => {
        response.write(chunk.subarray(0, left), () => left <= 0 && response.destroy());
        left -= chunk.length;
        if (left <= 0) onward.destroy();
      });
      got.on("end", () => response.end()).on("error", () => {});
    }).on("error", () => {});
    response.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${proxy.address().port}/agui/`;
  try {
    return await scene(new GreenroomAgentRunner({ url: address, retryMs: [0, 0, 0] }), seen, address);
  } finally {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  }
}

const scenes = {
  async whole() {
    const runner = new GreenroomAgentRunner({ url });
    const events = await collect(runOf(runner, "counts", "whole", "r1")).end;
    const seqs = events.map(({ metadata }) => metadata.greenroom.seq);
    return { brief: brief(events), sorted: seqs.every((seq, i) => !i || seq >= seqs[i - 1]), running: await runner.isRunning({ threadId: "whole" }) };
  },
  async joined() {
    const runner = new GreenroomAgentRunner({ url });
    const [one, two] = await Promise.all(["r1", "r1"].map((id) => collect(runOf(runner, "counts", "joined", id)).end));
    const thread = await collect(runner.connect({ threadId: "joined", agentId: "counts" })).end;
    return { same: JSON.stringify(one) === JSON.stringify(two), runs: thread.filter(({ type }) => type === "RUN_STARTED").length };
  },
  cut: () => behind({ cut: 2_000 }, async (runner, seen) => {
    const cut = await collect(runOf(runner, "counts", "cut", "r1")).end;
    const runs = seen.length;
    const thread = await collect(runner.connect({ threadId: "cut", agentId: "counts" })).end;
    const whole = await collect(runOf(new GreenroomAgentRunner({ url }), "counts", "cut", "r1")).end;
    const text = (events) => events.flatMap(({ delta }) => delta ?? []).join("");
    return { cuts: runs > 3, again: seen.length > runs + 3, same: JSON.stringify(cut) === JSON.stringify(whole), text: text(thread) === text(whole) };
  }),
  async stopped() {
    const threadId = "stopped", first = new GreenroomAgentRunner({ url }), other = new GreenroomAgentRunner({ url });
    const before = [await other.isRunning({ threadId }), await other.stop({ threadId })];
    const left = collect(runOf(first, "waits", threadId, "r1"));
    await left.until("TOOL_CALL_START");
    left.leave();
    const later = collect(other.connect({ threadId, agentId: "waits" })); // as after a refresh
    await later.until("TOOL_CALL_START");
    const during = [await other.isRunning({ threadId }), await other.stop({ threadId, runId: "r0" }), await other.stop({ threadId })];
    const events = await later.end;
    const one = collect(runOf(first, "waits", threadId, "r2"));
    await one.until("TOOL_CALL_START");
    const exact = await other.stop({ threadId, runId: "r2" });
    await one.end;
    return { before, during, last: brief(events).at(-1), exact, after: [await first.isRunning({ threadId }), await first.stop({ threadId })] };
  },
  async asked() {
    const threadId = "asked", runner = new GreenroomAgentRunner({ url });
    const answered = ({ outcome }, runId) => {
      const resume = [{ interruptId: outcome.interrupts[0].id, status: "resolved", payload: {} }];
      return collect(runOf(runner, "asks", threadId, runId, { resume })).end;
    };
    await collect(runOf(runner, "asks", threadId, "r1")).end;
    const running = await runner.isRunning({ threadId });
    const shown = await collect(runner.connect({ threadId, agentId: "asks" })).end; // as after a refresh
    const second = await answered(shown.at(-1), "r2");
    const last = await answered(second.at(-1), "r3");
    return { running, shown: brief(shown).at(-1), second: brief(second).at(-1), last: brief(last).at(-1) };
  },
  async empty() {
    const runner = new GreenroomAgentRunner({ url });
    return [await collect(runner.connect({ threadId: "empty", agentId: "counts" })).end, brief(await collect(runOf(runner, "no one", "empty", "r1")).end)];
  },
  async away() {
    const gone = await behind({}, (_, __, address) => address);
    const runner = new GreenroomAgentRunner({ url: gone, retryMs: [0, 0] });
    const told = [runOf(runner, "counts", "away", "r1"), runner.connect({ threadId: "away", agentId: "counts" })].map((each) => collect(each).end);
    const failed = (error) => error.constructor.name;
    return [...(await Promise.all(told)).map(brief), await runner.isRunning({ threadId: "away" }).catch(failed), await runner.stop({ threadId: "away" }).catch(failed)];
  },
  restarting: () => behind({ answer: (number) => (number < 3 ? 503 : 0) }, async (runner) =>
    brief(await collect(runOf(runner, "counts", "restarting", "r1")).end).at(-1)),
  refused: () => behind({ answer: () => 401 }, async (runner, seen) => [
    brief(await collect(runOf(runner, "counts", "refused", "r1")).end), seen.length, await runner.isRunning({ threadId: "refused" }).catch(({ message }) => message),
  ]),
  headers: () => behind({}, async (_, seen, address) => {
    const runner = new GreenroomAgentRunner({ url: address, headers: () => ({ "x-own": "own", authorization: "none" }) });
    const one = collect(runOf(runner, "waits", "headers", "r1", { headers: { Authorization: "Bearer ann" } }));
    await one.until("TOOL_CALL_START");
    await runner.stop({ threadId: "headers" });
    await one.end;
    await runner.isRunning({ threadId: "headers" });
    return seen.map(({ headers }) => [headers["x-own"], headers.authorization]);
  }),
};

const names = Object.keys(scenes);
const told = await Promise.all(names.map((name) => scenes[name]()));
console.log(JSON.stringify(Object.fromEntries(names.map((name, i) => [name, told[i]]))));
