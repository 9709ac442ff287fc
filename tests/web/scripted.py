"""A server for clients of greenroom.v1. It does only the things that a test tells it to do."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

PATIENCE = 60.0
"""Seconds that a test waits for something that should happen at once."""

Frame = dict[str, Any]


class Connection:
    """The server's side of one connection. ``hello`` is the first frame that the client sent."""

    def __init__(self, raw: ServerConnection) -> None:
        self._raw = raw
        self.subprotocol = raw.subprotocol
        self.over = threading.Event()
        self.hello = self.receive()

    def receive(self) -> Frame:
        """Wait for the client's next frame and return it."""
        frame: Frame = json.loads(self._raw.recv(PATIENCE))
        return frame

    def send(self, type_: str, **fields: object) -> None:
        """Send a frame to the client."""
        self._raw.send(json.dumps({"type": type_, **fields}))

    def welcome(self, *, epoch: str = "e1", oldest: int = 1, latest: int = 0, **fields: object) -> None:
        """Send a welcome to the client."""
        frame: Frame = {"session": "s1", "connection": "c1", "runs": [], "typing": [], "recovered": False}
        frame |= {"epoch": epoch, "oldest": oldest, "latest": latest, "ping_ms": 25_000, "max_frame_bytes": 65_536}
        self.send("welcome", **(frame | fields))

    def events(self, *seqs: int) -> None:
        """Send one frame with events that have these seqs."""
        self.send("events", events=[{"seq": seq, "type": "custom", "ts": 0, "data": {"name": "n"}} for seq in seqs])

    def close(self, code: int, reason: str = "") -> None:
        """Close the connection with a close frame."""
        self._raw.close(code, reason)
        self.over.set()

    def cut(self) -> None:
        """Cut the connection without a close frame, as a killed process does."""
        self._raw.close_socket()
        self.over.set()

    def closed_by_client(self) -> int:
        """Wait until the client closes the connection. Return the close code."""
        try:
            while True:
                self._raw.recv(PATIENCE)
        except ConnectionClosed:
            return self._raw.close_code or 0


class ScriptedServer:
    """A server on a free port. Its new connections wait until the test calls :meth:`accept`."""

    def __init__(self) -> None:
        self._connections: queue.Queue[Connection] = queue.Queue()
        self._all: list[Connection] = []
        self._server = serve(self._take, "127.0.0.1", 0, subprotocols=[Subprotocol("greenroom.v1")], close_timeout=1)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _take(self, raw: ServerConnection) -> None:
        """Read a new connection's hello, and keep the connection open until it has ended."""
        try:
            connection = Connection(raw)
        except ConnectionClosed:
            return
        self._all.append(connection)
        self._connections.put(connection)
        connection.over.wait()

    def accept(self, **welcome: object) -> Connection:
        """Return the next new connection. If fields of a welcome are given, send the welcome first."""
        connection = self._connections.get(timeout=PATIENCE)
        if welcome:
            connection.welcome(**welcome)  # type: ignore[arg-type]  # the keywords are those of welcome()
        return connection

    @property
    def waiting(self) -> int:
        """Return the number of new connections that the test has not accepted yet."""
        return self._connections.qsize()

    def shutdown(self) -> None:
        """Close all connections and stop the server."""
        for connection in self._all:
            connection.over.set()
        self._server.shutdown()
        self._thread.join(PATIENCE)
