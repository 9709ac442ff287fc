// @ts-check
/** A table whose rows keep their place while a person works with them, and the buttons for its pages. */
import { button, element, Rows, setAttribute, setText } from "./dom.js";
import { rangeWords } from "./words.js";

/**
 * @template V
 * @typedef {{ name: string, label: string, show: (cell: HTMLElement, value: V) => void, sort?: string }} Column
 *   `name` is the class of its cells; `sort`: the order that a press on its head asks for
 *
 * @template V
 * @typedef {object} TableOptions
 * @property {string} label
 * @property {Column<V>[]} columns
 * @property {(value: V) => string} keyOf
 * @property {(value: V) => string} [href]  where Enter leads
 * @property {(value: V) => void} [act]     what the key x does
 * @property {string} [empty]               shown if there are no rows
 * @property {(order: string) => void} [onSort]
 */

/**
 * Return a cell's content: text.
 *
 * @template V @param {(value: V) => string} read @param {(value: V) => string} [title]
 */
export function text(read, title) {
  return (/** @type {HTMLElement} */ cell, /** @type {V} */ value) => {
    setText(cell, read(value));
    if (title) setAttribute(cell, "title", title(value));
  };
}

/**
 * Return a cell's content: a link.
 *
 * @template V @param {(value: V) => string} read @param {(value: V) => string} href
 */
export function link(read, href) {
  return (/** @type {HTMLElement} */ cell, /** @type {V} */ value) => {
    if (!cell.firstElementChild) cell.replaceChildren(element("a"));
    const anchor = /** @type {HTMLElement} */ (cell.firstElementChild);
    setText(anchor, read(value));
    setAttribute(anchor, "href", href(value));
    setAttribute(anchor, "title", read(value));
  };
}

/**
 * Return a cell's content: a state with its mark.
 *
 * @template V @param {(value: V) => string} read @param {(state: string) => string} word
 */
export function status(read, word) {
  return (/** @type {HTMLElement} */ cell, /** @type {V} */ value) => {
    if (!cell.firstElementChild) cell.append(element("span", "status"));
    const mark = /** @type {HTMLElement} */ (cell.firstElementChild);
    setAttribute(mark, "data-status", read(value));
    setText(mark, word(read(value)));
  };
}

/**
 * Return a cell's content: a button.
 *
 * @template V @param {string} label @param {(value: V) => string} name  for a screen reader
 * @param {(value: V) => void} act
 */
export function action(label, name, act) {
  /** @type {WeakMap<HTMLElement, V>} */
  const values = new WeakMap();
  return (/** @type {HTMLElement} */ cell, /** @type {V} */ value) => {
    values.set(cell, value);
    if (!cell.firstElementChild) cell.append(button("small", label, () => act(/** @type {V} */ (values.get(cell)))));
    setAttribute(/** @type {HTMLElement} */ (cell.firstElementChild), "aria-label", name(value));
  };
}

/** @template V */
export class Table {
  #body = element("tbody");
  #empty = element("p", "empty");
  #table = element("table", "grid");
  #options;
  /** @type {Rows<V>} */ #rows;
  /** @type {WeakMap<Element, V>} */ #values = new WeakMap();

  /** @param {TableOptions<V>} options */
  constructor(options) {
    this.#options = options;
    this.#rows = new Rows(this.#body, options.keyOf, () => this.#row());
    const head = element("tr", "", ...options.columns.map((column) => this.#head(column)));
    head.setAttribute("role", "row");
    const top = element("thead", "", head);
    for (const group of [top, this.#body]) group.setAttribute("role", "rowgroup");
    this.#table.append(top, this.#body);
    this.#table.setAttribute("role", "grid");
    this.#table.setAttribute("aria-label", options.label);
    this.#empty.hidden = true;
    this.node = element("div", "table", this.#table, this.#empty);
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("focusin", ({ target }) => this.#choose(/** @type {Element} */ (target).closest("tr")));
  }

  /**
   * @param {V[]} values
   *
   * @param {{ first?: number, total?: number | null, anew?: boolean }} [options]
   *   `anew`: other values than before, so the order of before means nothing
| null, anew?: boolean }} [options]  `anew`: other values than before, so the order of before means nothing
   */
  update(values, { first = 1, total = null, anew = false } = {}) {
    const inside = this.#body.contains(document.activeElement);
    this.#rows.update(values, !anew && this.#held());
    setText(this.#empty, this.#options.empty ?? "Nothing here.");
    this.#empty.hidden = this.#rows.size > 0;
    setAttribute(this.#table, "aria-rowcount", total === null ? values.length + 1 : total + 1);
    for (const [index, row] of [...this.#body.rows].entries()) setAttribute(row, "aria-rowindex", first + index + 1);
    if (!this.#chosen() && this.#body.rows[0]) this.#choose(this.#body.rows[0]);
    if (inside && !this.#body.contains(document.activeElement)) this.#body.rows[0]?.focus(); // another page of the list
  }

  /** Mark the column by which the server sorts. @param {string} order */
  sorted(order) {
    for (const head of this.#table.querySelectorAll("th[data-sort]")) {
      setAttribute(head, "aria-sort", head.getAttribute("data-sort") === order ? "descending" : "none");
    }
  }

  /** Focus the row that is `step` rows away from the chosen one. @param {number} step */
  move(step) {
    const rows = this.#body.rows;
    const at = [...rows].indexOf(/** @type {HTMLTableRowElement} */ (this.#chosen()));
    const inside = this.#body.contains(document.activeElement);
    const row = rows[Math.min(rows.length - 1, Math.max(0, inside ? at + step : Math.max(0, at)))];
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
  }

  #held() {
    return this.#body.matches(":hover") || this.#body.contains(document.activeElement);
  }

  #chosen() {
    return this.#body.querySelector('tr[tabindex="0"]');
  }

  /** Let the Tab key reach this row and its buttons, and no other row. @param {Element | null} row */
  #choose(row) {
    const before = this.#chosen();
    if (!row || row === before) return;
    for (const each of [before, row]) {
      if (!each) continue;
      const index = each === row ? "0" : "-1";
      each.setAttribute("tabindex", index);
      for (const inner of each.querySelectorAll("a, button")) inner.setAttribute("tabindex", index);
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = /** @type {Element} */ (event.target).closest("tr");
    if (!row || event.ctrlKey || event.metaKey || event.altKey || row.hasAttribute("data-gone")) return;
    const value = /** @type {V} */ (this.#values.get(row));
    if (event.key === "Enter" && event.target === row && this.#options.href) location.hash = this.#options.href(value);
    else if (event.key === "x" && this.#options.act) this.#options.act(value);
    else if (event.key === "Home") this.move(-Infinity);
    else if (event.key === "End") this.move(Infinity);
    else return;
    event.preventDefault();
  }

  /** @param {Column<V>} column */
  #head({ name, label, sort }) {
    const head = element("th", name);
    head.scope = "col";
    head.setAttribute("role", "columnheader");
    if (sort === undefined) head.append(label || element("span", "unseen", "Actions"));
    else {
      head.dataset.sort = sort;
      head.append(button("sort", label, () => this.#options.onSort?.(sort)));
    }
    return head;
  }

  #row() {
    const { columns } = this.#options;
    const cells = columns.map(({ name, label }) => {
      const cell = element("td", name);
      cell.setAttribute("role", "gridcell");
      if (label) cell.dataset.label = label;
      return cell;
    });
    const node = element("tr", "", ...cells);
    node.setAttribute("role", "row");
    node.tabIndex = -1;
    return {
      node,
      update: (/** @type {V} */ value) => {
        const made = !this.#values.has(node);
        this.#values.set(node, value);
        columns.forEach(({ show }, index) => show(cells[index], value));
        if (made) for (const inner of node.querySelectorAll("a, button")) inner.setAttribute("tabindex", "-1");
      },
    };
  }
}

/** The buttons for the pages of a list. The server names the next page; the way back is remembered here. */
export class Pager {
  #cursors = [""];
  #starts = [1];
  /** @type {string | null} */ #next = null;
  #shown = 0;
  #text = element("span", "range");
  #moved;

  /** @param {() => void} moved */
  constructor(moved) {
    this.#moved = moved;
    this.back = button("small", "Previous", () => this.move(-1));
    this.forth = button("small", "Next", () => this.move(1));
    this.node = element("div", "pager", this.#text, this.back, this.forth);
    this.node.setAttribute("role", "group");
    this.node.setAttribute("aria-label", "Pages");
    this.show(0, null, null);
  }

  /** The cursor of the page that is shown. */
  get after() {
    return this.#cursors[this.#cursors.length - 1];
  }

  /** The number of the first row that is shown. */
  get first() {
    return this.#starts[this.#starts.length - 1];
  }

  /** Begin at the first page. */
  reset() {
    this.#cursors = [""];
    this.#starts = [1];
  }

  /** @param {number} shown @param {number | null | undefined} total @param {string | null | undefined} next */
  show(shown, total, next) {
    this.#shown = shown;
    this.#next = next ?? null;
    setText(this.#text, rangeWords(this.first, shown, total));
    const alone = this.#cursors.length === 1 && this.#next === null;
    this.back.hidden = this.forth.hidden = alone;
    this.back.disabled = this.#cursors.length === 1;
    this.forth.disabled = this.#next === null;
  }

  /** @param {number} step */
  move(step) {
    if (step > 0 && this.#next !== null) {
      this.#starts.push(this.first + this.#shown);
      this.#cursors.push(this.#next);
    } else if (step < 0 && this.#cursors.length > 1) {
      this.#starts.pop();
      this.#cursors.pop();
    } else return;
    this.#moved();
  }
}
