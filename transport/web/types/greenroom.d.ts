/**
 * Attach to a session, and stay attached until `close()`, or until the server tells the client not to come back.
 *
 * Returns at once, with a client that is `connecting`. Throws TypeError for an argument that no server accepts.
 *
 * @param {string | URL} url  ws: or wss:, or relative to the page, such as "/ws"
 * @param {Options} options
 */
export function connect(url: string | URL, options: Options): Client;
/**
 * Return true if a client comes back after this close code: the connection failed, and not the conversation.
 *
 * @param {number} code
 */
export function comesBack(code: number): boolean;
/**
 * Return the delay in ms before attempt number `attempt` (0 is the first): random between 0 and a bound that doubles
 * ("full jitter"), so that clients that lost their server together do not come back together.
 *
 * @param {number} attempt
 */
export function backoff(attempt: number): number;
/**
 * A client of one session. `connect` makes it.
 *
 * It dispatches these CustomEvents, with the value in `detail`: "event", "reset", "signal", "welcome", "state", "closed"
 * (once, the last one), and "refused" (a frame was refused, and the connection goes on).
 */
export class Client extends EventTarget {
    /** @param {URL} url @param {Options} options */
    constructor(url: URL, options: Options);
    /** State of the connection: `connecting`, `live`, `waiting` (for the next attempt) or `closed` (for good). */
    get state(): State;
    /** What the connection is: `websocket`, `sse` or `poll`; undefined while there is none. */
    get transport(): any;
    /** When the next attempt begins, in ms since 1970 by this machine's clock; undefined unless `waiting`. */
    get retryAt(): number | undefined;
    /** Position of the newest event received, for a later `connect(…, { resume })`; undefined before the first welcome. */
    get position(): {
        epoch: string;
        seq: number;
    } | undefined;
    /** The session's starts that wait for their turn, oldest first. The signals named `queued` keep it up to date. */
    get queued(): QueuedStart[];
    /**
     * Start a run. Resolves with its id when its start is committed. Waits while there is no connection.
     *
     * `commandId` comes back in the run's `agent_started`, as `data.command_id`, so that a page which shows the request
     * before the reply can find it again. `traceparent` names the page's trace, as W3C Trace Context writes it: a server that
     * traces its runs links the run to it.
     *
     * @param {string} agent @param {JSONValue} input @param {{ commandId?: string, traceparent?: string }} [options]
     * @returns {Promise<string>}
     */
    start(agent: string, input: JSONValue, { commandId, traceparent }?: {
        commandId?: string;
        traceparent?: string;
    }): Promise<string>;
    /**
     * Ask a run to stop, by its id or by the id of the command that started it. Resolves with false if the run is unknown
     * or over. A start that waits for its turn has only its command's id; the start rejects with `cancelled` then.
     *
     * @param {string | { commandId: string }} run @returns {Promise<boolean>}
     */
    cancel(run: string | {
        commandId: string;
    }): Promise<boolean>;
    /**
     * Answer an agent's question (`input_requested`). Rejects with `not_waiting` if it was answered or withdrawn
     * (`input_withdrawn`), and with `unknown_run` after the end of its run, which ends its questions too.
     *
     * @param {string} runId @param {string} callId @param {JSONValue} value
     */
    answer(runId: string, callId: string, value: JSONValue): Promise<void>;
    /**
     * Append a message of the user to the session, so that every tab shows it.
     *
     * @param {string} text
     */
    send(text: string): Promise<void>;
    /**
     * Read events of the past, for example to show more at the top of a page: up to `limit` events before the event with
     * the number `before`, or those that follow `after` (by default 0: the oldest). `more` is true if there may be older
     * ones (with `after`: later ones). Does not change the position. Waits while there is no connection.
     *
     * @param {{ before?: number, after?: number, limit?: number }} [page]  a `limit` of 1 to 500, 100 by default
     * @returns {Promise<{ events: Event[], more: boolean }>}
     */
    history({ before, after, limit }?: {
        before?: number;
        after?: number;
        limit?: number;
    }): Promise<{
        events: Event[];
        more: boolean;
    }>;
    /**
     * Tell whether the user is typing. Call it with every key: it is sent at most every 2 s, and only while live.
     *
     * @param {boolean} active
     */
    typing(active: boolean): void;
    /**
     * Begin the next attempt now, for a "try now" button. Return false if the client is not `waiting`: it is connected, is
     * about to be, or has ended.
     */
    reconnect(): boolean;
    /** Detach for good. Runs go on, commands without a reply reject with `closed`, iterators end. */
    close(): void;
    /**
     * @template {keyof Details} K
     * @overload
     * @param {K} type @param {(event: CustomEvent<Details[K]>) => void} listener
     * @param {boolean | AddEventListenerOptions} [options] @returns {void}
     */
    addEventListener<K extends keyof Details>(type: K, listener: (event: CustomEvent<Details[K]>) => void, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * @overload
     * @param {string} type @param {EventListenerOrEventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options] @returns {void}
     */
    addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions | undefined): void;
    /** @param {string} type @param {any} listener @param {boolean | EventListenerOptions} [options] */
    removeEventListener(type: string, listener: any, options?: boolean | EventListenerOptions): void;
    /**
     * Iterate over all events that no iterator or listener has had yet, with `{ type: "reset" }` where the position was lost.
     * Ends after `close()`. Throws GreenroomError if the server ended the client. An event counts as processed when the next
     * one is asked for, or the loop is left.
     *
     * @returns {AsyncIterableIterator<Event | Reset>}
     */
    [Symbol.asyncIterator](): AsyncIterableIterator<Event | Reset>;
    #private;
}
/**
 * A command that was not done, or a conversation that is over. `code` is an error code of the protocol (`bad_input`,
 * `unknown_run`, …), `bad_args` for a command whose id waits for its reply (an argument that cannot be sent gets a TypeError
 * with the same `code`), `too_many_pending`, `too_large`, `closed`, or
 * `outcome_unknown`: the command was sent, and the server could not be reached again for so long that sending it again
 * might do it twice.
 */
export class GreenroomError extends Error {
    /** @param {string} code @param {string} message @param {unknown} [cause] */
    constructor(code: string, message: string, cause?: unknown);
    code: string;
}
export type JSONValue = null | boolean | number | string | any[] | {
    [key: string]: any;
};
/**
 * the event `seq` and all before it were seen
 */
export type Position = {
    epoch: string;
    seq: number;
};
/**
 * `ts` is in ms since 1970
 */
export type Logged = {
    seq: number;
    ts: number;
};
export type OfRun = Logged & {
    run_id: string;
    parent_run_id?: string;
    call_id?: undefined;
};
/**
 * of a tool's call, or of a question
 */
export type OfCall = Logged & {
    run_id: string;
    parent_run_id?: string;
    call_id: string;
};
export type Outcome = {
    status: "ok";
    result: any;
    error?: undefined;
} | {
    status: "error" | "timeout" | "cancelled" | "interrupted";
    error: {
        code: string;
        message: string;
    };
    result?: undefined;
};
export type AgentStarted = OfRun & {
    type: "agent_started";
    data: {
        agent: string;
        input: any;
        command_id?: string;
    };
};
export type AgentThinking = OfRun & {
    type: "agent_thinking";
    data: {
        text: string;
    };
};
export type AgentOutput = OfRun & {
    type: "agent_output";
    data: {
        text: string;
    };
};
export type ToolExecuting = OfCall & {
    type: "tool_executing";
    data: {
        tool: string;
        arguments: any;
    };
};
export type ToolCompleted = OfCall & {
    type: "tool_completed";
    data: {
        tool: string;
        duration_ms: number;
    } & Outcome;
};
export type InputRequested = OfCall & {
    type: "input_requested";
    data: {
        prompt: string;
        schema?: any;
    };
};
export type InputReceived = OfCall & {
    type: "input_received";
    data: {
        value: any;
        by?: string;
    };
};
export type InputWithdrawn = OfCall & {
    type: "input_withdrawn";
    data: {
        reason: "timeout" | "cancelled";
    };
};
export type AgentCompleted = OfRun & {
    type: "agent_completed";
    data: {
        agent: string;
        duration_ms: number;
        usage?: any;
    } & Outcome;
};
export type UserMessage = Logged & {
    type: "user_message";
    run_id?: undefined;
    call_id?: undefined;
    data: {
        text: string;
    };
};
/**
 * without `run_id`: of the session itself
 */
export type Custom = Logged & {
    type: "custom";
    run_id?: string;
    parent_run_id?: string;
    call_id?: undefined;
    data: {
        name: string;
        value: any;
    };
};
/**
 * A newer server may send events of other types: a program ignores a `type` that it does not know.
 */
export type Event = AgentStarted | AgentThinking | AgentOutput | ToolExecuting | ToolCompleted | InputRequested | InputReceived | InputWithdrawn | AgentCompleted | UserMessage | Custom;
export type Reset = {
    type: "reset";
    reason: "epoch_changed" | "trimmed" | "ahead" | string;
};
export type Welcome = {
    session: string;
    connection: string;
    epoch: string;
    oldest: number;
    latest: number;
    recovered: boolean;
    reset?: string;
    ping_ms: number;
    max_frame_bytes: number;
    command_memory_ms?: number;
    expires_ms?: number;
    typing: {
        by: "user" | "agent";
        id: string;
    }[];
    runs: {
        run_id: string;
        agent: string;
        started: number;
    }[];
    queued: QueuedStart[];
};
/**
 * a start that waits for its turn; `since`
 * (ms since 1970, the server's clock) is missing if it began to wait while this client was connected
 */
export type QueuedStart = {
    command_id: string;
    agent: string;
    since?: number;
};
/**
 * ephemeral, never replayed; `typing`: { by, id, active };
 * `queued`: { command_id, agent, waiting }
 */
export type Signal = {
    name: string;
    data: any;
};
export type State = "connecting" | "live" | "waiting" | "closed";
/**
 * `retryAt`
 * (ms since 1970, this machine's clock) is when the next attempt begins
 */
export type StateChange = {
    state: State;
    retryInMs?: number;
    retryAt?: number;
    code?: number;
    reason?: string;
};
/**
 * a close code of the protocol; 1000 after `close()`
 */
export type Closed = {
    code: number;
    reason: string;
};
export type PositionStorage = {
    getItem(key: string): string | null;
    setItem(key: string, value: string): void;
    removeItem(key: string): void;
};
export type Details = {
    event: Event;
    reset: Reset;
    signal: Signal;
    welcome: Welcome;
    state: StateChange;
    closed: Closed;
    refused: {
        code: string;
        message: string;
    };
};
export type Options = {
    /**
     * 1 to 128 characters of A–Z a–z 0–9 . _ ~ : -
     */
    session: string;
    /**
     * A function is called for every connection, and before the token expires: the connection goes on with the fresh token. If
     * it throws or takes too long, the client waits and tries again. With a string, the end of the token (4004) is final.
     */
    token?: string | (() => string | Promise<string>) | undefined;
    /**
     * from an earlier `client.position`; used before the one that `persist` stored
     */
    resume?: Position | undefined;
    /**
     * where a client without a position begins
     */
    from?: "oldest" | "latest" | undefined;
    /**
     * end the client (4410) instead of a reset if the position is lost
     */
    strict?: boolean | undefined;
    /**
     * store the position in `storage`; see above
     */
    persist?: boolean | undefined;
    /**
     * default `sessionStorage`
     */
    storage?: PositionStorage | undefined;
    /**
     * distinguishes clients of one session in one page, for `persist`
     */
    name?: string | undefined;
    /**
     * keeps the stored positions of several users of one page apart
     */
    user?: string | undefined;
    /**
     * the class to use if there is no global one
     */
    WebSocket?: any;
    /**
     * address of the routes `events` and `commands` for networks without WebSockets, or false for WebSockets only. By default
     * the address of the WebSocket, with http: or https:
     */
    fallback?: string | false | URL | undefined;
};
/**
 * an event or a reset, and the position before it
 */
export type Item = {
    value: Event | Reset;
    before: Position;
};
export type Result = IteratorResult<Event | Reset>;
/**
 * when a command was sent for the first time, by
 *   the monotonic clock and by the wall clock; how long the server remembers its id; how long ago it was, if the page slept
 */
export type First = {
    at: number;
    date: number;
    memoryMs: number;
    awayMs: number;
};
/**
 * A command without a reply. `asks`: it changes nothing. `sent`: on the present connection. `over`: set by a timer when the
 * server may have forgotten its id.
 */
export type Pending = {
    text: string;
    bytes: number;
    asks: boolean;
    sent?: boolean;
    first?: First;
    timer?: ReturnType<typeof setTimeout>;
    over?: boolean;
    resolve: (result: any) => void;
    reject: (error: Error) => void;
};
/**
 * the end of an attempt; `retryMs` is the
 *   server's. `failed`: 1 if the transport failed before the welcome, as far as one can see; Infinity if nothing came
 */
export type Ended = {
    code: number;
    reason: string;
    retryMs?: number;
    failed: number;
};
/**
 * the client's values and callbacks for an attempt
 */
export type Uses = {
    token: any;
    /**
     * returns a WebSocket, or a promise of something like it
     */
    dial: () => any;
    hello: (token: string | undefined) => object;
    /**
     * the position
     */
    seq: () => number;
    /**
     * every frame but ping, token and goodbye
     */
    received: (frame: any) => void;
    /**
     * called when it has been live for STEADY_MS
     */
    steady: () => void;
    /**
     * called once, at the end
     */
    lost: (ended: Ended) => void;
};
