// Compile the three JSON Schemas with Ajv, and check frames of SPEC.md: [[is from a client, frame], …] on stdin.
import { readFileSync } from 'node:fs';
import Ajv from 'ajv/dist/2020.js';

const folder = process.argv.at(-1);
const ajv = new Ajv({ strict: true, strictTypes: false, strictRequired: false, discriminator: true });
const compile = name => ajv.compile(JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8')));
const [client, server, event] = ['client_frames', 'server_frames', 'events'].map(compile);
const frames = JSON.parse(readFileSync(0, 'utf8'));
let wrong = 0;
for (const [isClient, frame] of frames) {
  const judge = isClient ? client : server;
  const fits = judge(frame) && (frame.events ?? []).every(each => event(each)) && !judge({ ...frame, type: 'other' });
  if (!fits) wrong += console.error(frame, judge.errors, event.errors) ?? 1;
}
console.log(JSON.stringify({ checked: frames.length, wrong }));
