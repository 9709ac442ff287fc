// @ts-check
/** Values of events as short text. */

const LONGEST_VALUE = 60;

/** Return a value as text for one line. @param {any} value @returns {string} */
export function brief(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  const parts = Array.isArray(value) ? value.map(short) : Object.entries(value).map(([key, each]) => `${key}: ${short(each)}`);
  return parts.join(", ");
}

/** @param {any} value */
function short(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE - 1)}…` : text;
}

/** Return a value as text of any length. @param {any} value @returns {string} */
export function whole(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "nothing";
}

/** Return how long something took. @param {number} ms */
export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
}
