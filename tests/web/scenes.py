"""Helpers for the tests of greenroom.js: a live client, and JavaScript for simulated sockets. See sockets.mjs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from web.node import Node
    from web.scripted import Connection, ScriptedServer

HELPERS = """
    const states = () => noted.filter(([type]) => type === "state").map(([, { state }]) => state);
    const details = (wanted) => noted.filter(([type]) => type === wanted).map(([, detail]) => detail);
    const retry = () => advance(details("state").at(-1).retryInMs);
    const live = async (options, extra) => {
        begin(options, extra); await turn(); Socket.last.welcome(); await turn(); return Socket.last;
    };
    const again = async (fields) => { retry(); await turn(); Socket.last.welcome(fields); await turn(); };
    const settled = (promise) => Promise.race([promise.then((v) => v ?? "done", (e) => e.code ?? e.message), turn()]);
"""


def run_js(page: Node, js: str) -> Any:
    """Run the JavaScript ``js`` together with the helpers of this module, and return its result."""
    return page.run(HELPERS + js)


def live_client(node: Node, server: ScriptedServer, options: str = "", **welcome: object) -> Connection:
    """Make a client and send it a welcome. Return the server's side of its connection."""
    node.connect(options)
    connection = server.accept(**(welcome or {"latest": 0}))
    node.until("live")
    return connection
