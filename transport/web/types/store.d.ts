/**
 * Return the snapshot after `change`: `snapshot` itself if nothing changed.
 *
 * @param {Snapshot} snapshot @param {Change} change @returns {Snapshot}
 */
export function reduce(snapshot: Snapshot, change: Change): Snapshot;
/**
 * Return the snapshot after all `changes`. The result is the same as with `reduce` for each. It is faster: each part is
 * copied once for all changes, and not once for each.
 *
 * @param {Snapshot} snapshot @param {Iterable<Change>} changes @returns {Snapshot}
 */
export function reduceAll(snapshot: Snapshot, changes: Iterable<Change>): Snapshot;
/** Return the run with this id, or undefined. @param {Snapshot} snapshot @param {string} id @returns {Run | undefined} */
export function runOf({ runs }: Snapshot, id: string): Run | undefined;
/** Return the runs that a person started and that are open, oldest first. @param {Snapshot} snapshot */
export function openRuns({ runs }: Snapshot): Run[];
/**
 * Return the questions that wait for the user's answer, oldest first. Answer with `answer(question.run, question.id, value)`.
 *
 * @param {Snapshot} snapshot @returns {Question[]}
 */
export function openQuestions({ runs }: Snapshot): Question[];
/**
 * Connect to a session, and keep its snapshot until `close()`. The arguments are those of `connect` of greenroom.js.
 *
 * @param {string | URL} url @param {import("./greenroom.js").Options} options
 */
export function sessionStore(url: string | URL, options: import("./greenroom.js").Options): SessionStore;
/**
 * @typedef {import("./greenroom.js").Event} Event
 * @typedef {import("./greenroom.js").JSONValue} JSONValue
 * @typedef {import("./greenroom.js").State} State
 *
 * @typedef {"running" | "ok" | "error" | "timeout" | "cancelled" | "interrupted" | string} Status
 * @typedef {{ code: string, message: string }} Failure
 *
 * @typedef {{ kind: "output", seq: number, text: string }} Output  consecutive pieces, joined
 * @typedef {{ kind: "thinking", seq: number, ts: number, text: string }} Thinking
 * @typedef {{ kind: "tool", seq: number, run: string, id: string, tool: string, arguments: any, status: Status,
 *   started: number, ended: number | null, duration_ms: number | null, result: any, error: Failure | null }} Tool
 * @typedef {{ kind: "question", seq: number, run: string, id: string, prompt: string, schema: any,
 *   status: "open" | "answered" | "withdrawn", asked: number, value: any, by: string | null, reason: string | null }} Question
 *   `reason`: `timeout` or `cancelled`, or the status of the run, whose end withdraws its questions
 * @typedef {{ kind: "run", seq: number, id: string }} RunItem  a run that begins here; its state is in `runs`
 * @typedef {{ kind: "custom", seq: number, ts: number, name: string, value: any }} Custom
 * @typedef {Output | Thinking | Tool | Question | RunItem | Custom} Item
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {string | null} parent      the id of the run that called this one; null for a run that a person started
 * @property {string} agent              "" while it is not known (only with `partial`)
 * @property {any} input
 * @property {string | null} command_id  of the command that started it
 * @property {boolean} partial           its first events are no longer kept
 * @property {Status} status
 * @property {number} seq                of its first event
 * @property {number} last               seq of its last event so far
 * @property {number} started            in ms since 1970, as `ended`
 * @property {number | null} ended
 * @property {number | null} duration_ms
 * @property {string} text               all its output
 * @property {Item[]} items              what it did, in the order of the log
 * @property {any} result
 * @property {Failure | null} error
 * @property {any} usage
 *
 * @typedef {{ command_id: string, agent: string, input: any, own: boolean, status: "sending" | "queued" }} Start
 *   a start without a run. `own`: of this store, so its input is known. `queued`: the server has it, and it waits for its turn
 * @typedef {{ kind: "message", seq: number, ts: number, text: string }} Message
 * @typedef {{ kind: "refused", command_id: string, agent: string, input: any, status: "refused" | "cancelled", error: Failure }} Refused
 *   a start of this store that did not become a run
 *
 * @typedef {object} Connection
 * @property {State} state
 * @property {number | null} retryAt  when the next attempt begins, in ms since 1970; null unless `waiting`
 * @property {number} attempt         failed attempts in a row
 * @property {number | null} code     close code of the newest failure; null while live
 * @property {string} reason          of that failure
 * @property {boolean} wasLive        whether there ever was a welcome
 * @property {string} id              the server's name for the newest connection
 *
 * @typedef {object} Snapshot
 * @property {string} epoch           with `seq` the position, for `resume`; "" before the first welcome
 * @property {number} seq             of the newest event that was applied, 0 before the first one
 * @property {number} first           seq of the first event that was applied; above 1 if earlier ones are not kept
 * @property {{ reason: string, seq: number } | null} lost  the newest reset, and the `seq` before it
 * @property {Run[]} runs             all runs in the order of their starts, sub-agents too
 * @property {(RunItem | Message | Custom | Refused)[]} timeline  what the session consists of, oldest first
 * @property {Start[]} starts         starts that have no run yet, oldest first
 * @property {{ by: string, id: string }[]} typing  who is typing, without this connection
 * @property {Connection} connection
 *
 * @typedef {Event | { type: string, [field: string]: any }} Change
 *   an event, a reset or a welcome as the client delivers it, or
 *   `{ type: "state", …StateChange }`, `{ type: "signal", name, data }`,
 *   `{ type: "start", command_id, agent, input }`, `{ type: "start_failed", command_id, code, message }`
 */
/** The snapshot before the first event. @type {Snapshot} */
export const EMPTY: Snapshot;
/** A client and the snapshot of its session. `sessionStore` makes it. */
export class SessionStore {
    /** @param {import("./greenroom.js").Client} client  one that no other code listens to yet, so that no event is missed */
    constructor(client: import("./greenroom.js").Client);
    /** The client: for its `cancel`, `answer`, `send`, `typing`, `reconnect`, and for signals of the application. */
    client: import("./greenroom.js").Client;
    /** Return the newest snapshot. */
    getSnapshot: () => Snapshot;
    /**
     * Call `listener` with the snapshot now, and after changes: at most once for each frame that the browser shows. Return a
     * function that ends this. An exception of a listener is reported, and harms no other.
     *
     * @param {(snapshot: Snapshot) => void} listener @returns {() => void}
     */
    subscribe: (listener: (snapshot: Snapshot) => void) => () => void;
    /**
     * Start a run, as `client.start` does. Until its run or its refusal comes, the snapshot has it in `starts`.
     *
     * @param {string} agent @param {JSONValue} input
     * @param {Parameters<import("./greenroom.js").Client["start"]>[2]} [options] @returns {Promise<string>}
     */
    start(agent: string, input: JSONValue, { commandId, ...options }?: Parameters<import("./greenroom.js").Client["start"]>[2]): Promise<string>;
    /** Detach for good, as `client.close` does. The snapshot stays. */
    close(): void;
    #private;
}
export type Event = import("./greenroom.js").Event;
export type JSONValue = import("./greenroom.js").JSONValue;
export type State = import("./greenroom.js").State;
export type Status = "running" | "ok" | "error" | "timeout" | "cancelled" | "interrupted" | string;
export type Failure = {
    code: string;
    message: string;
};
/**
 * consecutive pieces, joined
 */
export type Output = {
    kind: "output";
    seq: number;
    text: string;
};
export type Thinking = {
    kind: "thinking";
    seq: number;
    ts: number;
    text: string;
};
export type Tool = {
    kind: "tool";
    seq: number;
    run: string;
    id: string;
    tool: string;
    arguments: any;
    status: Status;
    started: number;
    ended: number | null;
    duration_ms: number | null;
    result: any;
    error: Failure | null;
};
/**
 * `reason`: `timeout` or `cancelled`, or the status of the run, whose end withdraws its questions
 */
export type Question = {
    kind: "question";
    seq: number;
    run: string;
    id: string;
    prompt: string;
    schema: any;
    status: "open" | "answered" | "withdrawn";
    asked: number;
    value: any;
    by: string | null;
    reason: string | null;
};
/**
 * a run that begins here; its state is in `runs`
 */
export type RunItem = {
    kind: "run";
    seq: number;
    id: string;
};
export type Custom = {
    kind: "custom";
    seq: number;
    ts: number;
    name: string;
    value: any;
};
export type Item = Output | Thinking | Tool | Question | RunItem | Custom;
export type Run = {
    id: string;
    /**
     * the id of the run that called this one; null for a run that a person started
     */
    parent: string | null;
    /**
     * "" while it is not known (only with `partial`)
     */
    agent: string;
    input: any;
    /**
     * of the command that started it
     */
    command_id: string | null;
    /**
     * its first events are no longer kept
     */
    partial: boolean;
    status: Status;
    /**
     * of its first event
     */
    seq: number;
    /**
     * seq of its last event so far
     */
    last: number;
    /**
     * in ms since 1970, as `ended`
     */
    started: number;
    ended: number | null;
    duration_ms: number | null;
    /**
     * all its output
     */
    text: string;
    /**
     * what it did, in the order of the log
     */
    items: Item[];
    result: any;
    error: Failure | null;
    usage: any;
};
/**
 * a start without a run. `own`: of this store, so its input is known. `queued`: the server has it, and it waits for its turn
 */
export type Start = {
    command_id: string;
    agent: string;
    input: any;
    own: boolean;
    status: "sending" | "queued";
};
export type Message = {
    kind: "message";
    seq: number;
    ts: number;
    text: string;
};
/**
 * a start of this store that did not become a run
 */
export type Refused = {
    kind: "refused";
    command_id: string;
    agent: string;
    input: any;
    status: "refused" | "cancelled";
    error: Failure;
};
export type Connection = {
    state: State;
    /**
     * when the next attempt begins, in ms since 1970; null unless `waiting`
     */
    retryAt: number | null;
    /**
     * failed attempts in a row
     */
    attempt: number;
    /**
     * close code of the newest failure; null while live
     */
    code: number | null;
    /**
     * of that failure
     */
    reason: string;
    /**
     * whether there ever was a welcome
     */
    wasLive: boolean;
    /**
     * the server's name for the newest connection
     */
    id: string;
};
export type Snapshot = {
    /**
     * with `seq` the position, for `resume`; "" before the first welcome
     */
    epoch: string;
    /**
     * of the newest event that was applied, 0 before the first one
     */
    seq: number;
    /**
     * seq of the first event that was applied; above 1 if earlier ones are not kept
     */
    first: number;
    /**
     * the newest reset, and the `seq` before it
     */
    lost: {
        reason: string;
        seq: number;
    } | null;
    /**
     * all runs in the order of their starts, sub-agents too
     */
    runs: Run[];
    /**
     * what the session consists of, oldest first
     */
    timeline: (RunItem | Message | Custom | Refused)[];
    /**
     * starts that have no run yet, oldest first
     */
    starts: Start[];
    /**
     * who is typing, without this connection
     */
    typing: {
        by: string;
        id: string;
    }[];
    connection: Connection;
};
/**
 * an event, a reset or a welcome as the client delivers it, or
 * `{ type: "state", …StateChange }`, `{ type: "signal", name, data }`,
 * `{ type: "start", command_id, agent, input }`, `{ type: "start_failed", command_id, code, message }`
 */
export type Change = Event | {
    type: string;
    [field: string]: any;
};
