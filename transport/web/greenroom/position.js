// @ts-check
import { isSeq } from "./values.js";

/**
 * @typedef {import("../greenroom.js").Position} Position
 * @typedef {import("../greenroom.js").PositionStorage} PositionStorage
 */

/**
 * Where one client keeps its position. A storage that is full, forbidden, slow, broken or changed by hand costs a replay
 * after a refresh, nothing else: whatever it throws stays here.
 */
export class StoredPosition {
  #storage;
  #key;

  /** @param {PositionStorage | undefined} storage @param {string} key */
  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
  }

  /** @returns {Position | undefined} */
  load() {
    try {
      const kept = unlessLater(this.#storage?.getItem(this.#key));
      const { epoch, seq } = JSON.parse(kept ?? "{}");
      return typeof epoch === "string" && isSeq(seq) ? { epoch, seq } : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {Position} position */
  save(position) {
    const kept = attempt(() => this.#storage?.setItem(this.#key, JSON.stringify(position)));
    // An old position with newer state would hand out events twice.
    if (!kept) attempt(() => this.#storage?.removeItem(this.#key));
  }
}

/** Whether `act` did not throw. @param {() => any} act */
function attempt(act) {
  try {
    unlessLater(act());
    return true;
  } catch {
    return false;
  }
}

/**
 * What a storage returned, unless it is a promise: a storage that answers later is none for this, and nobody else would
 * hear of its failure.
 *
 * @param {any} result
 */
function unlessLater(result) {
  if (typeof result?.then !== "function") return result;
  result.then(undefined, () => {});
  return undefined;
}

/** @returns {PositionStorage | undefined} */
export function sessionStorageIfAllowed() {
  try {
    return globalThis.sessionStorage; // reading the property throws where site data are blocked
  } catch {
    return undefined;
  }
}
