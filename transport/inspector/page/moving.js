// @ts-check
/** Moving through a list with the keyboard, and the keys of the whole page. */
import { byId, element } from "./dom.js";

/** @typedef {{ move(step: number): void }} Movable */

/** The keys, as the page lists them. @type {[string, string][]} */
export const KEYS = [
  ["1 … 6", "Overview, runs, sessions, failures, connections, actors"],
  ["j  k", "Next and previous row (or the arrow keys in a list)"],
  ["Enter", "Open the row"],
  ["x", "Cancel the run, or close the connection"],
  ["/", "Go to the filter"],
  ["[  ]", "Previous and next page"],
  ["←  →", "Fold and unfold an actor"],
  ["p", "Pause and resume"],
  ["Escape", "Leave a field or a dialog"],
  ["?", "This list of keys"],
];
const STORED = "greenroom-inspector-keys";

/**
 * Move the focus among the elements that a selector finds.
 *
 * @param {Element} within @param {string} selector @param {number} step
 */
export function moveAmong(within, selector, step) {
  const all = [...within.querySelectorAll(selector)].filter((each) => each.checkVisibility());
  const at = all.findIndex((each) => each.contains(document.activeElement));
  const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step))];
  if (!(next instanceof HTMLElement)) return;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

/**
 * Watch the keys of the page. A key with Ctrl, Alt or Meta belongs to the browser, and a key in a field to the field.
 *
 * @param {object} actions
 * @param {(index: number) => void} actions.go
 * @param {(step: number) => void} actions.move
 * @param {(step: number) => void} actions.turn
 * @param {() => void} actions.filter
 * @param {() => void} actions.pause
 */
export function watchKeys({ go, move, turn, filter, pause }) {
  const help = byId("keys", HTMLDialogElement);
  const on = byId("keys-on", HTMLInputElement);
  on.checked = stored() !== "off";
  on.addEventListener("change", () => store(on.checked ? "on" : "off"));
  byId("keys-list", HTMLElement).append(...KEYS.map(keyView));
  byId("keys-button", HTMLElement).addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (target instanceof HTMLElement && target.matches("input, select, textarea")) {
      if (key === "Escape") target.blur();
      return;
    }
    const inList = target instanceof Element && target.closest("tbody, .stack") !== null;
    if (key === "ArrowDown" && inList) move(1);
    else if (key === "ArrowUp" && inList) move(-1);
    else if (!on.checked) return;
    else if (/^[1-6]$/.test(key)) go(Number(key) - 1);
    else if (key === "j") move(1);
    else if (key === "k") move(-1);
    else if (key === "[") turn(-1);
    else if (key === "]") turn(1);
    else if (key === "/") filter();
    else if (key === "p") pause();
    else if (key === "?") help.showModal();
    else return;
    event.preventDefault();
  });
}

/** @param {[string, string]} line */
function keyView([keys, words]) {
  const shown = keys.split(" ").filter(Boolean).map((key) => (key === "…" ? " … " : element("kbd", "", key)));
  return element("div", "", element("dt", "", ...shown), element("dd", "", words));
}

function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // a browser that keeps nothing
  }
}

/** @param {string} value */
function store(value) {
  try {
    localStorage.setItem(STORED, value);
  } catch {
    // a browser that keeps nothing: the choice holds until the page is loaded again
  }
}
