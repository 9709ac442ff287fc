/**
 * @typedef {{ [key: string]: any }} Frame
 * @typedef {{ event: string, data: string, id: string | undefined }} Message  of a stream
 * @typedef {() => void} Release
 */
/** A connection over HTTP in the form of a WebSocket. It sends frames as text to `onmessage`. */
export class Channel {
    /**
     * @param {string} base  the address of the HTTP routes `events` and `commands`; in a page it may be relative
     * @param {boolean} polls  no stream: something on the way holds back what is not complete
     * @param {false | (() => any)} [dial]  opens a WebSocket, to find out whether it works again
     */
    constructor(base: string, polls: boolean, dial?: false | (() => any));
    /** What it does at present. @type {"sse" | "poll"} */
    transport: "sse" | "poll";
    /** @type {undefined | ((message: { data: string }) => void)} */ onmessage: undefined | ((message: {
        data: string;
    }) => void);
    /** @type {undefined | ((end: { code: number, reason: string }) => void)} */ onclose: undefined | ((end: {
        code: number;
        reason: string;
    }) => void);
    /** A channel can send at once. @param {() => void} opened */
    set onopen(opened: () => void);
    /** @param {string} text */
    send(text: string): void;
    /** Prove that the server can be reached: read on, on a new connection. */
    check(): void;
    close(): void;
    #private;
}
/** A parser of text/event-stream, as the HTML standard defines it. */
export class Parser {
    /** The time after which the server wants the client back, in ms. @type {number | undefined} */ retryMs: number | undefined;
    /** Return the messages that this piece of text completes. @param {string} text @returns {Message[]} */
    push(text: string): Message[];
    #private;
}
export type Frame = {
    [key: string]: any;
};
/**
 * of a stream
 */
export type Message = {
    event: string;
    data: string;
    id: string | undefined;
};
export type Release = () => void;
