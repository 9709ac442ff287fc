// @ts-check
/**
 * Markdown as DOM nodes: headings, paragraphs, lists, tables, quotes, fenced code, `code`, **strong**, *emphasis*, links to
 * http(s). Other syntax stays text. No part of the input becomes HTML.
 */
import { copyButton } from "./copying.js";
import { element } from "./dom.js";
import { highlight } from "./highlight.js";

/**
 * @typedef {"" | "center" | "right"} Align
 * @typedef {{ kind: "heading", level: number, text: string } | { kind: "code", language: string, text: string } |
 *   { kind: "list", ordered: boolean, items: string[] } | { kind: "quote" | "paragraph", text: string } |
 *   { kind: "table", align: Align[], head: string[], rows: string[][] } | { kind: "rule" }} Block
 */

const FENCE = /^(`{3,}|~{3,})\s*([\w+-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^(?:-{3,}|\*{3,}|_{3,})\s*$/;
const DELIMITER = /^(:?)-+(:?)$/;
const INLINE =
  /(`+)(?<code>[^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?<strong>\S(?:[^*]*\S)?)\*\*|\*(?<em>[^\s*](?:[^*]*[^\s*])?)\*|\[(?<label>[^\]\n]+)\]\((?<href>https?:\/\/[^\s)]+)\)/g;

/**
 * Return the blocks of a text. An open fence runs to the end, so that code is shown while it is streamed.
 *
 * @param {string} text
 * @returns {Block[]}
 */
export function parse(text) {
  const lines = text.split("\n");
  /** @type {Block[]} */
  const blocks = [];
  while (lines.length) {
    const block = takeBlock(lines);
    if (block) blocks.push(block);
  }
  return blocks;
}

/** @param {string[]} lines @returns {Block | undefined} */
function takeBlock(lines) {
  const line = lines.shift() ?? "";
  const fence = FENCE.exec(line);
  if (fence) return { kind: "code", language: fence[2], text: takeFenced(lines, fence[1]).join("\n") };
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2] };
  if (RULE.test(line)) return { kind: "rule" };
  const item = ITEM.exec(line);
  if (item) return takeList(lines, item);
  if (!line.trim()) return undefined;
  if (line.startsWith(">")) {
    const quoted = [line, ...takeWhile(lines, (next) => next.startsWith(">"))];
    return { kind: "quote", text: quoted.map((each) => each.replace(/^>\s?/, "")).join(" ") };
  }
  const align = alignment(line, lines[0]);
  if (align) return takeTable(lines, line, align);
  return { kind: "paragraph", text: [line, ...takeWhile(lines, (next, i) => isProse(next) && !alignment(next, lines[i + 1]))].join("\n") };
}

/** @param {string[]} lines @param {string} fence */
function takeFenced(lines, fence) {
  const body = takeWhile(lines, (line) => !(line.startsWith(fence) && !line.slice(fence.length).trim()));
  lines.shift();
  return body;
}

/** @param {string[]} lines @param {RegExpExecArray} first @returns {Block} */
function takeList(lines, first) {
  const items = [first[2]];
  const ordered = first[1] !== undefined;
  for (;;) {
    const next = ITEM.exec(lines[0] ?? "");
    if (next && (next[1] !== undefined) === ordered) items.push(next[2]);
    else if (/^\s+\S/.test(lines[0] ?? "")) items.push(`${items.pop()} ${lines[0].trim()}`);
    else return { kind: "list", ordered, items };
    lines.shift();
  }
}

/**
 * Return the alignment of each column if `line` and `next` begin a table: `next` has dashes, as many times as `line` has cells.
 *
 * @param {string} line @param {string | undefined} next @returns {Align[] | undefined}
 */
function alignment(line, next) {
  if (!line.includes("|") || !next?.includes("-") || !(next.includes("|") || next.includes(":"))) return undefined;
  const marks = cells(next).map((cell) => DELIMITER.exec(cell));
  if (marks.length !== cells(line).length || !marks.every(Boolean)) return undefined;
  return marks.map((mark) => (mark?.[2] ? (mark[1] ? "center" : "right") : ""));
}

/** @param {string[]} lines @param {string} first @param {Align[]} align @returns {Block} */
function takeTable(lines, first, align) {
  lines.shift();
  const rows = takeWhile(lines, (line) => line.includes("|")).map(cells);
  const head = cells(first);
  return { kind: "table", align, head, rows: rows.map((row) => head.map((_, column) => row[column] ?? "")) };
}

/** Return the cells of a line of a table. A pipe after a backslash is text. @param {string} line */
function cells(line) {
  const trimmed = line.trim();
  const parts = [""];
  for (let i = trimmed[0] === "|" ? 1 : 0; i < trimmed.length; i++) {
    if (trimmed[i] === "\\" && trimmed[i + 1] === "|") parts[parts.length - 1] += trimmed[++i];
    else if (trimmed[i] === "|") parts.push("");
    else parts[parts.length - 1] += trimmed[i];
  }
  if (parts.length > 1 && !parts.at(-1)) parts.pop();
  return parts.map((part) => part.trim());
}

/** @param {string[]} lines @param {(line: string, place: number) => boolean} test */
function takeWhile(lines, test) {
  const end = lines.findIndex((line, place) => !test(line, place));
  return lines.splice(0, end < 0 ? lines.length : end);
}

/** @param {string} line */
function isProse(line) {
  return line.trim() !== "" && ![FENCE, HEADING, ITEM, RULE].some((start) => start.test(line)) && !line.startsWith(">");
}

/** A view of a growing text. Blocks that did not change are not rendered again, so a selection in them stays. */
export class MarkdownView {
  /** @type {string[]} */ #shown = [];
  #text = "";
  #target;

  /** @param {HTMLElement} target */
  constructor(target) {
    this.#target = target;
  }

  /** @param {string} text */
  show(text) {
    if (text === this.#text) return;
    this.#text = text;
    const blocks = parse(text);
    blocks.forEach((block, place) => {
      const key = JSON.stringify(block);
      if (this.#shown[place] === key) return;
      this.#put(block, place);
      this.#shown[place] = key;
    });
    while (this.#target.children.length > blocks.length) this.#target.lastElementChild?.remove();
    this.#shown.length = blocks.length;
  }

  /** @param {Block} block @param {number} place */
  #put(block, place) {
    const old = /** @type {HTMLElement | undefined} */ (this.#target.children[place]);
    // Code that grows keeps its element: the button to copy it stays where the pointer is, and the code stays scrolled.
    const code = block.kind === "code" && old?.dataset.language === block.language && old.querySelector("code");
    if (code) return code.replaceChildren(...highlight(block.text, block.language));
    const node = render(block);
    if (old) old.replaceWith(node);
    else this.#target.append(node);
  }
}

/** @param {Block} block @returns {HTMLElement} */
function render(block) {
  switch (block.kind) {
    case "heading": // the page's own headings are h1 and h2
      return element(/** @type {"h3"} */ (`h${Math.min(6, block.level + 1)}`), "", ...inline(block.text));
    case "code":
      return renderCode(block.text, block.language);
    case "list":
      return element(block.ordered ? "ol" : "ul", "", ...block.items.map((item) => element("li", "", ...inline(item))));
    case "table":
      return renderTable(block);
    case "quote":
      return element("blockquote", "", ...inline(block.text));
    case "rule":
      return element("hr");
    default:
      return element("p", "", ...inline(block.text));
  }
}

/** @param {string} text @param {string} language */
function renderCode(text, language) {
  const code = element("code", "", ...highlight(text, language));
  const pre = element("pre", "", code);
  pre.tabIndex = 0; // a block that scrolls sideways must be reachable by keyboard
  const copy = copyButton("Copy code", () => code.textContent ?? "");
  const block = element("div", "code", element("div", "code-bar", element("span", "language", nameOf(language)), copy), pre);
  block.dataset.language = language;
  return block;
}

/** @param {string} language */
function nameOf(language) {
  return language === "pycon" ? "Python session" : language === "python" || language === "py" ? "Python" : language || "Code";
}

/** @param {Extract<Block, { kind: "table" }>} block */
function renderTable({ align, head, rows }) {
  const cell = (/** @type {"th" | "td"} */ kind) => (/** @type {string} */ text, /** @type {number} */ column) =>
    element(kind, align[column], ...inline(text));
  const lines = rows.map((row) => element("tr", "", ...row.map(cell("td"))));
  const table = element("table", "", element("thead", "", element("tr", "", ...head.map(cell("th")))), element("tbody", "", ...lines));
  const scroller = element("div", "table", table);
  scroller.tabIndex = 0; // as for code
  scroller.setAttribute("role", "group");
  scroller.setAttribute("aria-label", "Table");
  return scroller;
}

/** @param {string} text @returns {(Node | string)[]} */
function inline(text) {
  /** @type {(Node | string)[]} */
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index), renderInline(match.groups ?? {}));
    end = match.index + match[0].length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

/** @param {Record<string, string>} found */
function renderInline({ code, strong, em, label, href }) {
  if (code !== undefined) return element("code", "", code);
  if (strong !== undefined) return element("strong", "", ...inline(strong));
  if (em !== undefined) return element("em", "", ...inline(em));
  const link = element("a", "", label);
  link.href = href;
  link.rel = "noopener noreferrer";
  return link;
}
