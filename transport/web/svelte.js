// @ts-check

/**
 * A session in Svelte (4 or newer).
 *
 *     import { greenroom } from "greenroom-client/svelte";
 *
 *     const session = greenroom("wss://example.com/", { session: "s1", token: fetchToken });
 *     … {#each $session.runs as run (run.id)} {run.text} {/each} …
 *
 * What it returns is a readable store: `$session` is the snapshot, and `derived` and `fromStore` take it. It has the calls,
 * too (`session.start`, …). All components of a page with the same URL and options share one connection: see shared.js. A
 * component that is rendered on a server opens none.
 */
import { SharedStore } from "./shared.js";

/**
 * Return the store of a session.
 *
 * @param {string | URL} url @param {import("./shared.js").SharedOptions} options
 */
export function greenroom(url, options) {
  return new SharedStore(url, options, true);
}
