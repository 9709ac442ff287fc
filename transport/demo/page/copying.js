// @ts-check
/** Buttons that copy text to the clipboard. */
import { announce, button } from "./dom.js";

const CONFIRMED_MS = 2_000; // for so long a button says that it has copied

/**
 * Return a button that copies what `text` returns at that time.
 *
 * @param {string} label  for a screen reader: which text it copies
 * @param {() => string} text
 */
export function copyButton(label, text) {
  const made = button("copy", "Copy", async () => {
    made.textContent = (await copied(text())) ? "Copied" : "Not copied";
    announce(made.textContent);
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
