// The empty pacing loop of Node: the timers of the paced work with nothing to send; prints CPU seconds as JSON.
import { setTimeout as sleep } from 'node:timers/promises';
import { options } from './work.mjs';

const SETTLING_MS = 200;
const { users, events, rate } = Object.fromEntries(Object.entries(options()).map(([name, text]) => [name, Number(text)]));

async function pace(start) {
  let due = start + (Math.random() * 1000) / rate;
  for (let left = events; left > 0; left -= 1) {
    await sleep(due - performance.now());
    due += 1000 / rate;
  }
}

const start = performance.now() + SETTLING_MS;
const all = Array.from({ length: users }, () => pace(start));
await sleep(SETTLING_MS / 2);
const before = process.cpuUsage();
await Promise.all(all);
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ cpu: (user + system) / 1e6 }));
