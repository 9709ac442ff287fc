// @ts-check
/** Questions to the operator before an action, what became of it, and copying. */
import { announce, button, byId, setText } from "./dom.js";

const CONFIRMED_MS = 2_000; // for so long a button says that it has copied
const NOTE_MS = 6_000; // for so long the page shows what became of an action

/**
 * Ask before an action. Return whether the operator wants it.
 *
 * @param {{ title: string, text: string, yes: string, no: string }} words @returns {Promise<boolean>}
 */
export function confirmed({ title, text, yes, no }) {
  const dialog = byId("confirm", HTMLDialogElement);
  if (dialog.open) return Promise.resolve(false);
  setText(byId("confirm-title", HTMLElement), title);
  setText(byId("confirm-text", HTMLElement), text);
  setText(byId("confirm-yes", HTMLElement), yes);
  setText(byId("confirm-no", HTMLElement), no);
  dialog.returnValue = "no"; // also for the Escape key
  dialog.showModal();
  byId("confirm-no", HTMLElement).focus();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let hiding;

/** Show what became of an action. @param {string} text @param {"ok" | "error"} tone */
export function note(text, tone) {
  const shown = byId("note", HTMLElement);
  setText(shown, text);
  shown.dataset.status = tone;
  shown.hidden = false;
  announce(text);
  clearTimeout(hiding);
  hiding = setTimeout(() => (shown.hidden = true), NOTE_MS);
}

/**
 * Return a button that copies what `text` returns at that time.
 *
 * @param {string} label  for a screen reader: which text it copies @param {() => string} text
 */
export function copyButton(label, text) {
  const made = button("small copy", "Copy", async () => {
    made.textContent = (await copied(text())) ? "Copied" : "Failed";
    announce(made.textContent === "Copied" ? "Copied" : "Not copied");
    setTimeout(() => (made.textContent = "Copy"), CONFIRMED_MS);
  });
  made.setAttribute("aria-label", label);
  return made;
}

/** Copy a text. Return false if the browser does not allow it. @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text);
  }
}

/** Copy a text the old way: a page that came over plain http has no clipboard. @param {string} text */
function copiedBySelection(text) {
  const field = document.createElement("textarea");
  const { activeElement } = document;
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (activeElement instanceof HTMLElement) activeElement.focus();
  return done;
}
