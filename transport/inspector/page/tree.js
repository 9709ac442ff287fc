// @ts-check
/** The actors of the server as a tree. A branch is asked for when it is unfolded, in pages of 200. */
import { get } from "./api.js";
import { element, Rows, setAttribute, setText } from "./dom.js";
import { moveAmong } from "./moving.js";
import { Pager } from "./table.js";
import { count } from "./words.js";

/**
 * @typedef {object} Actor
 * @property {string} path
 * @property {string} name
 * @property {string} kind
 * @property {string | null} [strategy]
 * @property {string} state
 * @property {number} restarts
 * @property {number | null} mailbox  number of messages in it
 * @property {number} children
 *
 * @typedef {{ children: Actor[], next: string | null, total: number }} Branch
 * @typedef {{ actor?: Actor, pager?: string, depth: number, unfolded: boolean, place: number, among: number }} Line
 *   an actor, or the buttons for the pages of the branch `pager`; `place` counts from 1
 */

const ROOT = "/";
const MOST_UNFOLDED = 8; // with 200 lines each; the one that was unfolded first is folded again

/**
 * Return the lines of the branches that are unfolded. Pure.
 *
 * @param {Actor | null} root @param {Map<string, Branch>} branches @returns {Line[]}
 */
export function treeLines(root, branches) {
  /** @type {Line[]} */
  const lines = [];
  /** @param {Actor} actor @param {number} depth @param {number} place @param {number} among */
  const add = (actor, depth, place, among) => {
    const branch = branches.get(actor.path);
    lines.push({ actor, depth, unfolded: branch !== undefined, place, among });
    if (!branch) return;
    branch.children.forEach((child, index) => {
      if (child.path !== actor.path) add(child, depth + 1, index + 1, branch.children.length);
    });
    if (branch.total <= branch.children.length) return;
    lines.push({ pager: actor.path, depth: depth + 1, unfolded: false, place: 0, among: 0 });
  };
  if (root) add(root, 0, 1, 1);
  return lines;
}

/** Return whether `path` is below `other`. Pure. @param {string} path @param {string} other */
export function isBelow(path, other) {
  return path !== other && path.startsWith(other.endsWith("/") ? other : `${other}/`);
}

export class TreeView {
  title = "Actors";
  /** @type {Map<string, Pager>} in the order in which the branches were unfolded */ #unfolded = new Map();
  /** @type {Map<string, Branch>} */ #branches = new Map();
  /** @type {Actor | null} */ #root = null;
  #begun = false;
  #body = element("tbody");
  #table = element("table", "grid tree", head(), this.#body);
  /** @type {Rows<Line>} */
  #rows = new Rows(this.#body, keyOf, (line) => this.#lineView(line));
  node = element("div", "list", element("div", "table", this.#table));
  list = { move: (/** @type {number} */ step) => moveAmong(this.#body, "tr", step) };

  constructor() {
    this.#table.setAttribute("role", "treegrid");
    this.#table.setAttribute("aria-label", "Actors");
    this.#body.setAttribute("role", "rowgroup");
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    this.#unfold(ROOT);
  }

  /** Called when a branch is unfolded or its page turned. The page sets it. */
  moved = () => {};

  /** @param {Record<string, string>} _params @param {AbortSignal} signal */
  async refresh(_params, signal) {
    const found = await Promise.all([...this.#unfolded].map(([path, pager]) => this.#branch(path, pager, signal)));
    this.#unfoldOnly(found[0][1]);
    for (const [path, branch] of found) {
      if (!this.#unfolded.has(path)) continue; // folded meanwhile
      if (branch) this.#branches.set(path, branch);
      else if (path !== ROOT) this.#fold(path);
    }
    this.#show();
  }

  /**
   * @param {string} path
   *
   * @param {Pager} pager @param {AbortSignal} signal @returns {Promise<[string, Branch | null]>}
   */
  async #branch(path, pager, signal) {
    try {
      const { node, children, next, total } = await get("tree", { path, after: pager.after }, signal);
      if (path === ROOT) this.#root = node;
      pager.show(children.length, total, next);
      return [path, { children, next, total: total ?? children.length }];
    } catch (error) {
      if (path === ROOT || signal.aborted || /** @type {any} */ (error).status !== 404) throw error;
      return [path, null]; // the actor has ended
    }
  }

  #show() {
    this.#rows.update(treeLines(this.#root, this.#branches));
    const rows = [...this.#body.rows];
    if (rows.length && !rows.some((row) => row.tabIndex === 0)) rows[0].tabIndex = 0;
  }

  /** Unfold the only child of the root, once: a root alone tells nothing. @param {Branch | null} branch */
  #unfoldOnly(branch) {
    const [child, ...others] = branch?.children ?? [];
    if (!this.#begun && child?.children && !others.length) {
      this.#unfold(child.path);
      queueMicrotask(() => this.moved());
    }
    this.#begun = true;
  }

  /** @param {string} path */
  #unfold(path) {
    this.#unfolded.set(path, new Pager(() => this.moved()));
    const spare = [...this.#unfolded.keys()].find((other) => other !== ROOT && !isBelow(path, other) && other !== path);
    if (this.#unfolded.size > MOST_UNFOLDED && spare) this.#fold(spare);
  }

  /** @param {string} path */
  #fold(path) {
    for (const other of [...this.#unfolded.keys()]) {
      if (other !== path && !isBelow(other, path)) continue;
      this.#unfolded.delete(other);
      this.#branches.delete(other);
    }
  }

  /** @param {Actor} actor */
  #toggle(actor) {
    if (this.#unfolded.has(actor.path)) {
      this.#fold(actor.path);
      this.#show();
    } else if (actor.children) {
      this.#unfold(actor.path);
      this.moved();
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest("tr");
    const actor = row && this.#actors.get(row);
    if (!row || !actor || event.target !== row || event.ctrlKey || event.altKey || event.metaKey) return;
    const unfolded = this.#unfolded.has(actor.path);
    if (event.key === "Enter" || event.key === " ") this.#toggle(actor);
    else if (event.key === "ArrowRight") unfolded ? this.list.move(1) : this.#toggle(actor);
    else if (event.key === "ArrowLeft" && unfolded && actor.path !== ROOT) this.#toggle(actor);
    else if (event.key === "ArrowLeft") this.#toParent(row);
    else return;
    event.preventDefault();
  }
  /** @type {WeakMap<Element, Actor>} */ #actors = new WeakMap();

  /** @param {Element} row */
  #toParent(row) {
    const level = Number(row.getAttribute("aria-level"));
    let before = row.previousElementSibling;
    while (before && Number(before.getAttribute("aria-level")) >= level) before = before.previousElementSibling;
    if (before instanceof HTMLElement) before.focus();
  }

  /** @param {Line} line */
  #lineView({ pager }) {
    if (pager !== undefined) return pagerView(/** @type {Pager} */ (this.#unfolded.get(pager)));
    const mark = element("span", "fold");
    const name = element("span", "actor");
    const cells = ["", "kind", "state", "number", "number", "number"].map((kind) => element("td", kind));
    const node = element("tr", "", ...cells);
    mark.setAttribute("aria-hidden", "true");
    cells[0].className = "name";
    cells[0].append(mark, name);
    cells.forEach((cell, index) => {
      cell.setAttribute("role", "gridcell");
      cell.dataset.label = HEADS[index];
    });
    node.setAttribute("role", "row");
    node.tabIndex = -1;
    node.addEventListener("focus", () => {
      for (const other of this.#body.querySelectorAll('tr[tabindex="0"]')) other.setAttribute("tabindex", "-1");
      node.tabIndex = 0;
    });
    node.addEventListener("click", () => {
      node.focus();
      this.#toggle(/** @type {Actor} */ (this.#actors.get(node)));
    });
    return { node, update: (/** @type {Line} */ line) => this.#update(node, cells, line) };
  }

  /** @param {HTMLElement} node @param {HTMLElement[]} cells @param {Line} line */
  #update(node, cells, { actor, depth, unfolded, place, among }) {
    if (!actor) return;
    this.#actors.set(node, actor);
    const [mark, name] = cells[0].children;
    setText(mark, actor.children ? (unfolded ? "▾" : "▸") : "");
    setText(name, actor.name || actor.path);
    cells[0].title = actor.path;
    cells[0].dataset.depth = String(Math.min(depth, 8));
    setText(cells[1], actor.strategy ? `${actor.kind} · ${actor.strategy}` : actor.kind);
    setText(cells[2], actor.state);
    [actor.restarts, actor.mailbox, actor.children].forEach((number, index) => {
      setText(cells[index + 3], number ? count(number) : "");
      cells[index + 3].classList.toggle("many", index === 0 && number !== null && number > 0);
    });
    const position = { level: depth + 1, posinset: place, setsize: among };
    for (const [key, value] of Object.entries(position)) setAttribute(node, `aria-${key}`, value);
    setAttribute(node, "aria-expanded", actor.children ? String(unfolded) : null);
  }
}

/** @param {Line} line */
function keyOf({ actor, pager }) {
  return actor ? `actor ${actor.path}` : `pager ${pager}`;
}

const HEADS = ["Actor", "Kind", "State", "Restarts", "Mailbox", "Children"];

function head() {
  const cells = HEADS.map((label, index) => {
    const cell = element("th", ["name", "kind", "state"][index] ?? "number", label);
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
    return cell;
  });
  const row = element("tr", "", ...cells);
  row.setAttribute("role", "row");
  const group = element("thead", "", row);
  group.setAttribute("role", "rowgroup");
  return group;
}

/** @param {Pager} pager */
function pagerView(pager) {
  const cell = element("td", "", pager.node);
  cell.colSpan = HEADS.length;
  cell.setAttribute("role", "gridcell");
  const node = element("tr", "pages", cell);
  node.setAttribute("role", "row");
  return { node, update() {} };
}
