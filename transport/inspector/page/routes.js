// @ts-check
/** The address of each view, as the part of the URL after "#". Pure. */

export const VIEWS = ["overview", "runs", "sessions", "session", "failures", "connections", "tree"];

/** @typedef {{ view: string, params: Record<string, string> }} Route */

/**
 * Return the view and the parameters in an address. An unknown view is the overview.
 *
 * @param {string} hash @returns {Route}
 */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const params = Object.fromEntries(new URLSearchParams(query));
  return VIEWS.includes(path) ? { view: path, params } : { view: VIEWS[0], params: {} };
}

/**
 * Return the address of a view. Parameters that are empty are left out.
 *
 * @param {string} view @param {Record<string, unknown>} [params]
 */
export function routeTo(view, params = {}) {
  const query = queryOf(params);
  return `#/${view}${query && `?${query}`}`;
}

/** Return the query of a URL. Parameters that are empty are left out. @param {Record<string, unknown>} params */
export function queryOf(params) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
}

/**
 * Return the address of a session, or of a run in it.
 *
 * @param {{ user: string, session: string, run?: string | null }} where
 */
export function sessionRoute({ user, session, run }) {
  return routeTo("session", { user, session, run });
}

/**
 * Return the address of the inspector at a worker's own port, on the host at which the page is open.
 *
 * @param {{ hostname: string }} here @param {string} scheme @param {number} port
 */
export function workerAddress({ hostname }, scheme, port) {
  return `${scheme}://${hostname}:${port}/inspect/`;
}
