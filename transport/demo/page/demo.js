// @ts-check
/**
 * The demo page: it connects, shows the events of its session, and sends the commands of the person.
 *
 * A refreshed page has lost everything that it showed, so it stores no position and reads its session from the oldest
 * event. The name of the session is in the address, so that a second tab can be opened on it.
 */
import { Conversation } from "./conversation.js";
import { byId, element } from "./dom.js";
import { connect } from "./greenroom.js";

const NEAR_THE_END = 160; // px from the end of the page up to which the page keeps scrolling with new text
const SESSION = /^[A-Za-z0-9._~:-]{1,128}$/;

const page = {
  bar: byId("bar", HTMLElement),
  state: byId("state", HTMLElement),
  turns: byId("turns", HTMLElement),
  opening: byId("opening", HTMLElement),
  title: byId("opening-title", HTMLElement),
  cast: byId("cast", HTMLElement),
  suggestions: byId("suggestions", HTMLElement),
  typing: byId("typing", HTMLElement),
  announcer: byId("announcer", HTMLElement),
  form: byId("ask", HTMLFormElement),
  question: byId("question", HTMLTextAreaElement),
  stop: byId("stop", HTMLButtonElement),
  second: byId("second", HTMLAnchorElement),
};

/** @param {string} kind */
function newName(kind) {
  return `${kind}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(36)).join("")}`;
}

function sessionFromAddress() {
  const name = location.hash.slice(1);
  if (SESSION.test(name)) return name;
  const made = newName("talk");
  history.replaceState(null, "", `#${made}`);
  return made;
}

/** @param {string} path */
async function fetchJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** @param {{ ws_url: string, agent: string, title: string, suggestions: string[] }} config */
function start(config) {
  const client = connect(config.ws_url, {
    session: sessionFromAddress(),
    token: async () => (await fetchJson("token")).token ?? undefined,
  });
  const conversation = new Conversation(page.turns, {
    answer: (runId, callId, value) => client.answer(runId, callId, value),
    askAgain: ask,
  });
  /** @type {Map<string, string>} */
  const typists = new Map(); // "user" or "agent", by the id of the connection or run that is typing
  let own = ""; // the id of this tab's connection
  /** For tests: the received events in order, the number of resets, and the client. */
  const seen = { events: /** @type {object[]} */ ([]), resets: 0, client };
  Object.assign(window, { greenroomDemo: seen });

  /** @param {any} input */
  function ask(input) {
    const commandId = newName("ask");
    conversation.expect(commandId, typeof input === "string" ? input : JSON.stringify(input));
    client.start(config.agent, input, { commandId }).catch((error) => {
      conversation.refuse(commandId, error);
      update();
    });
    update({ follow: true });
  }

  let planned = false;
  let following = true; // false while the reader has scrolled up
  let top = 0;
  window.addEventListener("scroll", () => {
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - NEAR_THE_END;
    following = atEnd || (following && window.scrollY >= top);
    top = window.scrollY;
  });

  /** Update the page in the next frame, and scroll to its end if the reader is there. */
  function update({ follow = false } = {}) {
    following ||= follow;
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      conversation.render();
      page.opening.hidden = !conversation.isEmpty;
      page.stop.hidden = conversation.open.length + conversation.queued.length === 0;
      showTypists();
      if (following) showNewest();
    });
  }

  function showTypists() {
    const who = new Set(typists.values());
    page.typing.hidden = who.size === 0;
    const text = who.has("agent") ? `The ${config.agent} is typing` : "Somebody is typing in another tab";
    if (who.size) /** @type {HTMLElement} */ (page.typing.lastElementChild).textContent = text;
  }

  client.addEventListener("event", ({ detail: event }) => {
    const { seq, type, run_id, call_id } = event;
    seen.events.push({ seq, type, run_id, call_id });
    conversation.apply(event);
    if (type === "agent_completed" && !event.parent_run_id) page.announcer.textContent = `Answer: ${event.data.status}`;
    update();
  });
  client.addEventListener("reset", () => {
    seen.events.length = 0;
    seen.resets += 1;
    conversation.clear();
    update();
  });
  client.addEventListener("welcome", ({ detail: welcome }) => {
    typists.clear();
    for (const { by, id } of welcome.typing) if (id !== welcome.connection) typists.set(id, by);
    own = welcome.connection;
    conversation.queue(client.queued);
    update();
  });
  client.addEventListener("signal", ({ detail: { name, data } }) => {
    if (name === "queued") {
      conversation.queue(client.queued);
      return update();
    }
    if (name !== "typing" || data.id === own) return;
    if (data.active) typists.set(data.id, data.by);
    else typists.delete(data.id);
    update();
  });
  client.addEventListener("state", ({ detail: change }) => {
    if (change.state !== "live") typists.clear();
    showState(change);
    update();
  });

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
  page.stop.addEventListener("click", () => {
    const commandId = conversation.queued.at(-1); // queued starts are newer than open runs
    const newest = commandId ? { commandId } : conversation.open.at(-1);
    if (newest) client.cancel(newest).catch(() => {}); // the run has ended, or the connection is closed: the events show it
    page.question.focus();
  });
  page.title.textContent = config.title || `Ask the ${config.agent}`;
  page.cast.textContent = `Now on: the ${config.agent}`;
  document.title = `${page.title.textContent} · Greenroom`;
  for (const text of config.suggestions) {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => {
      ask(text);
      page.question.focus();
    });
    page.suggestions.append(element("li", "", button));
  }
}

/** Scroll to the end of the newest answer, but keep its question in sight if there is room for both. */
function showNewest() {
  const newest = page.turns.lastElementChild;
  if (!newest) return;
  const reply = newest.querySelector(".reply") ?? newest;
  const room = page.form.getBoundingClientRect().top - 32; // the composer covers the end of the page
  const question = newest.getBoundingClientRect().top - page.bar.offsetHeight;
  window.scrollBy({ top: Math.max(question, reply.getBoundingClientRect().bottom - room), behavior: "instant" });
}

/** Make the question field as tall as its text. */
function fit() {
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight}px`;
}

/** @param {import("./greenroom.js").StateChange} change */
function showState({ state, retryInMs = 0, code, reason }) {
  const words = {
    connecting: "Connecting…",
    live: "Live",
    waiting: `Waiting: next try ${retryInMs < 1_500 ? "at once" : `in ${Math.round(retryInMs / 1_000)} s`}`,
    closed: `Closed: ${reason || "by the server"} (${code})`,
  };
  page.state.dataset.state = state;
  if (page.state.textContent !== words[state]) page.state.textContent = words[state];
}

history.scrollRestoration = "manual"; // after a refresh the events come first, so the browser must not scroll before
byId("new", HTMLButtonElement).addEventListener("click", () => (location.hash = newName("talk")));
window.addEventListener("hashchange", () => location.reload()); // another conversation: start again
fetchJson("config").then(
  (config) => {
    start(config);
    page.second.href = location.href;
    page.question.focus();
  },
  (error) => showState({ state: "closed", code: 1006, reason: `${error.message}; reload the page` }),
);
