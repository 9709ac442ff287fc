// @ts-check
/** Close codes, error codes and statuses as sentences: what happened, and what a person can do. */
import { duration } from "./values.js";

/**
 * @typedef {"retry" | "reload" | "restart"} Remedy  try now, reload the page, begin a new conversation
 * @typedef {{ label: string, text: string, remedy: Remedy | null }} ConnectionWords  no `text` if all is well
 */

const KEPT = "Nothing is lost: the conversation is kept, and goes on here when the connection is back.";
const LOG = "The log of the server says why.";

/** Sentences for the codes after which the client comes back. @type {Map<number, string>} */
const WAITING = new Map([
  [1001, `The server is stopping or starting again. ${KEPT}`],
  [4001, `The connection was too slow for the events of this conversation. ${KEPT}`],
  [4002, `The server heard nothing from this page for too long, for instance after a sleep. ${KEPT}`],
  [4003, `Another server takes over this conversation. ${KEPT}`],
  [4004, `The page was signed in for long enough, and gets a new token. ${KEPT}`],
  [4005, `The server has too much to do at the moment. ${KEPT}`],
  [4006, `The server had an error of its own. ${LOG} ${KEPT}`],
]);
const ORIGIN = "names the address, and the setting allowed_origins is where to add it.";
const NEVER_CONNECTED =
  `The server cannot be reached. Either it does not run, or it refuses pages of this address. In that case its log ${ORIGIN}`;
const FOREIGN = `The server refuses pages of this address. Its log ${ORIGIN}`;
const NO_TOKEN = "The page could not get its token from the server, so it cannot sign in. Does the server run?";
const OWN_TOKEN =
  "If the server hands out tokens itself, reload the page to get a new one. Otherwise open this page with a new token at the " +
  "end of its address: /#token= and the token.";
const OFFLINE = `This device is offline. ${KEPT}`;
const LOST = `The connection was lost. ${KEPT}`;
const AWAY = `The server cannot be reached. ${KEPT}`;
const DISAGREE = "The page and the server do not understand each other. They may be of different versions: reload the page.";

/** Sentences and remedies for the codes after which the client does not come back. @type {Map<number, [string, Remedy]>} */
const ENDED = new Map([
  [1002, [DISAGREE, "reload"]],
  [1003, [DISAGREE, "reload"]],
  [1007, [DISAGREE, "reload"]],
  [1008, ["The browser or something between it and the server does not allow this connection. A page that came over https may only use wss.", "reload"]],
  [1009, ["The page sent a message that is larger than the server allows. Reload the page, and send something shorter.", "reload"]],
  [4004, [`The token of this page has expired. ${OWN_TOKEN}`, "reload"]],
  [4410, ["The place up to which this page had read is no longer kept. Reload the page to read the conversation again.", "reload"]],
  [4500, [DISAGREE, "reload"]],
  [4501, [`The server needs a token that it accepts. ${OWN_TOKEN} ${LOG}`, "reload"]],
  [4502, [`The server knows you, and does not let you in. ${LOG}`, "reload"]],
  [4503, ["The page did not sign in within the time that the server allows. Reload the page.", "reload"]],
  [4504, ["You have as many connections open as the server allows. Close some other tabs, then reload this page.", "reload"]],
  [4505, ["The page sent more than the server allows, and was cut off. Wait a moment, then reload the page.", "reload"]],
  [4506, ["This conversation was closed for good. It takes no more questions: begin a new one.", "restart"]],
]);

/**
 * Return how to show the state of the connection.
 *
 * @param {import("./store.js").Connection} connection @param {{ offline?: boolean }} [device]
 * @returns {ConnectionWords}
 */
export function connectionWords({ state, code, reason, wasLive }, { offline = false } = {}) {
  if (state === "live") return { label: "Connected", text: "", remedy: null };
  if (state === "closed") {
    const [known, remedy] = ENDED.get(code ?? 0) ?? ["The server ended the connection. Reload the page.", "reload"];
    const text = code === 4502 && reason.includes("origin") ? FOREIGN : known; // over HTTP the page is told
    return { label: remedy === "restart" ? "Closed" : "Not connected", text, remedy: /** @type {Remedy} */ (remedy) };
  }
  const label = state === "connecting" ? "Connecting…" : "Not connected";
  if (code === null) return { label, text: "", remedy: null };
  return { label, text: offline ? OFFLINE : interruption(code, reason, wasLive), remedy: state === "waiting" ? "retry" : null };
}

/** @param {number} code @param {string} reason @param {boolean} wasLive */
function interruption(code, reason, wasLive) {
  const known = WAITING.get(code);
  if (known) return known;
  if (reason.startsWith("no token") && reason.endsWith("403")) return FOREIGN;
  if (reason.startsWith("no token")) return wasLive ? AWAY : NO_TOKEN;
  return wasLive ? LOST : NEVER_CONNECTED;
}

/** Return how long it is until the next attempt. @param {number | null} retryAt @param {number} now  in ms since 1970 */
export function countdown(retryAt, now) {
  const seconds = Math.ceil(((retryAt ?? now) - now) / 1_000);
  return seconds > 0 ? `Next try in ${seconds} s` : "Trying now…";
}

/** Sentences for the codes with which a command is refused. @type {Map<string, string>} */
const REFUSALS = new Map([
  ["unknown_agent", "The server has no agent of this name."],
  ["rate_limited", "These were too many questions in a short time. Wait a moment, then ask again."],
  ["overloaded", "The server has too much to do at the moment. Wait a moment, then ask again."],
  ["internal", "The server had an error of its own. Its log has the details."],
  ["unknown_run", "What asked this is over, so it takes no answer."],
  ["not_waiting", "This was answered in another tab, or is no longer asked."],
  ["too_many_pending", "Too many questions wait for the connection already. Ask again when it is back."],
  ["too_large", "This is longer than the server allows. Send something shorter."],
  ["closed", "The connection has ended, so this was not sent."],
  ["outcome_unknown", "The server could not be reached for so long that it is not known whether it got this. Ask again if no answer comes."],
]);

/** Return why a command was refused. @param {{ code?: string, message?: string }} error */
export function refusalWords({ code = "", message = "" }) {
  return REFUSALS.get(code) ?? (message || "The server refused this without a reason.");
}

/** Words for the status of a tool, a sub-agent or a question. @type {Map<string, string>} */
const STATUS = new Map([
  ["running", "running"],
  ["open", "waits for you"],
  ["ok", "done"],
  ["error", "failed"],
  ["timeout", "timed out"],
  ["cancelled", "cancelled"],
  ["interrupted", "interrupted"],
]);

/** @param {string} status */
export function statusWord(status) {
  return STATUS.get(status) ?? status;
}

/** Words for the end of an answer, or for why there is none yet. @type {Map<string, string>} */
const ENDINGS = new Map([
  ["running", ""],
  ["pending", "Waiting to be sent"],
  ["queued", "Waiting for its turn"],
  ["ok", "Done"],
  ["error", "Failed"],
  ["timeout", "Timed out: it took longer than the server allows"],
  ["cancelled", "Stopped"],
  ["interrupted", "Interrupted: the server stopped before the answer was complete"],
  ["refused", "Not accepted"],
]);

/**
 * Return the line under an answer.
 *
 * @param {string} status @param {{ code: string, message: string } | null} [error] @param {number | null} [ms]
 */
export function endingWords(status, error, ms) {
  const words = ENDINGS.get(status) ?? status;
  const time = typeof ms === "number" ? ` · ${duration(ms)}` : "";
  const why = status === "refused" && error ? refusalWords(error) : status === "error" ? error?.message || error?.code : "";
  return `${words}${time}${why ? `: ${why}` : ""}`;
}
