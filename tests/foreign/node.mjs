/**
 * Lets a test in Python use the package ws: one JSON line with JavaScript on stdin is one piece of code to run, one line
 * with its value on stdout the answer. The first argument is sockets.js, the second a file beside the packages.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { WebSocket } = createRequire(process.argv[3])("ws");
const socketOf = new Function(`${readFileSync(process.argv[2], "utf8")}; return socketOf;`)();
const kept = {};

const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
  const value = await new AsyncFunction("WebSocket", "socketOf", "kept", JSON.parse(line))(WebSocket, socketOf, kept);
  console.log(JSON.stringify(value ?? null));
}
