/**
 * @typedef {import("./shared.js").SharedOptions} SharedOptions
 * @typedef {import("./shared.js").SharedStore} SharedStore
 * @typedef {import("./store.js").Snapshot} Snapshot
 */
/**
 * Return two refs: the snapshot of a session, or what `select` takes from it, and the session for calls (`start`, `answer`,
 * …). If the URL or the options are a ref or a getter, both refs follow: another session is another connection.
 *
 * @template [T=Snapshot]
 * @param {import("vue").MaybeRefOrGetter<string | URL>} url
 * @param {import("vue").MaybeRefOrGetter<SharedOptions>} options
 * @param {(snapshot: Snapshot) => T} [select]
 * @returns {{ snapshot: Readonly<import("vue").ShallowRef<T>>, session: Readonly<import("vue").ShallowRef<SharedStore>> }}
 */
export function useGreenroom<T = import("./store.js").Snapshot>(url: import("vue").MaybeRefOrGetter<string | URL>, options: import("vue").MaybeRefOrGetter<SharedOptions>, select?: (snapshot: Snapshot) => T): {
    snapshot: Readonly<import("vue").ShallowRef<T>>;
    session: Readonly<import("vue").ShallowRef<SharedStore>>;
};
export type SharedOptions = import("./shared.js").SharedOptions;
export type SharedStore = import("./shared.js").SharedStore;
export type Snapshot = import("./store.js").Snapshot;
