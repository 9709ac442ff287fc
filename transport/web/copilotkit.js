// @ts-check

/**
 * The runner of a CopilotKit runtime, with Greenroom behind it in place of the runtime's own memory.
 *
 *     import { CopilotRuntime } from "@copilotkit/runtime/v2";
 *     import { GreenroomAgentRunner } from "greenroom-client/copilotkit";
 *
 *     const url = "http://127.0.0.1:8765/agui"; // of mount_agui, or of the HTTP port of `greenroom serve`
 *     const runtime = new CopilotRuntime({
 *       agents: { assistant: new HttpAgent({ url: `${url}/assistant` }) },
 *       runner: new GreenroomAgentRunner({ url }),
 *     });
 *
 * It has the methods of CopilotKit's `AgentRunner`, and keeps no events: Greenroom does. So any process of the runtime can
 * serve any thread, also after a restart.
 *
 * - A stream that is cut, or whose server restarts, goes on behind the last event that came.
 * - A subscriber that leaves does not end its run. `stop` does: it cancels the agent, its sub-agents and its tools.
 * - `connect` tells the whole thread, and then what is still going on: also a question that waits for its user.
 * - A server that cannot be reached is a RUN_ERROR with the code `unreachable`.
 *
 * The runs go straight to Greenroom. Middleware of the runtime's agents (`agent.use`) is not called.
 */
import { Observable } from "rxjs";
import { Parser } from "./fallback.js";

const RETRY_MS = [250, 1_000, 2_000, 5_000, 10_000];
const SILENCE_MS = 60_000; // the comments of a stream come every 15 s
const CALL_MS = 30_000; // for the requests that are no streams
const ANY = "-"; // in the place of the agent, where only the thread and the run count

/**
 * @typedef {{ [name: string]: string }} HeaderFields
 *
 * @typedef {object} RunnerOptions
 * @property {string | URL} url  where Greenroom serves AG-UI: the path of `mount_agui`, without the name of an agent
 * @property {HeaderFields | (() => HeaderFields)} [headers]  of every request, before those of the agent and of the page: for
 *   a token of your own. A function is called for each request, and can look for the user of the present one.
 * @property {number[]} [retryMs]  the pauses before attempts to reach the server. Each event that comes begins anew
 *
 * @typedef {object} Target  what a stream is about
 * @property {string} threadId
 * @property {string} path
 * @property {{ [key: string]: any }} body
 * @property {HeaderFields | undefined} headers
 * @property {boolean} mayBeEmpty  whether a stream without any event is complete
 *
 * @typedef {{ type: string, [key: string]: any }} AguiEvent
 */

/** An `AgentRunner` of CopilotKit: pass it to `new CopilotRuntime({ runner })`. */
export class GreenroomAgentRunner {
  #url;
  #headers;
  #retryMs;
  /** Open streams of this process: `stop` is told no headers, so it sends those with which its user came. @type {Set<Target>} */
  #open = new Set();

  /** @param {RunnerOptions} options */
  constructor({ url, headers = {}, retryMs = RETRY_MS }) {
    this.#url = `${url}`.replace(/\/+$/, "");
    this.#headers = headers;
    this.#retryMs = retryMs;
  }

  /**
   * Run an agent, and return its events. A second subscriber joins the same run: a `runId` runs once.
   *
   * @param {{ threadId: string, agent: { agentId?: string, headers?: HeaderFields }, input: { [key: string]: any } }} request
   * @returns {Observable<any>}
   */
  run({ threadId, agent, input }) {
    const path = encodeURIComponent(agent.agentId ?? "default");
    return this.#stream({ threadId, path, body: { ...input, threadId }, headers: agent.headers, mayBeEmpty: false });
  }

  /**
   * Return the events of a thread from its beginning. They are complete when no run of it is open.
   *
   * @param {{ threadId: string, agentId?: string, headers?: HeaderFields }} request
   * @returns {Observable<any>}
   */
  connect({ threadId, agentId, headers }) {
    const path = `${encodeURIComponent(agentId ?? ANY)}/connect?live=0`;
    const body = { threadId, runId: "connect", messages: [], tools: [], context: [], state: {}, forwardedProps: {} };
    return this.#stream({ threadId, path, body, headers, mayBeEmpty: true });
  }

  /**
   * Return whether a run of the thread is open. One that waits for its user is not. Rejects if the server cannot be reached.
   *
   * @param {{ threadId: string }} request
   */
  async isRunning({ threadId }) {
    return (await this.#running(threadId)).length > 0;
  }

  /**
   * Cancel the runs of a thread, or only one of them, and return whether there was any. Rejects if the server cannot be reached.
   *
   * @param {{ threadId: string, runId?: string }} request
   * @returns {Promise<boolean | undefined>}
   */
  async stop({ threadId, runId }) {
    const runs = runId === undefined ? await this.#running(threadId) : [runId];
    const answers = await Promise.all(runs.map((run) => this.#call("POST", threadId, `${encodeURIComponent(run)}/cancel`, run)));
    return answers.some(({ cancelled }) => cancelled);
  }

  /** @param {string} threadId @returns {Promise<string[]>} */
  async #running(threadId) {
    return (await this.#call("GET", threadId, "runs")).runs;
  }

  /** @param {string} method @param {string} threadId @param {string} path @param {string} [runId] */
  async #call(method, threadId, path, runId) {
    const streams = [...this.#open].filter((each) => each.threadId === threadId);
    const stream = streams.find(({ body }) => body.runId === runId) ?? streams.at(-1);
    const response = await fetch(`${this.#url}/${ANY}/${encodeURIComponent(threadId)}/${path}`, {
      method,
      headers: this.#fields(stream?.headers, {}),
      signal: AbortSignal.timeout(CALL_MS),
    });
    if (!response.ok) throw new Error(`Greenroom answered with the status ${response.status}`);
    return response.json();
  }

  /** @param {Target} target @returns {Observable<any>} */
  #stream(target) {
    return new Observable((subscriber) => {
      const over = new AbortController();
      const own = { ...target }; // a target may have several subscribers
      this.#open.add(own);
      this.#follow(own, (event) => subscriber.next(event), over.signal).then(
        () => subscriber.complete(),
        (error) => subscriber.error(error),
      );
      return () => {
        this.#open.delete(own);
        over.abort();
      };
    });
  }

  /**
   * Tell the events of a stream, over any number of connections.
   *
   * @param {Target} target @param {(event: AguiEvent) => void} tell @param {AbortSignal} signal
   */
  async #follow(target, tell, signal) {
    const cursor = new Cursor(tell, target.mayBeEmpty);
    for (let failures = 0; !signal.aborted; failures++) {
      const before = cursor.lastId;
      let problem = "";
      try {
        if (await this.#attempt(target, cursor, signal)) return;
      } catch (error) {
        if (error instanceof Refusal) return cursor.fail(error.code, error.message);
        problem = `: ${error instanceof Error ? error.message : error}`;
      }
      if (cursor.lastId !== before) failures = 0;
      if (failures >= this.#retryMs.length) return cursor.fail("unreachable", `Greenroom cannot be reached${problem}`);
      await pause(this.#retryMs[failures], signal);
    }
  }

  /**
   * Read one connection, and return whether the stream is complete.
   *
   * @param {Target} target @param {Cursor} cursor @param {AbortSignal} signal
   */
  async #attempt({ path, body, headers }, cursor, signal) {
    const silence = new AbortController();
    const stop = () => silence.abort();
    let timer = setTimeout(stop, SILENCE_MS);
    signal.addEventListener("abort", stop);
    try {
      const own = { Accept: "text/event-stream", "Content-Type": "application/json", ...(cursor.lastId && { "Last-Event-ID": cursor.lastId }) };
      const init = { method: "POST", headers: this.#fields(headers, own), body: JSON.stringify(body), signal: silence.signal };
      const response = await fetch(`${this.#url}/${path}`, init);
      if (response.status >= 500) throw new Error(`status ${response.status}`); // of a proxy, while the server restarts
      if (!response.ok || !response.body) throw new Refusal(response.status);
      const parser = new Parser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      cursor.begin();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return parser.retryMs === undefined && cursor.end();
        clearTimeout(timer);
        timer = setTimeout(stop, SILENCE_MS);
        for (const message of parser.push(decoder.decode(value, { stream: true }))) {
          if (!signal.aborted) cursor.take(message.id, JSON.parse(message.data));
        }
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      silence.abort(); // also a connection whose stream is not read to its end
    }
  }

  /** @param {HeaderFields | undefined} theirs  of the agent and the page @param {HeaderFields} own */
  #fields(theirs, own) {
    const fields = new Headers(typeof this.#headers === "function" ? this.#headers() : this.#headers);
    for (const [name, value] of Object.entries({ ...theirs, ...own })) fields.set(name, value);
    return fields;
  }
}

/** The place in a stream. Only the last event of a position has an id: the others wait for it, as they would come again. */
class Cursor {
  /** @type {string | undefined} */ lastId;
  #tell;
  #complete; // no AG-UI run is open
  /** @type {AguiEvent[]} */ #waiting = [];

  /** @param {(event: AguiEvent) => void} tell @param {boolean} mayBeEmpty */
  constructor(tell, mayBeEmpty) {
    this.#tell = tell;
    this.#complete = mayBeEmpty;
  }

  /** Begin a connection. */
  begin() {
    this.#waiting = [];
  }

  /** @param {string | undefined} id  of this message, or of the last one that had any @param {AguiEvent} event */
  take(id, event) {
    this.#waiting.push(event);
    if (id === undefined || id === this.lastId) return;
    this.lastId = id;
    this.#flush();
  }

  /** End a connection that the server has ended, and return whether the stream is complete. */
  end() {
    const last = this.#waiting.at(-1);
    if (last?.type === "RUN_ERROR") {
      // Without an id, it is about this request: the run has no part in it.
      if (last.code === "overloaded" && this.lastId) throw new Error(last.message);
      this.#flush();
    }
    return this.#complete;
  }

  /** @param {string} code @param {string} message */
  fail(code, message) {
    this.#tell({ type: "RUN_ERROR", code, message });
  }

  #flush() {
    for (const each of this.#waiting.splice(0)) {
      this.#complete = each.type === "RUN_FINISHED" || each.type === "RUN_ERROR";
      this.#tell(each);
    }
  }
}

/** An answer of the server that another attempt does not change. */
class Refusal extends Error {
  /** @param {number} status */
  constructor(status) {
    super(`Greenroom answered with the status ${status}`);
    this.code = status === 401 || status === 403 ? "unauthorized" : "refused";
  }
}

/** Wait, but not longer than until the signal. @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
