// @ts-check
/** Colours for Python, by one regular expression: not exact, but readable. */
import { element } from "./dom.js";

const KEYWORDS = new Set(
  ("False None True and as assert async await break case class continue def del elif else except finally for from global " +
    "if import in is lambda match nonlocal not or pass raise return try while with yield").split(" "),
);
const TOKEN = new RegExp(
  [
    /(?<comment>#.*)/,
    /(?<string>\b[rbfuRBFU]{0,2}(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
    /(?<string2>(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
    /(?<decorator>^[ \t]*@[\w.]+)/,
    /(?<number>\b\d[\w.]*)/,
    /(?<word>[A-Za-z_]\w*)/,
  ].map((part) => part.source).join("|"),
  "gm",
);

/**
 * Return `code` as nodes. In `pycon` (an interactive session) only the text after a prompt is code.
 *
 * @param {string} code @param {string} language
 * @returns {(Node | string)[]}
 */
export function highlight(code, language) {
  if (language === "pycon") return code.split(/(?<=\n)/).flatMap(sessionLine);
  return language === "python" || language === "py" ? python(code) : [code];
}

/** @param {string} line @returns {(Node | string)[]} */
function sessionLine(line) {
  const prompt = /^(?:>>>|\.\.\.)(?: |$)/.exec(line)?.[0];
  if (prompt === undefined) return [element("span", "h-out", line)];
  return [element("span", "h-prompt", prompt), ...python(line.slice(prompt.length))];
}

/** @param {string} code @returns {(Node | string)[]} */
function python(code) {
  /** @type {(Node | string)[]} */
  const nodes = [];
  let end = 0;
  let before = "";
  for (const match of code.matchAll(TOKEN)) {
    if (match.index > end) nodes.push(code.slice(end, match.index));
    const [text] = match;
    const kind = kindOf(match, before);
    nodes.push(kind ? element("span", `h-${kind}`, text) : text);
    end = match.index + text.length;
    before = text;
  }
  nodes.push(code.slice(end));
  return nodes;
}

/** @param {RegExpMatchArray} match @param {string} before @returns {string} */
function kindOf(match, before) {
  const groups = match.groups ?? {};
  if (groups.word) return before === "def" || before === "class" ? "name" : KEYWORDS.has(groups.word) ? "keyword" : "";
  if (groups.string2) return "string";
  return Object.keys(groups).find((name) => groups[name] !== undefined) ?? "";
}
