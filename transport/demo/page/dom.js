// @ts-check
/** The few helpers that the page needs instead of a framework. */

/**
 * Return a new element with a class and children. Strings become text, never markup.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * Return a button that calls `act`. It never submits a form.
 *
 * @param {string} className @param {string} label @param {() => void} act
 */
export function button(className, label, act) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/**
 * Return the element with an id. Throw an Error if the page has none of that kind.
 *
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/**
 * Set the text of a node, but only if it changes: a screen reader may announce it, and a selection in it would go.
 *
 * @param {Node} node @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Let a screen reader say something, when it has finished what it says. @param {string} text */
export function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/**
 * @template V
 * @typedef {{ node: HTMLElement, update(value: V): void }} View  an element that shows a value
 */

/**
 * The children of an element, as views of a list of values. A value keeps its view, and so its focus, its selection and
 * what a person opened in it, for as long as its key is in the list.
 *
 * @template V
 */
export class ViewList {
  /** @type {Map<string, View<V>>} */ #views = new Map();
  #target;
  #keyOf;
  #make;

  /** @param {HTMLElement} target @param {(value: V) => string} keyOf @param {(value: V) => View<V>} make */
  constructor(target, keyOf, make) {
    this.#target = target;
    this.#keyOf = keyOf;
    this.#make = make;
  }

  /** @param {V[]} values */
  update(values) {
    const gone = this.#views;
    this.#views = new Map();
    let place = this.#target.firstElementChild;
    for (const value of values) {
      const key = this.#keyOf(value);
      const view = gone.get(key) ?? this.#make(value);
      gone.delete(key);
      this.#views.set(key, view);
      view.update(value);
      if (view.node === place) place = place.nextElementSibling;
      else this.#target.insertBefore(view.node, place);
    }
    for (const { node } of gone.values()) node.remove();
  }
}
