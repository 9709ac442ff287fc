/**
 * Lets a test in Python drive greenroom.js in Node: one JSON line {id, js} on stdin is one piece of code to run, one line
 * {id, value} or {id, error} on stdout its answer.
 *
 * Time is virtual: timers fire when the code says `advance(ms)`, and `Math.random()` is 1 (as near as matters), so that
 * each delay is as long as it can be. The network is real.
 */
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import WebSocket from "ws";
import { Asked, network } from "./http.mjs";
import { playOverHttp } from "./http_model.mjs";
import { play } from "./model.mjs";
import { frozen, inBatches } from "./reduced.mjs";
import { Socket, fire, turn } from "./sockets.mjs";

const START = [1_000_000, 1_700_000_000_000];
let [now, wall] = START; // the monotonic clock, and the ms between it and the wall clock
let timers = [];
globalThis.setTimeout = (callback, delay = 0) => {
  const timer = { callback, due: now + delay, unref: () => timer, ref: () => timer };
  timers.push(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => {
  timers = timers.filter((other) => other !== timer);
};
performance.now = () => now;
Date.now = () => wall + now;
Math.random = () => 1;

function advance(ms) {
  const end = now + ms;
  for (;;) {
    const due = timers.filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due)[0];
    if (!due) break;
    now = due.due;
    clearTimeout(due);
    due.callback();
  }
  now = end;
}

/** Set the wall clock forward or back. */
function setClock(ms) {
  wall += ms;
}

/** Freeze the page: let time pass while nothing runs. Then the timers that are due fire, unless `timers` is false. */
function freeze(ms, { timers: late = true } = {}) {
  now += ms;
  if (!late) return;
  const due = timers.filter((timer) => timer.due <= now);
  for (const timer of due) {
    clearTimeout(timer);
    timer.callback();
  }
}

const greenroom = await import(process.argv[2]);
const { Parser } = await import(new URL("fallback.js", pathToFileURL(process.argv[2])));
const store = await import(new URL("store.js", pathToFileURL(process.argv[2])));
const load = (path) => import(pathToFileURL(path)); // for other modules
const noted = []; // [what, detail] of everything that a client said, in order
let waiting = []; // callbacks for the next thing that is noted
let opened = []; // the clients of this test

/** Connect, and note everything that happens. Only tests of the fallback have one. */
function open(url, options, { silent = [] } = {}) {
  const client = greenroom.connect(url, { WebSocket, fallback: false, ...options });
  const own = opened;
  opened.push(client);
  for (const type of ["state", "reset", "event", "signal", "welcome", "closed", "refused"]) {
    if (!silent.includes(type)) client.addEventListener(type, ({ detail }) => void (own === opened && note(type, detail)));
  }
  return client;
}

/** End the clients of a test, and forget all that it did: the next test begins as in a new process. */
function restart() {
  const ended = opened;
  opened = [];
  for (const client of ended) client.close();
  timers = [];
  [now, wall] = START;
  Math.random = () => 1;
  waiting = [];
  noted.length = 0;
  for (const name of Object.keys(kept)) delete kept[name];
}

function note(type, detail) {
  noted.push([type, detail]);
  for (const look of waiting.splice(0)) look();
}

/** Note how a promise ends; returns nothing, so that the test goes on. */
function watch(name, promise) {
  promise.then((value) => note(name, value), (error) => note(name, { failed: error.code ?? error.message }));
}

/** Wait for `count` things noted under `type`, and return their details. */
async function first(count, type) {
  for (;;) {
    const found = noted.filter(([other]) => other === type).map(([, detail]) => detail);
    if (found.length >= count) return found.slice(0, count);
    await new Promise((resolve) => waiting.push(resolve));
  }
}

/** Wait until the client's state is `state`. */
async function until(client, state) {
  while (client.state !== state) await new Promise((resolve) => waiting.push(resolve));
}

globalThis.reportError = (error) => note("reported", `${error?.message ?? error}`);

/** Forget all notes, and make a new client over scripted sockets. */
function begin(options = {}, { silent = [] } = {}) {
  kept.client?.close();
  network(false);
  Socket.all = [];
  Asked.all = [];
  noted.length = 0;
  const { at = 0, ...rest } = options; // tests of the fallback have an address of their own
  kept.at = at;
  kept.client = open(at ? `ws://x/?${at}` : "ws://x/", { session: "s1", WebSocket: Socket, ...rest }, { silent });
  return kept.client;
}

const kept = {};
const scope = {
  ...greenroom, ...store, load, frozen, inBatches, open, watch, note, first, until, advance, freeze, setClock, noted, kept, begin, restart, play, playOverHttp, Parser, Socket, WebSocket, Asked, network, fire, turn,
};
const AsyncFunction = (async () => {}).constructor;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, js } = JSON.parse(line);
  Promise.resolve().then(() => new AsyncFunction(...Object.keys(scope), js)(...Object.values(scope))).then(
    (value) => console.log(JSON.stringify({ id, value: value ?? null })),
    (error) => console.log(JSON.stringify({ id, error: `${error.stack}` })),
  );
}
process.exit(0);
