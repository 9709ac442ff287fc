/**
 * Return the store of a session.
 *
 * @param {string | URL} url @param {import("./shared.js").SharedOptions} options
 */
export function greenroom(url: string | URL, options: import("./shared.js").SharedOptions): SharedStore;
import { SharedStore } from "./shared.js";
