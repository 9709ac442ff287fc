/** A component with the hook, rendered as a server does. */
import { createElement, StrictMode } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { useGreenroom } from "greenroom-client/react";
import { Socket } from "./sockets.mjs";

function View() {
  const options = { session: "s1", WebSocket: Socket };
  const [{ connection }] = useGreenroom("ws://x/", options);
  const [count] = useGreenroom("/relative", options, ({ runs }) => runs.length);
  return createElement("p", null, `${connection.state} ${count}`);
}

const html = renderToStaticMarkup(createElement(StrictMode, null, createElement(View)));
console.log(JSON.stringify({ html, sockets: Socket.all.length }));
process.exit(0);
