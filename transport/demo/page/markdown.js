// @ts-check
/**
 * Markdown as DOM nodes: headings, paragraphs, lists, quotes, fenced code, `code`, **strong**, *emphasis*, links to
 * http(s). Other syntax stays text. No part of the input becomes HTML.
 */
import { element } from "./dom.js";
import { highlight } from "./highlight.js";

/**
 * @typedef {{ kind: "heading", level: number, text: string } | { kind: "code", language: string, text: string } |
 *   { kind: "list", ordered: boolean, items: string[] } | { kind: "quote" | "paragraph", text: string } |
 *   { kind: "rule" }} Block
 */

const FENCE = /^(`{3,}|~{3,})\s*([\w+-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^(?:-{3,}|\*{3,}|_{3,})\s*$/;
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
  return { kind: "paragraph", text: [line, ...takeWhile(lines, isProse)].join("\n") };
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

/** @param {string[]} lines @param {(line: string) => boolean} test */
function takeWhile(lines, test) {
  const end = lines.findIndex((line) => !test(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

/** @param {string} line */
function isProse(line) {
  return line.trim() !== "" && ![FENCE, HEADING, ITEM, RULE].some((start) => start.test(line)) && !line.startsWith(">");
}

/** A view of a growing text. Blocks that did not change are not rendered again, so a selection in them stays. */
export class MarkdownView {
  /** @type {string[]} */ #shown = [];

  /** @param {HTMLElement} target */
  constructor(target) {
    this.target = target;
  }

  /** @param {string} text */
  show(text) {
    const blocks = parse(text);
    blocks.forEach((block, place) => {
      const key = JSON.stringify(block);
      if (this.#shown[place] === key) return;
      const node = render(block);
      const old = this.target.children[place];
      if (old) old.replaceWith(node);
      else this.target.append(node);
      this.#shown[place] = key;
    });
    while (this.target.children.length > blocks.length) this.target.lastElementChild?.remove();
    this.#shown.length = blocks.length;
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
  const pre = element("pre", "", element("code", "", ...highlight(text, language)));
  if (language) pre.dataset.language = language;
  pre.tabIndex = 0; // a block that scrolls sideways must be reachable by keyboard
  return pre;
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
