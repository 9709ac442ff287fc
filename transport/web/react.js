// @ts-check
"use client";

/**
 * A session in React (18 or newer).
 *
 *     import { useGreenroom } from "greenroom-client/react";
 *
 *     function Answer() {
 *       const [{ runs, connection }, { start }] = useGreenroom("wss://example.com/", { session: "s1", token: fetchToken });
 *       …
 *     }
 *
 * All components of a page with the same URL and options share one connection: see shared.js. On a server the snapshot is
 * `EMPTY`, and nothing is opened.
 */
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { keyOf, same, sharedStore } from "./shared.js";
import { EMPTY } from "./store.js";

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
export function useGreenroom(url, options, select) {
  const key = keyOf(url, options);
  const session = useMemo(() => sharedStore(url, options), [key]);
  useEffect(() => session.renew(options));
  const selected = useRef(/** @type {{ value: any } | undefined} */ (undefined));
  const [get, getOnServer] = useMemo(() => {
    const choose = chooser(select, selected);
    return [() => choose(session.getSnapshot()), () => choose(EMPTY)];
  }, [session, select]);
  const value = useSyncExternalStore(session.subscribe, get, getOnServer);
  useEffect(() => void (selected.current = { value }), [value]);
  return [value, session];
}

/**
 * Return a function that selects from a snapshot: the same value for the same snapshot, and the earlier value as long as
 * the new one has the same parts.
 *
 * @param {((snapshot: Snapshot) => any) | undefined} select @param {{ current: { value: any } | undefined }} earlier
 */
function chooser(select, earlier) {
  /** @type {{ snapshot: Snapshot, value: any } | undefined} */ let last;
  return (/** @type {Snapshot} */ snapshot) => {
    if (!select) return snapshot;
    if (last?.snapshot === snapshot) return last.value;
    const before = last ?? earlier.current;
    const value = select(snapshot);
    last = { snapshot, value: before && same(before.value, value) ? before.value : value };
    return last.value;
  };
}
