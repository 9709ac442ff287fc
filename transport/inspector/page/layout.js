// @ts-check
/** Where the bars of a session's runs and tools are on the axis of time. Pure. */

/**
 * @typedef {{ call_id: string, name: string, status: string, started_at: number | null, ended_at: number | null }} Tool
 * @typedef {{ run: string, parent: string | null, agent: string, status: string, started_at: number | null,
 *   ended_at: number | null, tools?: Tool[] }} Run
 * @typedef {{ key: string, kind: "run" | "tool", name: string, run: string, status: string, depth: number,
 *   start: number, end: number }} Bar
 * @typedef {{ run: Run, bars: Bar[], start: number, end: number, hidden: number }} Trace
 *   one run that a person started, with everything that it did; `hidden`: bars beyond the limit
 */

export const MOST_BARS = 200; // of one trace

/**
 * Return the traces of a session's runs, newest first. A run whose parent is not among them has a trace of its own.
 *
 * @param {Run[]} runs @param {number} now  in seconds since 1970: the end of what is still open @returns {Trace[]}
 */
export function traces(runs, now) {
  const known = new Set(runs.map(({ run }) => run));
  /** @type {Map<string, Run[]>} */
  const children = new Map();
  const roots = [];
  for (const run of runs) {
    if (run.parent === null || run.parent === run.run || !known.has(run.parent)) roots.push(run);
    else children.set(run.parent, [...(children.get(run.parent) ?? []), run]);
  }
  return roots.map((run) => traceOf(run, children, now)).sort((one, other) => other.start - one.start);
}

/** @param {Run} root @param {Map<string, Run[]>} children @param {number} now @returns {Trace} */
function traceOf(root, children, now) {
  /** @type {Bar[]} */
  const bars = [];
  addRun(root, 0, root.started_at ?? now, children, now, bars);
  const start = Math.min(...bars.map((bar) => bar.start));
  const end = Math.max(...bars.map((bar) => bar.end), start + 0.001);
  return { run: root, bars: bars.slice(0, MOST_BARS), start, end, hidden: Math.max(0, bars.length - MOST_BARS) };
}

/**
 * @param {Run} run
 *
 * @param {number} depth @param {number} earliest @param {Map<string, Run[]>} children @param {number} now
 * @param {Bar[]} bars
 */
function addRun(run, depth, earliest, children, now, bars) {
  const own = barOf({ key: `run ${run.run}`, kind: "run", name: run.agent, run: run.run, depth }, run, earliest, now);
  bars.push(own);
  const tools = (run.tools ?? []).map((tool) => ({ at: tool.started_at ?? own.start, tool, child: undefined }));
  const runs = (children.get(run.run) ?? []).map((child) => ({ at: child.started_at ?? own.start, tool: undefined, child }));
  for (const { tool, child } of [...tools, ...runs].sort((one, other) => one.at - other.at)) {
    if (child) addRun(child, depth + 1, own.start, children, now, bars);
    else {
      const key = `tool ${run.run} ${tool.call_id}`;
      bars.push(barOf({ key, kind: "tool", name: tool.name, run: run.run, depth: depth + 1 }, tool, own.start, now));
    }
  }
}

/**
 * @param {{ key: string, kind: "run" | "tool", name: string, run: string, depth: number }} what
 * @param {{ status: string, started_at: number | null, ended_at: number | null }} times @param {number} earliest
 * @param {number} now
 * @returns {Bar}
 */
function barOf(what, { status, started_at, ended_at }, earliest, now) {
  const start = started_at ?? earliest;
  return { ...what, status, start, end: Math.max(start, ended_at ?? now) };
}

const MINUTE = 60;
const DAY = 86_400;
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 240, 360, 720].map((minutes) => minutes * MINUTE); // longer ones are days

/**
 * Return the seconds of the marks on an axis that is `span` seconds long: 3 to 6, at round times.
 *
 * @param {number} span
 */
export function ticks(span) {
  const rough = (span / 5) * 0.999;
  const step = rough <= MINUTE / 3 ? rounded(rough) : (STEPS.find((each) => each >= rough) ?? rounded(rough / DAY) * DAY);
  const found = [];
  for (let index = 0; index * step <= span * 0.94; index += 1) found.push(Number((index * step).toPrecision(6)));
  return found;
}

/** Return the next larger number that is 1, 2 or 5 with zeros. @param {number} number */
function rounded(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= number) ?? number;
}

/**
 * Return where a bar is, in percent of the axis.
 *
 * @param {{ start: number, end: number }} bar @param {{ start: number, end: number }} axis
 */
export function placed(bar, axis) {
  const span = axis.end - axis.start || 1;
  const part = (/** @type {number} */ at) => Math.min(100, Math.max(0, ((at - axis.start) / span) * 100));
  const left = part(bar.start);
  return { left, width: part(bar.end) - left };
}

/**
 * Return the runs of several windows of a session's events, each once. What a newer window says of a run's end counts.
 *
 * @param {Run[][]} windows  newest first @returns {Run[]}
 */
export function merged(windows) {
  /** @type {Map<string, Run>} */
  const found = new Map();
  for (const run of windows.flat()) {
    const newer = found.get(run.run);
    if (!newer) {
      found.set(run.run, run);
      continue;
    }
    /** @type {Map<string, Tool>} */
    const tools = new Map((newer.tools ?? []).map((tool) => [tool.call_id, tool]));
    for (const tool of run.tools ?? []) tools.set(tool.call_id, { ...tool, ...given(tools.get(tool.call_id)) });
    found.set(run.run, { ...run, ...given(newer), tools: [...tools.values()] });
  }
  return [...found.values()];
}

/**
 * Return the fields of an object that are known.
 *
 * @template {object} T @param {T | undefined} object @returns {Partial<T>}
 */
function given(object) {
  const entries = Object.entries(object ?? {}).filter(([, value]) => value !== null && value !== "");
  return /** @type {Partial<T>} */ (Object.fromEntries(entries));
}
