/**
 * @typedef {import("./shared.js").SharedOptions} SharedOptions
 * @typedef {import("./shared.js").SharedStore} SharedStore
 * @typedef {import("./store.js").Snapshot} Snapshot
 */
/**
 * Return the snapshot of a session, or what `select` takes from it, and the session for calls (`start`, `answer`, …). The
 * component renders again when that changes: at most once for each frame, and with `select` only if the selection, or one of
 * its elements, is another one.
 *
 *     const [text] = useGreenroom(url, options, ({ runs }) => runs.at(-1)?.text);
 *     const [questions] = useGreenroom(url, options, openQuestions); // of store.js
 *
 * @template [T=Snapshot]
 * @param {string | URL} url @param {SharedOptions} options
 * @param {(snapshot: Snapshot) => T} [select]
 * @returns {[T, SharedStore]}
 */
export function useGreenroom<T = import("./store.js").Snapshot>(url: string | URL, options: SharedOptions, select?: (snapshot: Snapshot) => T): [T, SharedStore];
export type SharedOptions = import("./shared.js").SharedOptions;
export type SharedStore = import("./shared.js").SharedStore;
export type Snapshot = import("./store.js").Snapshot;
