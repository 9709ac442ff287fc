// @ts-check
/** The few helpers that the page needs instead of a framework. Data becomes text nodes and attributes, never markup. */

const SVG = "http://www.w3.org/2000/svg";
const MOST_GONE = 50; // rows that have gone, but stay while a person points at the list

/**
 * Return a new element with a class and children. Strings become text.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} [className] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * Return a new SVG element.
 *
 * @param {string} tag @param {Record<string, string | number>} [attributes] @param {Node[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
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
 * Return a field with its label above it.
 *
 * @template {HTMLElement} T @param {string} label @param {T} field
 */
export function labelled(label, field) {
  return element("label", "field", element("span", "", label), field);
}

/**
 * Return a field for a text that is a name or a part of one.
 *
 * @param {string} [placeholder] @param {string} [className]
 */
export function textField(placeholder = "any", className = "") {
  const made = element("input", className);
  made.type = "text";
  made.placeholder = placeholder;
  made.autocomplete = "off";
  made.spellcheck = false;
  made.setAttribute("autocapitalize", "none");
  return made;
}

/** Return a field for one of several values, each with its label. @param {[string, string][]} options */
export function choice(options) {
  return element("select", "", ...options.map(([value, label]) => new Option(label, value)));
}

/**
 * Return a form for fields that filter a list. It is never sent.
 *
 * @param {string} label @param {Node[]} content
 */
export function filterForm(label, ...content) {
  const made = element("form", "filter", ...content);
  made.setAttribute("role", "search");
  made.setAttribute("aria-label", label);
  made.addEventListener("submit", (event) => event.preventDefault());
  return made;
}

/**
 * Return the element with an id. Throw an Error if the page has none of that kind.
 *
 * @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/**
 * Set the text of a node, but only if it changes: a selection in it would go.
 *
 * @param {Node} node @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Set an attribute if it changes. With null, remove it.
 *
 * @param {Element} node @param {string} name @param {string | number | null} value
 */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/** Let a screen reader say something, when it has finished what it says. @param {string} text */
export function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/**
 * @template V
 * @typedef {{ node: Element, update(value: V): void }} View  an element that shows a value
 */

/**
 * The children of an element, as views of a list of values. A value keeps its view, and so its focus, its selection and
 * what a person opened in it, for as long as its key is in the list.
 *
 * @template V
 */
export class Rows {
  /** @type {Map<string, View<V>>} */ #views = new Map();
  #target;
  #keyOf;
  #make;

  /** @param {Element} target @param {(value: V) => string} keyOf @param {(value: V) => View<V>} make */
  constructor(target, keyOf, make) {
    this.#target = target;
    this.#keyOf = keyOf;
    this.#make = make;
  }

  get size() {
    return this.#views.size;
  }

  /**
   * Show these values. If the list is held, each view stays where it is, also if its value has gone: it gets `data-gone`.
   * *A person pointed at the connection to close, the list was sorted anew, and another connection was closed.*
   *
   * @param {V[]} values @param {boolean} [held]
   */
  update(values, held = false) {
    const fresh = new Map(values.map((value) => [this.#keyOf(value), value]));
    const before = this.#views;
    this.#views = new Map();
    let place = this.#target.firstElementChild;
    for (const key of held ? heldOrder([...before.keys()], fresh) : fresh.keys()) {
      const value = fresh.get(key);
      const view = before.get(key) ?? this.#make(/** @type {V} */ (value));
      before.delete(key);
      this.#views.set(key, view);
      setAttribute(view.node, "data-gone", value === undefined ? "" : null);
      if (value !== undefined) view.update(value);
      if (view.node === place) place = place.nextElementSibling;
      else this.#target.insertBefore(view.node, place);
    }
    for (const { node } of before.values()) node.remove();
  }
}

/**
 * Return the order of a list that is held: known keys where they were, new ones at the end.
 *
 * @param {string[]} shown @param {Map<string, unknown>} fresh
 */
export function heldOrder(shown, fresh) {
  let room = MOST_GONE;
  const kept = shown.filter((key) => fresh.has(key) || room-- > 0);
  const known = new Set(kept);
  return [...kept, ...[...fresh.keys()].filter((key) => !known.has(key))];
}
