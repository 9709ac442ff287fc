// @ts-check
/** Values as short text. Pure. */

export const NOTHING = "–"; // for what is not known

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * Return how long something takes, or how old it is, in at most 7 characters or so.
 *
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NOTHING;
  const s = Math.max(0, seconds);
  if (s < 0.00995) return `${trimmed(s * 1_000, 1)} ms`;
  if (s < 0.9995) return `${Math.round(s * 1_000)} ms`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)}m ${two(whole % MINUTE)}s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)}h ${two(Math.floor((whole % HOUR) / MINUTE))}m`;
  return `${Math.floor(whole / DAY)}d ${two(Math.floor((whole % DAY) / HOUR))}h`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}

/**
 * Return a number with at most `places` decimals, and without zeros at its end.
 *
 * @param {number} number @param {number} places
 */
function trimmed(number, places) {
  return String(Number(number.toFixed(places)));
}

/** Return a number with its thousands apart. @param {number | null | undefined} number */
export function count(number) {
  if (number === null || number === undefined) return NOTHING;
  const exact = Number.isInteger(number) ? number : Number(number.toFixed(number < 10 ? 2 : 1));
  return exact.toLocaleString("en");
}

/** Return a number of events in a second. @param {number | null | undefined} number */
export function rate(number) {
  if (number === null || number === undefined) return NOTHING;
  return number < 9.95 ? trimmed(number, 1) : count(Math.round(number));
}

/** Return a number of bytes. @param {number | null | undefined} number */
export function bytes(number) {
  if (number === null || number === undefined) return NOTHING;
  let rest = number;
  let unit = 0;
  for (; rest >= 1_024 && unit < UNITS.length - 1; unit += 1) rest /= 1_024;
  return `${unit ? rest.toFixed(rest < 10 ? 1 : 0) : rest} ${UNITS[unit]}`;
}

/**
 * Return a moment as the local time of day, with the date if it is not today.
 *
 * @param {number | null | undefined} at @param {number} now  both in seconds since 1970
 */
export function clock(at, now) {
  if (at === null || at === undefined) return NOTHING;
  const moment = new Date(at * 1_000);
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
  const today = moment.toDateString() === new Date(now * 1_000).toDateString();
  return today ? time : `${moment.getDate()} ${MONTHS[moment.getMonth()]} ${time}`;
}

/**
 * Return the seconds in a text such as "90", "30s", "5m", "2 h" or "1d". Return null if it is no such text.
 *
 * @param {string} text
 */
export function parseAge(text) {
  const [, number, unit = "s"] = /^\s*(\d+(?:\.\d+)?)\s*([smhd])?\s*$/i.exec(text) ?? [];
  if (number === undefined) return null;
  return Number(number) * { s: 1, m: MINUTE, h: HOUR, d: DAY }[/** @type {"s"} */ (unit.toLowerCase())];
}

/** Words for the states of runs and tools. @type {Record<string, string>} */
const STATES = {
  running: "Running",
  queued: "Queued",
  asking: "Asking",
  stopping: "Stopping",
  ok: "Done",
  error: "Failed",
  timeout: "Timed out",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
};

/** @param {string} state */
export function stateWord(state) {
  return Object.hasOwn(STATES, state) ? STATES[state] : state;
}

/** Return the name of a field as words. @param {string} name */
export function fieldWords(name) {
  const words = name.replaceAll("_", " ").replaceAll(".", " · ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * Return a nested object as a flat list of paths and texts, at most `limit`. A name with a unit decides how its value is
 * shown.
 *
 * @param {unknown} value @param {number} [limit] @returns {[string, string][]}
 */
export function flat(value, limit = 40) {
  /** @type {[string, string][]} */
  const found = [];
  collect("", value, found, limit);
  return found;
}

/** @param {string} path @param {unknown} value @param {[string, string][]} found @param {number} limit */
function collect(path, value, found, limit) {
  if (found.length >= limit) return;
  if (value !== null && typeof value === "object") {
    for (const [name, each] of Object.entries(value)) collect(path ? `${path}.${name}` : name, each, found, limit);
  } else if (path) found.push([path, fieldText(path, value)]);
}

/** @param {string} name @param {unknown} value */
function fieldText(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || value === undefined || value === "") return NOTHING;
  if (typeof value !== "number") return String(value);
  if (/(^|_|\.)bytes$/.test(name)) return bytes(value);
  return /(^|_|\.)(seconds|age|lag|stood_still|until)$/.test(name) ? duration(value) : count(value);
}

const LONGEST_BRIEF = 160;

/** Return a value as text for one line. @param {unknown} value @returns {string} */
export function brief(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const line = text.replace(/\s+/g, " ");
  return line.length > LONGEST_BRIEF ? `${line.slice(0, LONGEST_BRIEF - 1)}…` : line;
}

/** Return which rows are shown. @param {number} first @param {number} shown @param {number | null | undefined} total */
export function rangeWords(first, shown, total) {
  if (!shown) return first > 1 ? "No more rows" : "";
  const range = first === 1 && shown === total ? count(shown) : `${count(first)}–${count(first + shown - 1)}`;
  if (total === null || total === undefined) return range;
  return range === count(total) ? `${range} in all` : `${range} of ${count(total)}`;
}
