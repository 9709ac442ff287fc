// @ts-check
/**
 * The demo page. Its state is the snapshot of `store.js`: this module renders each snapshot, and sends the commands of the
 * person. Only events change the conversation, so every tab shows the same.
 *
 * A refreshed page has lost everything that it showed, so it stores no position and reads its session from the oldest
 * event. The name of the session is in the address, so that a second tab can be opened on it.
 */
import { ConnectionView } from "./connection.js";
import { Conversation, queuedStarts } from "./conversation.js";
import { button, byId, element, setText } from "./dom.js";
import { Scrolling } from "./scrolling.js";
import { openRuns, sessionStore } from "./store.js";

/**
 * @typedef {{ ws_url: string, agent: string, title: string, suggestions: string[], tokens: boolean, model?: string | null }} Config
 *   `tokens`: whether the server itself hands out tokens
 *   `model`: the model that answers; null or "" if the agent answers without one; missing if the server does not say
 * @typedef {import("./store.js").Snapshot} Snapshot
 */

const TOKEN_KEY = "greenroom-token";
const SESSION = /^[A-Za-z0-9._~:-]{1,128}$/;

const page = {
  bar: byId("bar", HTMLElement),
  turns: byId("turns", HTMLElement),
  opening: byId("opening", HTMLElement),
  title: byId("opening-title", HTMLElement),
  suggestions: byId("suggestions", HTMLElement),
  footer: byId("footer", HTMLElement),
  typing: byId("typing", HTMLElement),
  typist: byId("typist", HTMLElement),
  model: byId("model", HTMLElement),
  form: byId("ask", HTMLFormElement),
  question: byId("question", HTMLTextAreaElement),
  stop: byId("stop", HTMLButtonElement),
  send: byId("send", HTMLButtonElement),
  latest: byId("latest", HTMLButtonElement),
  new: byId("new", HTMLButtonElement),
  second: byId("second", HTMLAnchorElement),
  skip: byId("skip", HTMLAnchorElement),
};

/** @param {string} kind */
function newName(kind) {
  return `${kind}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(36)).join("")}`;
}

/**
 * Return the token that a person wrote into the address as `#token=…`, now or earlier in this tab. The fragment of an address
 * is never sent to a server; the token is removed from the address, and kept for this tab only.
 */
function tokenFromAddress() {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (token) {
    sessionStorage.setItem(TOKEN_KEY, token);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN_KEY) ?? undefined;
}

function sessionFromAddress() {
  const name = location.hash.slice(1);
  if (SESSION.test(name)) return name;
  const made = newName("talk");
  history.replaceState(null, "", `#${made}`);
  return made;
}

const beginAnew = () => void (location.hash = newName("talk"));

/** @param {string} path @param {RequestInit} [options] */
async function fetchJson(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Return a new token of this visitor. A page of another site cannot send the header, so it cannot ask for one. */
const visitorToken = async () =>
  (await fetchJson("token", { method: "POST", headers: { "X-Requested-With": "greenroom" } })).token;

/** @param {Config} config */
function start(config) {
  const token = config.tokens ? visitorToken : tokenFromAddress();
  const store = sessionStore(config.ws_url, { session: sessionFromAddress(), token, fallback: "./" });
  if (typeof token === "string") page.second.rel = "opener"; // the second tab gets a copy of this tab's storage
  const { client } = store;
  observe(client);
  const scrolling = new Scrolling(page);
  const conversation = new Conversation(page.turns, {
    answer: (runId, callId, value) => client.answer(runId, callId, value),
    askAgain: ask,
  });
  connection.retry = () => void client.reconnect();

  /** @param {any} input */
  function ask(input) {
    store.start(config.agent, input).catch(() => {}); // the snapshot has the reason, and the page shows it
    scrolling.follow();
  }

  /** Stop what was asked last. Starts that wait for their turn are newer than open runs. */
  function stopNewest() {
    const snapshot = store.getSnapshot();
    const commandId = queuedStarts(snapshot).at(-1);
    const newest = commandId ? { commandId } : openRuns(snapshot).at(-1)?.id;
    if (newest) client.cancel(newest).catch(() => {}); // it has ended, or the connection has: the events show it
    return Boolean(newest);
  }

  /** @param {Snapshot} snapshot */
  function render(snapshot) {
    conversation.update(snapshot);
    connection.view.update(snapshot.connection);
    const closed = snapshot.connection.state === "closed";
    document.body.classList.toggle("empty", !page.turns.childElementCount);
    page.opening.hidden = page.turns.childElementCount > 0;
    page.stop.hidden = closed || openRuns(snapshot).length + queuedStarts(snapshot).length === 0;
    const leaves = closed && document.activeElement === page.question;
    page.question.disabled = page.send.disabled = closed;
    if (leaves) connection.view.focus();
    showTypists(snapshot.typing);
    scrolling.update();
  }

  /** @param {Snapshot["typing"]} typing */
  function showTypists(typing) {
    page.typing.hidden = typing.length === 0;
    const agents = typing.some(({ by }) => by === "agent");
    setText(page.typist, !typing.length ? "" : agents ? `The ${config.agent} is typing` : "Someone is typing in another tab");
  }

  listen(client, ask, stopNewest);
  describe(config, ask);
  store.subscribe(render);
}

/** For tests: the received events in order, the number of resets, and the client. @param {import("./greenroom.js").Client} client */
function observe(client) {
  const seen = { events: /** @type {object[]} */ ([]), resets: 0, client };
  Object.assign(window, { greenroomDemo: seen });
  client.addEventListener("event", ({ detail: { seq, type, run_id, call_id } }) => void seen.events.push({ seq, type, run_id, call_id }));
  client.addEventListener("reset", () => {
    seen.events.length = 0;
    seen.resets += 1;
  });
}

/** Take what a person types and presses. @param {import("./greenroom.js").Client} client @param {(input: any) => void} ask @param {() => boolean} stopNewest */
function listen(client, ask, stopNewest) {
  page.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = page.question.value.trim();
    if (!text) return;
    page.question.value = "";
    client.typing(false);
    fit();
    ask(text);
  });
  page.question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    page.form.requestSubmit();
  });
  page.question.addEventListener("input", () => {
    client.typing(page.question.value !== "");
    fit();
  });
  page.question.addEventListener("blur", () => client.typing(false));
  page.skip.href = "#question";
  page.skip.addEventListener("click", (event) => {
    event.preventDefault(); // the fragment of the address names the conversation
    page.question.focus();
  });
  page.stop.addEventListener("click", () => {
    stopNewest();
    page.question.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
    if (stopNewest()) event.preventDefault();
  });
}

/** Show what can be asked, and of whom. @param {Config} config @param {(input: any) => void} ask */
function describe({ title, agent, suggestions, model }, ask) {
  setText(page.title, title || `Ask the ${agent}`);
  setText(page.model, model === undefined ? `Agent: ${agent}` : model ? `Model: ${model}` : "No model: answers come from the index");
  document.title = `${page.title.textContent} · Greenroom`;
  for (const text of suggestions) {
    const suggestion = button("", text, () => {
      ask(text);
      page.question.focus();
    });
    page.suggestions.append(element("li", "", suggestion));
  }
}

/** Make the question field as tall as its text. */
function fit() {
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight}px`;
}

const connection = {
  retry: () => {},
  view: new ConnectionView({ retry: () => connection.retry(), reload: () => location.reload(), restart: beginAnew }),
};
history.scrollRestoration = "manual"; // after a refresh the events come first, so the browser must not scroll before
page.new.addEventListener("click", beginAnew);
page.new.disabled = false;
window.addEventListener("hashchange", () => location.reload()); // another conversation: start again
fetchJson("config").then(
  (config) => {
    start(config);
    page.second.href = location.href;
    page.question.focus();
  },
  () => connection.view.fail("The page could not read its settings from the server. See whether the server runs, then reload the page."),
);
