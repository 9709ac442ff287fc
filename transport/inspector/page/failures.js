// @ts-check
/** The newest failures, each with its reference and its folded traceback. */
import { get } from "./api.js";
import { copyButton } from "./asking.js";
import { choice, element, filterForm, labelled, Rows, setText, textField } from "./dom.js";
import { moveAmong } from "./moving.js";
import { routeTo, sessionRoute } from "./routes.js";
import { clock, count } from "./words.js";

/** @typedef {Record<string, any>} Failure  one of the answer of api/failures */

const KINDS = ["actor", "agent", "command", "connection", "http"];

/** Return whether a failure has a text in one of its fields. Pure. @param {Failure} failure @param {string} wanted */
export function fits(failure, wanted) {
  const fields = ["reference", "kind", "what", "user", "session", "run", "connection", "path", "message"];
  const part = wanted.toLowerCase();
  return fields.some((name) => String(failure[name] ?? "").toLowerCase().includes(part));
}

export class FailuresView {
  title = "Failures";
  /** @type {Failure[]} */ #known = [];
  #total = 0;
  #now = 0;
  #wanted = textField();
  #kind = choice([["", "Any"], ...KINDS.map((kind) => /** @type {[string, string]} */ ([kind, kind]))]);
  #stack = element("ul", "stack failures");
  #empty = element("p", "empty");
  #range = element("span", "range");
  /** @type {Rows<Failure>} */
  #rows = new Rows(this.#stack, keyOf, (failure) => failureView(failure, this.#now));
  filter = filterForm("Filter of the failures", labelled("Text or reference", this.#wanted), labelled("Kind", this.#kind));
  node = element("div", "list", element("div", "tools", this.filter, this.#range), this.#stack, this.#empty);
  list = { move: (/** @type {number} */ step) => moveAmong(this.#stack, "summary", step) };

  constructor() {
    this.#stack.setAttribute("aria-label", "Failures, newest first");
    this.filter.addEventListener("input", () => {
      location.replace(routeTo("failures", { text: this.#wanted.value.trim(), kind: this.#kind.value }));
    });
  }

  /** @param {Record<string, string>} params @param {AbortSignal} signal @param {number} now */
  async refresh(params, signal, now) {
    if (document.activeElement !== this.#wanted) this.#wanted.value = params.text ?? "";
    if (document.activeElement !== this.#kind) this.#kind.value = params.kind ?? "";
    const { failures, total } = await get("failures", {}, signal);
    this.#known = failures;
    this.#total = total ?? failures.length;
    this.#now = now;
    this.#show(params);
  }

  /** @param {Record<string, string>} params */
  #show({ text = "", kind = "" }) {
    const shown = this.#known.filter((failure) => (!kind || failure.kind === kind) && fits(failure, text));
    this.#rows.update(shown);
    this.#empty.hidden = shown.length > 0;
    setText(this.#empty, this.#known.length ? "No failure fits the filter." : "Nothing has failed since the start.");
    setText(this.#range, shown.length ? `${count(shown.length)} of ${count(this.#total)}` : "");
  }
}

/** @param {Failure} failure */
function keyOf({ at, reference, what, message }) {
  return `${at} ${reference} ${what} ${message}`;
}

/** A failure never changes: it is shown once. @param {Failure} failure @param {number} now */
function failureView(failure, now) {
  const { reference, at, kind, what, message, traceback } = failure;
  const time = element("time", "", clock(at, now));
  time.dateTime = new Date(at * 1_000).toISOString();
  const about = [
    element("span", `kind ${kind}`, kind),
    element("span", "what", what ?? ""),
    element("span", "message", message ?? ""),
  ];
  const summary = element("summary", "", time, ...about);
  const facts = element("div", "facts-line");
  if (reference) {
    const copy = copyButton(`Copy reference ${reference}`, () => reference);
    facts.append(element("span", "fact", "Reference ", element("code", "", reference), copy));
  }
  if (failure.user && failure.session) {
    const run = failure.run ? ` · run ${failure.run}` : "";
    const link = element("a", "", `${failure.user} · ${failure.session}${run}`);
    link.href = sessionRoute(failure);
    facts.append(element("span", "fact", failure.run ? "Run " : "Session ", link));
  }
  if (failure.connection) facts.append(element("span", "fact", "Connection ", element("code", "", failure.connection)));
  if (failure.path) {
    const life = element("span", "", `, incarnation ${failure.incarnation}`);
    facts.append(element("span", "fact", "Actor ", element("code", "", failure.path), life));
  }
  const body = element("div", "body", facts);
  if (message) body.append(element("p", "whole", message));
  if (traceback) {
    const pre = element("pre", "", traceback);
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", "Traceback");
    const copy = copyButton("Copy the traceback", () => traceback);
    body.append(element("div", "pre-bar", element("span", "", "Traceback"), copy), pre);
  }
  return { node: element("li", "", element("details", "", summary, body)), update() {} };
}
