/**
 * Return the store of a session. Stores with the same URL and options share their connection. It opens with the first
 * subscriber, so a wrong argument is a TypeError there.
 *
 * @param {string | URL} url @param {SharedOptions} options
 */
export function sharedStore(url: string | URL, options: SharedOptions): SharedStore;
/**
 * Return the text by which stores share a connection: two stores do if it is the same.
 *
 * @param {string | URL} url @param {SharedOptions} options
 */
export function keyOf(url: string | URL, { session, user, name, from, strict, persist, token }: SharedOptions): string;
/**
 * Return true if two values have the same parts: the same value, or lists or plain objects whose elements are the same. A
 * snapshot shares all parts that did not change, so a selection that is the same needs no new view.
 *
 * @param {any} one @param {any} other
 */
export function same(one: any, other: any): boolean;
/** A session as a component uses it. `sharedStore` makes it. Its functions can be taken out of it and passed on. */
export class SharedStore {
    /** @param {string | URL} url @param {SharedOptions} options @param {boolean} [lazy]  see `subscribe` */
    constructor(url: string | URL, options: SharedOptions, lazy?: boolean);
    /** The client, for signals of the application; undefined while nothing is open. */
    get client(): import("./greenroom.js").Client | undefined;
    /**
     * Call `listener` with the snapshot now, and after changes: at most once for each frame. Return a function that ends this.
     * The first subscriber opens the connection: at once, or in the next microtask if the store is lazy. *Svelte subscribes
     * while it renders on a server, and leaves before that.*
     *
     * @param {(snapshot: Snapshot) => void} listener @returns {() => void}
     */
    subscribe: (listener: (snapshot: Snapshot) => void) => () => void;
    /** Return the snapshot that the subscribers have; `EMPTY` while nothing is open. */
    getSnapshot: () => import("./store.js").Snapshot;
    /**
     * Start a run, as `start` of `sessionStore` does: until its run or its refusal comes, the snapshot has it in `starts`.
     *
     * @param {string} agent @param {JSONValue} input
     * @param {Parameters<import("./greenroom.js").Client["start"]>[2]} [options] @returns {Promise<string>}
     */
    start: (agent: string, input: JSONValue, options?: Parameters<import("./greenroom.js").Client["start"]>[2]) => Promise<string>;
    /** Ask a run to stop: see `Client.cancel`. @param {string | { commandId: string }} run @returns {Promise<boolean>} */
    cancel: (run: string | {
        commandId: string;
    }) => Promise<boolean>;
    /** Answer a question: see `Client.answer`. @param {string} runId @param {string} callId @param {JSONValue} value */
    answer: (runId: string, callId: string, value: JSONValue) => Promise<void>;
    /** Append a message of the user, which every tab shows. @param {string} text */
    send: (text: string) => Promise<void>;
    /**
     * Read events of the past: see `Client.history`. They do not enter the snapshot; `reduceAll(EMPTY, events)` makes one.
     *
     * @param {Parameters<import("./greenroom.js").Client["history"]>[0]} [page]
     */
    history: (page?: Parameters<import("./greenroom.js").Client["history"]>[0]) => Promise<{
        events: import("./greenroom.js").Event[];
        more: boolean;
    }>;
    /** Tell whether the user is typing. Call it with every key. @param {boolean} active */
    typing: (active: boolean) => undefined;
    /**
     * Begin the next attempt to connect now. If the client has ended (the user was not logged in, say), begin anew, with the
     * events from the oldest one. Return false if it is connected, or about to be.
     */
    reconnect: () => boolean;
    /** From now on, use the token function of these options: that of an earlier render may be out of date. @param {SharedOptions} options */
    renew: ({ token }: SharedOptions) => void;
    #private;
}
export type Snapshot = import("./store.js").Snapshot;
export type JSONValue = import("./greenroom.js").JSONValue;
/**
 * those of `connect`; `linger`: ms for which the connection stays after the last subscriber, 1000 by default
 */
export type SharedOptions = import("./greenroom.js").Options & {
    linger?: number;
};
