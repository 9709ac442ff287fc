/** The store under Svelte's own functions, and in a component that is rendered as a server does. */
import { writeFileSync } from "node:fs";
import { compile } from "svelte/compiler";
import { derived, get } from "svelte/store";
import { render } from "svelte/server";
import { greenroom } from "greenroom-client/svelte";
import { Socket, turn } from "./sockets.mjs";

const told = {};
const source = `<script>
  import { greenroom } from "greenroom-client/svelte";
  const { WebSocket } = $props();
  const session = greenroom("ws://x/", { session: "s1", WebSocket });
</script>
<p>{$session.runs.length}</p>`;
const { js } = compile(source, { generate: "server", filename: "View.svelte" });
writeFileSync(new URL("./view.mjs", import.meta.url), js.code);
const { default: View } = await import("./view.mjs");
const { body } = await render(View, { props: { WebSocket: Socket } });
await turn();
told.server = { html: body.replace(/<!--.*?-->/g, "").trim(), sockets: Socket.all.length };

const session = greenroom("ws://x/", { session: "s1", linger: 0, WebSocket: Socket });
told.get = { state: get(session).connection.state, sockets: Socket.all.length };
const seen = [];
const stop = derived(session, ({ timeline }) => timeline.length).subscribe((count) => seen.push(count));
await turn();
Socket.last.welcome();
Socket.last.receive({ type: "events", events: [{ seq: 1, type: "user_message", ts: 0, data: { text: "a" } }] });
await new Promise((resolve) => setTimeout(resolve, 20));
told.derived = seen;
told.sockets = Socket.all.length;
stop();
await new Promise((resolve) => setTimeout(resolve, 5));
told.left = Socket.last.closed;
console.log(JSON.stringify(told));
process.exit(0);
