/** Components with the composable: rendered as a server does, and mounted in a tree of plain objects instead of a page. */
import { createRenderer, createSSRApp, h, nextTick, ref } from "vue";
import { renderToString } from "vue/server-renderer";
import { useGreenroom } from "greenroom-client/vue";
import { Socket, turn } from "./sockets.mjs";

const told = {};
const options = (session) => ({ session, linger: 0, WebSocket: Socket });
const later = () => new Promise((resolve) => setTimeout(resolve, 20));
const texts = ({ timeline }) => timeline.map(({ text }) => text).join("");

const Server = { setup() { const { snapshot } = useGreenroom("ws://x/", options("s1")); return () => h("p", snapshot.value.runs.length); } };
told.server = { html: await renderToString(createSSRApp(Server)), sockets: Socket.all.length };

/** A tree of plain objects. */
const insert = (node, parent) => void parent.children.push(Object.assign(node, { parent }));
const { createApp } = createRenderer({
  insert, patchProp() {}, createElement: (tag) => ({ tag, children: [] }), createText: (text) => ({ text }), createComment: () => ({}),
  setText: (node, text) => void (node.text = text), setElementText: (node, text) => void (node.text = text),
  parentNode: ({ parent }) => parent,
  nextSibling: (node) => node.parent.children[node.parent.children.indexOf(node) + 1] ?? null,
  remove: (node) => void node.parent.children.splice(node.parent.children.indexOf(node), 1),
});

const session = ref("s1");
let rendered = 0;
const First = { setup() { const { snapshot } = useGreenroom("ws://x/", options("s1"), texts); return () => h("p", snapshot.value); } };
const Second = { setup() { const { snapshot } = useGreenroom("ws://x/", () => options(session.value), texts); return () => h("p", snapshot.value); } };
const Count = {
  setup() {
    const { snapshot } = useGreenroom("ws://x/", options("s1"), ({ timeline }) => timeline.filter(({ text }) => text === "a"));
    return () => h("p", (rendered += 1, snapshot.value.length));
  },
};
const page = { children: [] };
const app = createApp({ render: () => [h(First), h(Second), h(Count)] });
app.mount(page);
const said = (seq, text) => ({ type: "events", events: [{ seq, type: "user_message", ts: 0, data: { text } }] });
const shown = () => page.children.filter(({ tag }) => tag === "p").map(({ text }) => text);

await turn();
const [socket] = Socket.all;
socket.welcome();
socket.receive(said(1, "a"));
await later();
await nextTick();
told.mounted = { sockets: Socket.all.length, texts: shown().slice(0, 2), count: Number(shown()[2]) };

const before = rendered;
socket.receive({ type: "events", events: [{ seq: 2, type: "custom", ts: 0, data: { name: "n", value: 1 } }] });
await later();
await nextTick();
told.selected = rendered - before + 1; // the selection has the same elements: no other render

session.value = "s2";
await nextTick();
await turn();
const other = Socket.all[1];
other.welcome();
other.receive(said(1, "z"));
await later();
await nextTick();
told.other = { sockets: Socket.all.length, texts: shown().slice(0, 2) };

app.unmount();
await later();
told.left = Socket.all.map(({ closed }) => closed);
console.log(JSON.stringify(told));
process.exit(0);
