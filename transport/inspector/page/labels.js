// @ts-check
/** Plain names for the fields of the server's statistics, which the panels of the overview show. Pure. */
import { fieldWords } from "./words.js";

/** The labels of the fields of each panel. @type {Record<string, Record<string, string>>} */
const LABELS = {
  log: {
    engine: "Kind",
    streams: "Sessions with an entry in memory",
    commits: "Commits",
    batches: "Commits, counted for each session",
    events: "Events written",
    reads: "Reads of older events",
    trims: "Removals of old events",
    wal_bytes: "Size of the write-ahead log",
  },
  tool_threads: {
    users: "Users with a tool in a thread",
    running: "Threads at work",
    waiting: "Calls that wait for a thread",
  },
  quotas: {
    users: "Users with an account in memory",
    questions: "Open questions to users",
    waiting: "Events held back, as their user emits too many",
    full: "Users whose part of the log is full",
  },
  endpoint: {
    connections: "Open connections",
    users: "Users with a connection",
    accepted: "Connections accepted",
    refused: "Refused, as there were too many",
    too_fast: "Refused, as they came too fast",
    silent_dropped: "Closed before their request, to make room",
    revoked: "Closed or refused, as the token was revoked",
    flusher_rounds: "Rounds of sending",
    flusher_visits: "Connections sent to, in all rounds",
    waiting_bytes: "Waits to be sent",
    gave_way: "Closed for a newer one of the same user",
    stood_still: "Time for which the event loop was blocked",
    signals_dropped: "Signals dropped for slow clients",
  },
  cluster: {
    node: "Node",
    state: "State",
    until: "Suspended without an answer within",
    deaf: "Hears no other node",
    nodes: "Nodes in the cluster",
    owned: "Users that this node owns",
    mirrors: "Sessions of other nodes followed here",
    watchers: "Sessions of this node followed elsewhere",
    claims: "Users claimed",
    claims_lost: "Claims that another node won",
    fenced: "Users lost while their events were written",
    buried: "Dead nodes removed by this one",
    burials: "Times that this node was removed",
    taken_over: "Users taken over from dead nodes",
    forwarded: "Commands sent to other nodes",
    resent: "Commands sent again",
    unreachable: "Commands given up without an answer",
    pushes: "Messages with events of other nodes",
    gaps: "Messages to this node that may be lost",
    resyncs: "Sessions of other nodes read from the log",
    dropped: "Messages lost before they were sent",
    signals_dropped: "Signals dropped before they were sent",
    restored: "Events written again after a restart of the log",
    epochs_renewed: "Sessions with a new epoch after such a restart",
    flushes: "Commits",
    commands: "Commands sent to the log",
    reconnects: "Connections to the log made again",
    oom: "Commits refused, as the log's memory was full",
  },
};
const REACHED = "reached."; // below it are settings, whose names a person looks up

/**
 * Return the label of a field of a panel. A field of a newer server is shown by its own name.
 *
 * @param {string} panel @param {string} path  names with a point between them
 */
export function labelOf(panel, path) {
  if (panel === "quotas" && path.startsWith(REACHED)) return `Times that ${path.slice(REACHED.length)} was reached`;
  const labels = Object.hasOwn(LABELS, panel) ? LABELS[panel] : {};
  return Object.hasOwn(labels, path) ? labels[path] : fieldWords(path.replace(/_(seconds|bytes)$/, ""));
}
