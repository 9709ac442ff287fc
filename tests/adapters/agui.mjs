// The unmodified HttpAgent of AG-UI, which verifies the order of events, controlled by a test. Each line from stdin is
// {id, agent, url, thread, params, …}: one AG-UI run. Its answer is a line with everything that the client was told.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../web/", import.meta.url)); // the packages of tests/web/package.json
const { HttpAgent } = require("@ag-ui/client");
const { EventSchema } = require("@ag-ui/core/schemas");
const { Observable } = require("rxjs");

process.on("unhandledRejection", () => {}); // HttpAgent leaves one where its connection is lost

const agents = new Map();

// The only addition to the class: it comes back where its connection was cut. Messages without an id wait for one.
class ResumingHttpAgent extends HttpAgent {
  run(input) {
    return new Observable((observer) => {
      this.follow(input, observer).then(() => observer.complete(), (error) => observer.error(error));
    });
  }

  async follow(input, observer) {
    this.cuts = 0;
    for (let lastId, over = false; !over; ) {
      const controller = new AbortController();
      const headers = { "content-type": "application/json", accept: "text/event-stream" };
      if (lastId) headers["last-event-id"] = lastId;
      let text = "", waiting = [], messages = 0;
      try {
        const options = { method: "POST", headers, body: JSON.stringify(input), signal: controller.signal };
        const response = await fetch(this.url, options);
        const decoder = new TextDecoder();
        for await (const chunk of response.body) {
          text += decoder.decode(chunk, { stream: true });
          for (let end; (end = text.indexOf("\n\n")) >= 0 && !over; text = text.slice(end + 2)) {
            const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s)));
            if (!fields.data) continue;
            waiting.push(JSON.parse(fields.data));
            if (!fields.id && waiting.at(-1).type !== "RUN_ERROR") continue;
            for (const event of waiting) observer.next(event);
            over = ["RUN_FINISHED", "RUN_ERROR"].includes(waiting.at(-1).type);
            waiting = [];
            lastId = fields.id ?? lastId;
            if (!over && ++messages === this.cutAfter) throw new Error("cut");
          }
        }
      } catch (error) {
        if (error.message !== "cut") throw error;
        this.cuts++;
      }
      controller.abort();
    }
  }
}

async function run(asked) {
  let agent = agents.get(asked.agent);
  if (!agent) {
    const kind = asked.cutAfter ? ResumingHttpAgent : HttpAgent;
    const initialMessages = [{ id: "m1", role: "user", content: asked.content ?? "tea" }];
    agent = new kind({ url: asked.url, threadId: asked.thread, initialMessages });
    agents.set(asked.agent, agent);
  }
  Object.assign(agent, { url: asked.url, cutAfter: asked.cutAfter });
  if (asked.message) agent.addMessage(asked.message);
  const events = [], invalid = [];
  let pendingTools = null;
  let failure = null, finished = null, leave;
  // A client that leaves may never hear the end of its own run: HttpAgent does not settle where all bytes had come before.
  const left = new Promise((resolve) => { leave = resolve; });
  const subscriber = {
    onEvent: ({ event }) => {
      events.push(event);
      const checked = EventSchema.safeParse(event);
      if (!checked.success) invalid.push(`${event.type}: ${JSON.stringify(checked.error.issues)}`);
      if (asked.tell && event.type === asked.tell) console.log(JSON.stringify({ id: `${asked.id}!`, event }));
      if (events.length !== asked.leaveAfter) return;
      agent.abortRun();
      leave();
    },
    onRunFinishedEvent: ({ pendingToolCallIds }) => { pendingTools = pendingToolCallIds ?? null; },
    onRunFailed: ({ error }) => { failure = error.message; },
  };
  try {
    finished = await Promise.race([agent.runAgent(asked.params ?? {}, subscriber), left]);
  } catch (error) {
    failure ??= error.message;
  }
  const { messages, state, pendingInterrupts, cuts } = agent;
  const result = finished?.result ?? null;
  return { events, invalid, failure, result, messages, state, pendingInterrupts, pendingTools, cuts };
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  run(asked).then((told) => console.log(JSON.stringify({ id: asked.id, ...told })));
}
