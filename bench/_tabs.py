"""Clients that offer compression or do not, and count the bytes that reach them: for ``compression.py``."""

from __future__ import annotations

import os
import selectors
import socket
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import orjson

if TYPE_CHECKING:
    from _process import Server

_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)
_OFFER = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
_END = b'"type":"agent_completed"'
_COMPRESSED, _TWO_BYTES = 0xC1, 126
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 60.0


@attrs.define(eq=False)
class Tab:
    """One connection: a tab of a user."""

    sock: socket.socket
    taken: int = 0
    """Number of bytes that have come after the handshake."""
    ended: bool = False
    """Whether the end of the run has come."""
    _unread: bytes = b""

    def open(self, user: str, *, offers: bool) -> None:
        """Open the WebSocket, say hello, and read the welcome."""
        self.sock.sendall(_UPGRADE % (_OFFER if offers else b""))
        while b"\r\n\r\n" not in self._unread:
            self._unread += self.sock.recv(65_536)
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        if (b"permessage-deflate" in head) != offers:
            raise SystemExit("the server does not compress as it should")
        self.send({"type": "hello", "session": "s1", "token": user})
        while (frame := self._next()) is None:
            self._receive()
        if b'"welcome"' not in frame:
            raise SystemExit(f"no welcome: {frame[:200].decode(errors='replace')}")

    def send(self, message: dict[str, object]) -> None:
        """Send a small frame, whose mask is zero. Spaces at its end let it have a length in two bytes."""
        data = orjson.dumps(message).ljust(_TWO_BYTES)
        self.sock.sendall(b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data)

    def read(self) -> None:
        """Read from the network once, and notice the end of the run."""
        self._receive()
        while (frame := self._next()) is not None:
            self.ended = self.ended or _END in frame

    def _receive(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise SystemExit("the server has closed a connection")
        self.taken += len(data)
        self._unread += data

    def _next(self) -> bytes | None:
        """Return the contents of the next whole message."""
        data = self._unread
        start = 2 + {126: 2, 127: 8}.get(data[1], 0) if len(data) > 1 else 2
        if len(data) < start:
            return None
        size = int.from_bytes(data[2:start], "big") if start > 2 else data[1]
        if len(data) < start + size:
            return None
        payload, self._unread = data[start : start + size], data[start + size :]
        return zlib.decompressobj(-15).decompress(payload) if data[0] == _COMPRESSED else payload


@attrs.frozen
class Taken:
    """What one burst took: bytes to the clients, and CPU seconds of the server."""

    megabytes: float
    cpu: float


@attrs.frozen(kw_only=True)
class Burst:
    """A burst: each user has some tabs and one run of an agent. Late tabs come after its end, and catch up."""

    users: int
    tabs: int
    agent: str
    events: int
    late: bool = False

    def run(self, server: Server, *, offers: bool) -> Taken:
        """Let each user start a run, and read until all tabs have its end."""
        with ExitStack() as stack:
            first = [self._tab(stack, server, user, offers=offers) for user in range(self.users)]
            more = self.tabs if self.late else self.tabs - 1
            users = [user for user in range(self.users) for _ in range(more)]
            others = [] if self.late else [self._tab(stack, server, user, offers=offers) for user in users]
            before = _cpu(server.pid)
            arguments = {"agent": self.agent, "input": {"events": self.events}}
            for tab in first:
                tab.send({"type": "command", "id": "1", "name": "run.start", "args": arguments})
            _read([*first, *others])
            measured = [*first, *others]
            if self.late:
                before = _cpu(server.pid)
                measured = [self._tab(stack, server, user, offers=offers) for user in users]
                _read(measured)
            return Taken(sum(tab.taken for tab in measured) / 1e6, _cpu(server.pid) - before)

    def _tab(self, stack: ExitStack, server: Server, user: int, *, offers: bool) -> Tab:
        """Connect a tab of a user. The users of another burst have other names."""
        tab = Tab(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), _PATIENCE)))
        tab.open(f"{self.events}-{user}", offers=offers)
        return tab


def _read(tabs: list[Tab]) -> None:
    with selectors.DefaultSelector() as selector:
        for tab in tabs:
            selector.register(tab.sock, selectors.EVENT_READ, tab)
        while not all(tab.ended for tab in tabs):
            ready = selector.select(_PATIENCE)
            if not ready:
                raise SystemExit("nothing came for a minute")
            for key, _ in ready:
                key.data.read()


def _cpu(pid: int) -> float:
    """Return the CPU seconds that a process has taken, with those of the system for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
