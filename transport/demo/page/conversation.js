// @ts-check
/** A session as a page: questions with their answers, messages, and events of the application, oldest first. */
import { element, ViewList } from "./dom.js";
import { TurnView } from "./turn.js";
import { brief } from "./values.js";

/**
 * @typedef {import("./store.js").Snapshot} Snapshot
 * @typedef {import("./store.js").Run} Run
 * @typedef {import("./turn.js").Entry} Entry
 * @typedef {{ key: string, seq: number, text: string, className: string }} Note
 * @typedef {{ entry: Entry, runs: (id: string) => Run | undefined }} TurnValue
 * @typedef {TurnValue | Note} Value
 */

export class Conversation {
  #list;

  /** @param {HTMLElement} target @param {import("./turn.js").Actions} actions */
  constructor(target, actions) {
    const make = (/** @type {Value} */ value) =>
      /** @type {import("./dom.js").View<Value>} */ ("entry" in value ? new TurnView(value.entry, actions) : noteView(value));
    this.#list = new ViewList(target, (/** @type {Value} */ value) => ("entry" in value ? value.entry.key : value.key), make);
  }

  /** @param {Snapshot} snapshot */
  update(snapshot) {
    const byId = new Map(snapshot.runs.map((run) => [run.id, run]));
    const runs = (/** @type {string} */ id) => byId.get(id);
    const turns = [...snapshot.timeline, ...snapshot.starts].flatMap((item) => valueOf(item, runs) ?? []);
    this.#list.update([...missing(snapshot), ...turns]);
  }
}

/** Return the command ids of the starts that wait for their turn, oldest first. @param {Snapshot} snapshot */
export function queuedStarts({ starts }) {
  return starts.flatMap(({ command_id, status }) => (status === "queued" ? command_id : []));
}

/**
 * @param {Snapshot["timeline"][number] | Snapshot["starts"][number]} item @param {(id: string) => Run | undefined} runs
 * @returns {Value | undefined}
 */
function valueOf(item, runs) {
  if (!("kind" in item) || item.kind === "refused") {
    const { command_id, status, input, agent } = item;
    const error = "error" in item ? item.error : undefined;
    const shown = status === "sending" ? "pending" : status;
    return { entry: { key: command_id, status: shown, input, agent, known: !("own" in item) || item.own, error }, runs };
  }
  if (item.kind === "message") return { key: `event ${item.seq}`, seq: item.seq, text: item.text, className: "said" };
  if (item.kind === "custom") return { key: `event ${item.seq}`, seq: item.seq, text: `${item.name} ${brief(item.value)}`, className: "note" };
  const run = runs(item.id);
  if (!run) return undefined;
  // The key of a run is that of its start, so that a question keeps its place on the page when its run begins.
  const { id, command_id, status, input, agent, partial } = run;
  return { entry: { key: command_id ?? id, status, input, agent, known: !partial, run }, runs };
}

/** Return a note if the beginning of the conversation is not kept, or is another one now. @param {Snapshot} snapshot @returns {Note[]} */
function missing({ lost, first }) {
  const text =
    lost?.reason === "epoch_changed" || lost?.reason === "ahead"
      ? "The server lost the earlier part of this conversation. It begins anew here."
      : first > 1
        ? "Earlier parts of this conversation are no longer kept."
        : "";
  return text ? [{ key: `missing ${text}`, seq: 0, text, className: "note missing" }] : [];
}

/** @param {Note} note @returns {import("./dom.js").View<Note>} */
function noteView({ className, seq, text }) {
  const node = element("p", className, text);
  node.dataset.seq = String(seq);
  return { node, update() {} };
}
