// @ts-check
/** The requests of the page. Their addresses are relative to this file, so that the page works below any path. */
import { queryOf } from "./routes.js";

const BASE = new URL("api/", import.meta.url);
const SLOWEST_MS = 10_000; // a server that takes longer than this is as good as lost

/** An answer of the server that is an error. */
export class Refused extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The server did not answer, or its answer was no answer. */
export class Lost extends Error {}

/**
 * Return the answer to a question.
 *
 * @param {string} path @param {Record<string, unknown>} [params] @param {AbortSignal} [signal]
 * @param {number} [patience]  in ms
 * @returns {Promise<any>}
 */
export function get(path, params = {}, signal = undefined, patience = SLOWEST_MS) {
  const url = new URL(path, BASE);
  url.search = queryOf(params);
  return answerTo(url, {}, signal, patience);
}

/** Do an action, and return the server's answer. @param {string} path @param {object} body @returns {Promise<any>} */
export function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "greenroom-inspector" };
  return answerTo(new URL(path, BASE), { method: "POST", headers, body: JSON.stringify(body) }, undefined, SLOWEST_MS);
}

/** @param {URL} url @param {RequestInit} options @param {AbortSignal | undefined} signal @param {number} patience */
async function answerTo(url, options, signal, patience) {
  const control = new AbortController();
  const stop = () => control.abort();
  const timer = setTimeout(stop, patience);
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  let response;
  let body;
  try {
    response = await fetch(url, { ...options, cache: "no-store", signal: control.signal });
    body = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Lost(control.signal.aborted ? "The server takes too long to answer." : "The server does not answer.");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
  const data = parsed(body);
  if (response.ok && data !== undefined) return data;
  const { code = "", message = "" } = data?.error ?? {};
  if (response.ok) throw new Lost("Something else than the server answers.");
  const { status, statusText } = response;
  if (status < 500) throw new Refused(status, String(code), String(message || statusText));
  throw new Lost(String(message || `The server has an error of its own (${status}).`));
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
