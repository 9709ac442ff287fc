// The work of the peers on Node, the same as that of _work.py: so many events, so fast.
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const TEXT = ' Searching the knowledge base for documents that say something about the question of the user ...';
const RUN = 'r-4cb21b85ce46b04a';

// One event, as an application would hold it.
export const event = (seq) => ({
  seq,
  ts: Date.now(),
  type: 'agent_output',
  run_id: RUN,
  data: { text: `${process.hrtime.bigint()}${TEXT}` },
});

// Send the job's events, numbered from seq + 1; the last one's number. `send` may return a promise, which is waited for.
// The phase is drawn before the first sleep: drawn after it, those that wake late would fall in step. With `file` the time
// of each event is noted there once it is sent: the file outlives a killed process.
export async function run({ k, rate, file }, seq, send) {
  let due = performance.now() + (rate ? (Math.random() * 1000) / rate : 0);
  for (const last = seq + k; seq < last; ) {
    if (rate) {
      await sleep(due - performance.now());
      due += 1000 / rate;
    }
    const next = event(++seq);
    const waiting = send(next);
    if (waiting) await waiting;
    if (file) appendFileSync(file, `${next.data.text.match(/^\d+/)[0]}\n`);
  }
  return seq;
}

export const options = () =>
  parseArgs({
    options: {
      port: { type: 'string' },
      store: { type: 'string' },
      queued: { type: 'boolean', default: false },
      users: { type: 'string' },
      events: { type: 'string' },
      rate: { type: 'string' },
    },
  }).values;
