// @ts-check
/**
 * The inspector: it asks the server once a second for its overview and for what the shown view needs, and shows it.
 *
 * To begin reading: routes.js has the views' addresses, refresh.js says when the server is asked, table.js is the list
 * that most views are.
 */
import { get, post, Refused } from "./api.js";
import { announce, byId, setAttribute, setText } from "./dom.js";
import { FailuresView } from "./failures.js";
import { ConnectionsView, RunsView, SessionsView } from "./lists.js";
import { watchKeys } from "./moving.js";
import { OverviewView } from "./overview.js";
import { Refresher, EVERY_MS } from "./refresh.js";
import { parseRoute, routeTo } from "./routes.js";
import { SessionView } from "./session.js";
import { TreeView } from "./tree.js";
import { count, duration, NOTHING } from "./words.js";

/**
 * @typedef {object} View
 * @property {string} title
 * @property {HTMLElement} node
 * @property {(params: Record<string, string>, signal: AbortSignal, now: number) => Promise<void>} refresh
 * @property {{ move: (step: number) => void }} [list]    what j and k move in
 * @property {HTMLElement} [filter]                        where / leads
 * @property {{ move: (step: number) => void }} [pager]   what [ and ] turn
 * @property {() => void} [leave]                          called when another view is shown, or none is asked for
 * @property {() => void} [moved]                          the view calls it when something else is to be asked
 */

const ORDER = ["overview", "runs", "sessions", "failures", "connections", "tree"]; // of the keys 1 to 6

const overview = new OverviewView();
const session = new SessionView();
/** @type {Record<string, View>} */
const views = {
  overview,
  runs: new RunsView(),
  sessions: new SessionsView(),
  session,
  failures: new FailuresView(),
  connections: new ConnectionsView(),
  tree: new TreeView(),
};
let route = parseRoute(location.hash);
let me = /** @type {{ who?: string, can_log_out?: boolean, content?: boolean } | null} */ (null);

const main = byId("main", HTMLElement);
const shown = byId("view", HTMLElement);
const state = byId("state", HTMLElement);
const lost = byId("lost", HTMLElement);
const login = byId("login", HTMLFormElement);
const door = byId("closed-door", HTMLElement);
const fault = byId("fault", HTMLElement);
const pause = byId("pause", HTMLButtonElement);
/** @type {number | null} */
let retryAt = null;

const refresher = new Refresher(load, report);
for (const view of Object.values(views)) if ("moved" in view) view.moved = () => refresher.now();

// --- asking -----------------------------------------------------------------------------------------------------------

/** Ask for the overview and for the shown view at once. @param {AbortSignal} signal */
async function load(signal) {
  if (me === null) await meet(signal);
  const { view, params } = route;
  const seen = await get("overview", {}, signal);
  observe(seen);
  try {
    await views[view].refresh(params, signal, seen.at);
    showFault("");
  } catch (error) {
    if (!(error instanceof Refused) || [401, 403].includes(error.status)) throw error;
    showFault(error.status === 404 ? "The server knows nothing of this name." : error.message);
  }
  setAttribute(state, "data-at", seen.at); // when what is shown was true
}

/** Ask who the operator is. @param {AbortSignal} signal */
async function meet(signal) {
  const found = await get("me", {}, signal);
  me = found;
  setText(byId("who", HTMLElement), found.who ?? NOTHING);
  byId("logout", HTMLElement).hidden = !found.can_log_out;
  session.mayShowContent(Boolean(found.content));
}

/** @param {any} seen  the answer of api/overview */
function observe(seen) {
  overview.observe(seen);
  const { ok, ready } = seen.health;
  const health = byId("health", HTMLElement);
  setText(health, ok ? (ready ? "Healthy" : "Not ready") : "Failed");
  setAttribute(health, "data-health", ok ? (ready ? "ok" : "unready") : "failed");
  setText(byId("node", HTMLElement), seen.node || NOTHING);
  byId("worker-line", HTMLElement).hidden = !seen.workers;
  setText(byId("worker", HTMLElement), seen.workers ? `${seen.workers.number} of ${seen.workers.count}` : NOTHING);
  setText(byId("version", HTMLElement), seen.version || NOTHING);
  setText(byId("uptime", HTMLElement), duration(seen.at - seen.started_at));
  const open = (seen.runs?.running ?? 0) + (seen.runs?.queued ?? 0);
  const { sessions, failures, connections } = seen;
  for (const [name, number] of Object.entries({ runs: open, sessions, failures, connections })) {
    setText(byId(`${name}-badge`, HTMLElement), number ? count(number) : "");
  }
}

/** @param {string} text */
function showFault(text) {
  setText(byId("fault-text", HTMLElement), text);
  fault.hidden = !text;
  shown.classList.toggle("stale", Boolean(text));
}

// --- showing the state ------------------------------------------------------------------------------------------------

const WORDS = {
  loading: "Loading…",
  live: "Live",
  paused: "Paused",
  lost: "Not connected",
  login: "Not logged in",
  refused: "No access",
};

/** @param {import("./refresh.js").State} now */
function report({ kind, text, retryAt: at }) {
  setAttribute(state, "data-state", kind);
  setText(state, WORDS[kind]);
  retryAt = at;
  lost.hidden = kind !== "lost";
  if (kind === "lost") setText(byId("lost-text", HTMLElement), `${text} What you see is old.`);
  tick();
  const inside = kind !== "login" && kind !== "refused";
  shown.hidden = !inside;
  pause.disabled = !inside;
  door.hidden = kind !== "refused";
  if (kind === "refused") setText(byId("closed-text", HTMLElement), text);
  if (kind === "login" && login.hidden) askForToken();
  if (inside) login.hidden = true;
  if (!inside) me = null;
  if (kind !== "live") views[route.view].leave?.();
}

/** Show the time until the next attempt. */
function tick() {
  if (retryAt === null) return;
  const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
  setText(byId("countdown", HTMLElement), seconds > 0 ? `Next try in ${seconds} s` : "Trying now…");
}
setInterval(tick, EVERY_MS / 4);

// --- logging in -------------------------------------------------------------------------------------------------------

const token = byId("token", HTMLInputElement);
const loginFault = byId("login-fault", HTMLElement);

function askForToken() {
  byId("logout", HTMLElement).hidden = true;
  setText(byId("who", HTMLElement), NOTHING);
  login.hidden = false;
  token.focus();
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  setText(loginFault, "");
  try {
    await post("login", { token: token.value });
    token.value = "";
    login.hidden = true;
    main.focus();
    refresher.now();
  } catch (error) {
    const wrong = error instanceof Refused && error.status === 401;
    setText(loginFault, wrong ? "This is not the operator token." : error instanceof Error ? error.message : String(error));
    token.select();
    token.focus();
  }
});

byId("logout", HTMLElement).addEventListener("click", async () => {
  await post("logout", {}).catch(() => null); // without an answer, the next question shows whether the operator is logged in
  me = null;
  refresher.now();
});

// --- views ------------------------------------------------------------------------------------------------------------

/** Show the view of the address. */
function enter() {
  const before = route;
  route = parseRoute(location.hash);
  const { view } = route;
  const changed = before.view !== view;
  if (changed) views[before.view].leave?.();
  if (changed || !shown.firstElementChild) shown.replaceChildren(views[view].node);
  setText(byId("title", HTMLElement), views[view].title);
  document.title = `${views[view].title} · Greenroom inspector`;
  showFault("");
  const current = view === "session" ? "sessions" : view;
  for (const link of document.querySelectorAll("#views a")) {
    setAttribute(link, "aria-current", link.getAttribute("data-view") === current ? "page" : null);
  }
  if (changed) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
    announce(views[view].title);
  }
  refresher.now();
}

function turnPause() {
  if (pause.disabled) return;
  refresher.pause(!refresher.paused);
  setAttribute(pause, "aria-pressed", String(refresher.paused));
  setText(pause, refresher.paused ? "Resume" : "Pause");
}

function toFilter() {
  const field = views[route.view].filter?.querySelector("input, select");
  if (field instanceof HTMLInputElement) field.select();
  if (field instanceof HTMLElement) field.focus();
}

watchKeys({
  go: (index) => (location.hash = routeTo(ORDER[index])),
  move: (step) => views[route.view].list?.move(step),
  turn: (step) => views[route.view].pager?.move(step),
  filter: toFilter,
  pause: turnPause,
});
addEventListener("hashchange", enter);
document.addEventListener("visibilitychange", () => document.hidden && views[route.view].leave?.());
pause.addEventListener("click", turnPause);
byId("retry", HTMLElement).addEventListener("click", () => refresher.now());
byId("closed-retry", HTMLElement).addEventListener("click", () => refresher.now());
byId("skip", HTMLElement).addEventListener("click", (event) => {
  event.preventDefault(); // the part after "#" is the address of a view
  main.focus();
});
enter();
