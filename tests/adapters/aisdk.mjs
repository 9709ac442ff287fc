// Vercel AI SDK's own transport and message reader, controlled by a test: one JSON line for each request and answer.
// A request has an `id`, a `do` (send, resume or fetch) and its arguments. Streams are read in the background: `read`
// waits for the end of one, or for a chunk with all fields of `until`; `abort` aborts it.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const web = createRequire(pathToFileURL(`${process.argv[2]}/x.js`));
const { AbstractChat, DefaultChatTransport, readUIMessageStream, uiMessageChunkSchema } = await import(pathToFileURL(web.resolve('ai')).href.replace(/index\.js$/, 'index.mjs'));
const schema = typeof uiMessageChunkSchema === 'function' ? uiMessageChunkSchema() : uiMessageChunkSchema;
const streams = new Map();

const matches = (chunk, until) => Object.entries(until).every(([name, value]) =>
  typeof value === 'object' && value ? matches(chunk[name] ?? {}, value) : chunk[name] === value);

function follow(name, stream, controller) {
  const state = { chunks: [], invalid: [], errors: [], message: null, done: false, controller, wake: () => {} };
  streams.set(name, state);
  // Chunks are copied before they become parts of the message, which later chunks change.
  const noted = stream.pipeThrough(new TransformStream({
    async transform(chunk, out) {
      const result = await schema.validate(chunk);
      if (!result.success) state.invalid.push(chunk.type);
      state.chunks.push(structuredClone(chunk));
      state.wake();
      out.enqueue(chunk);
    },
  }));
  const told = error => state.errors.push(String(error.message ?? error));
  const rendering = (async () => {
    try {
      for await (const message of readUIMessageStream({ stream: noted, onError: told })) state.message = message;
    } catch (error) { state.errors.push(error.name); }
  })();
  state.ended = rendering.then(() => { state.done = true; state.wake(); });
}

// The state of `useChat`, without a framework around it.
class State {
  #status = 'ready'; error = undefined; messages = []; wake = () => {};
  get status() { return this.#status; }
  set status(status) { this.#status = status; this.wake(); }
  pushMessage(message) { this.messages = [...this.messages, message]; this.wake(); }
  popMessage() { this.messages = this.messages.slice(0, -1); }
  replaceMessage(at, message) { this.messages = this.messages.with(at, structuredClone(message)); this.wake(); }
  snapshot(value) { return structuredClone(value); }
}

class Chat extends AbstractChat {
  constructor(state, options) { super({ state, ...options }); this.noted = state; }
}

const chats = new Map();

// The transport of the page in GUIDE.md, which names the newest message that the page has.
function naming(api, newest) {
  return new DefaultChatTransport({
    api,
    prepareSendMessagesRequest: ({ id, messages, trigger, messageId, body }) => {
      newest.set(id, messages.at(-1).id);
      return { body: { ...body, id, trigger, messageId, messages: messages.slice(-1) } };
    },
    prepareReconnectToStreamRequest: ({ id }) =>
      ({ api: `${api}/${id}/stream?after=${encodeURIComponent(newest.get(id) ?? '')}` }),
  });
}

const tell = ({ chunks, invalid, errors, message, done }) => ({ chunks, invalid, errors, message, done });

const actions = {
  async send({ name, api, headers, chat, messages, trigger = 'submit-message', messageId, body }) {
    const controller = new AbortController();
    const transport = new DefaultChatTransport({ api, headers });
    follow(name, await transport.sendMessages({ chatId: chat, messages, trigger, messageId, body, abortSignal: controller.signal }), controller);
  },
  async resume({ name, api, headers, chat }) {
    const stream = await new DefaultChatTransport({ api, headers }).reconnectToStream({ chatId: chat });
    if (stream) follow(name, stream);
    return stream !== null;
  },
  async read({ name, until }) {
    const state = streams.get(name);
    if (!until) await state.ended;
    let seen = 0;
    while (until && !state.done) {
      for (; seen < state.chunks.length; seen++) if (matches(state.chunks[seen], until)) return tell(state);
      await new Promise(resolve => { state.wake = resolve; });
    }
    return tell(state);
  },
  async abort({ name }) {
    streams.get(name).controller.abort();
    await streams.get(name).ended;
    return tell(streams.get(name));
  },
  // A page that is loaded with the messages of the chat.
  async load({ name, api, chat }) {
    const messages = await (await fetch(`${api}/${chat}/messages`)).json();
    const state = new State();
    state.messages = messages;
    chats.set(name, new Chat(state, { id: chat, transport: naming(api, new Map([[chat, messages.at(-1)?.id]])) }));
    return messages;
  },
  // What a page with useChat does. `until` is the type of a part of the newest message, while it is streaming.
  async page({ name, api, chat, act, text, until }) {
    if (!chats.has(name)) chats.set(name, new Chat(new State(), { id: chat, transport: new DefaultChatTransport({ api }) }));
    const one = chats.get(name);
    const acts = { send: () => one.sendMessage({ text }), resume: () => one.resumeStream(), stop: () => one.stop(), wait: () => one.going };
    const going = acts[act]();
    if (act !== 'stop') one.going = going;
    const shows = () => one.status === 'streaming' && one.messages.at(-1).parts.some(part => part.type === until);
    while (until && !shows()) await new Promise(wake => { one.noted.wake = wake; });
    if (!until) await going;
    return { status: one.status, error: one.error?.message ?? null, messages: one.messages };
  },
  async reduce({ runs }) {
    const made = [];
    for (const chunks of runs) {
      const stream = new ReadableStream({ start(out) { for (const chunk of chunks) out.enqueue(chunk); out.close(); } });
      let last;
      for await (const message of readUIMessageStream({ stream, onError: () => {} })) last = message;
      made.push(last);
    }
    return made;
  },
  async fetch({ url, method = 'POST', headers = {}, body }) {
    const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } };
    const response = await fetch(url, { method, headers, ...sent });
    return { status: response.status, version: response.headers.get('x-vercel-ai-ui-message-stream'), text: await response.text() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: action, ...asked } = JSON.parse(line);
  actions[action](asked).then(
    value => console.log(JSON.stringify({ id, value: value ?? null })),
    error => console.log(JSON.stringify({ id, error: error.message })),
  );
}
