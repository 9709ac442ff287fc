// A real CopilotKit runtime as in GUIDE.md, with Greenroom behind it, and the requests that CopilotKit's pages send.
process.env.COPILOTKIT_TELEMETRY_DISABLED = "true";
const { createCopilotRuntimeHandler } = await import("@copilotkit/runtime/v2");
const { runtime } = await import("./runtime.mjs");

const handle = createCopilotRuntimeHandler({ runtime, basePath: "/api" });
const post = (path, body) => {
  const headers = { "content-type": "application/json" };
  return handle(new Request(`http://page/api/agent/${path}`, { method: "POST", headers, body: JSON.stringify(body) }));
};
const input = (runId, more = {}) => ({
  threadId: "t1", runId, messages: [{ id: runId, role: "user", content: "tea" }], tools: [], context: [], state: {}, forwardedProps: {}, ...more,
});

/** Read a stream to its end, or to an event of a type. */
async function read(response, until) {
  const events = [], decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      if (text.startsWith("data: ")) events.push(JSON.parse(text.slice(6, end)));
      if (until && events.at(-1)?.type === until) return events;
    }
  }
  return events;
}

const end = (events) => events.at(-1).outcome?.type ?? events.at(-1).type;
const told = {};
await read(await post("waits/run", input("r1")), "TOOL_CALL_START"); // the page is refreshed
const shown = post("waits/connect", input("r2")).then((response) => read(response));
told.wrong = (await (await post("waits/stop/t1", { runId: "other" })).json()).stopped;
told.stopped = (await (await post("waits/stop/t1")).json()).stopped;
told.shown = end(await shown);
told.asked = end(await read(await post("asks/run", input("r3"))));
const [question] = (await read(await post("asks/connect", input("r4")))).at(-1).outcome.interrupts;
const resume = [{ interruptId: question.id, status: "resolved", payload: {} }];
told.answered = end(await read(await post("asks/run", input("r5", { resume }))));
console.log(JSON.stringify(told));
process.exit(0); // the runtime leaves timers
