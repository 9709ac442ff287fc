"""Connections to Valkey that take no time of trio's clock, so that a clock that jumps can be used with a real server.

``trio.testing.MockClock`` jumps, and ``wait_all_tasks_blocked`` returns, when no task can run. A task that waits for an
answer of a server in another process would count as blocked. Here the event loop itself waits for the answer.
"""

from __future__ import annotations

import select
import socket
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE = 60_000
"""Time limit of an answer, in milliseconds. It takes 50 µs, and longer on a machine that is busy."""
LARGE = 16 * 1024
"""Bytes of a part of an answer, from which on more parts perhaps follow."""


class Barrier:
    """A connection of its own: after :meth:`wait` the server has sent all answers, and all messages of channels."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def wait(self, path: str) -> None:
        """Block until the server at this path has sent everything that follows from earlier commands.

        It answers the second PING only after the messages that it had to send when it answered the first.
        """
        if path not in self._sockets:
            self._sockets[path] = sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
        sock = self._sockets[path]
        for _ in range(2):
            sock.sendall(b"PING\r\n")
            if not sock.recv(64):
                self._sockets.pop(path).close()
                return


barrier = Barrier()


class InstantStream(anyio.abc.ByteStream):
    """A stream whose :meth:`send` blocks the event loop until the answer is there."""

    def __init__(self, inner: anyio.abc.SocketStream, path: str) -> None:
        self._inner = inner
        self._path = path
        self._socket = inner.extra_attributes[SocketAttribute.raw_socket]()
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._writable.register(self._socket, select.POLLOUT)
        self._was_large = False

    async def send(self, item: bytes) -> None:
        # Without a checkpoint: another task would read the answer, and this one would wait for it in vain.
        view = memoryview(item)
        try:
            while view:
                self._writable.poll(PATIENCE)
                view = view[self._socket.send(view) :]
            self._readable.poll(PATIENCE)
            barrier.wait(self._path)
        except OSError as error:
            raise anyio.BrokenResourceError from error
        await anyio.lowlevel.checkpoint()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._was_large:
            self._readable.poll(20)
        part = await self._inner.receive(max_bytes)
        self._was_large = len(part) >= LARGE
        return part

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes


async def connect(path: str) -> InstantStream:
    """Connect to a Unix socket."""
    return InstantStream(await anyio.connect_unix(path), path)


def install() -> None:
    """Make all connections to Unix sockets of Valkey servers instant, from now on."""
    library: Any = import_module("coredis.connection._uds")
    library.connect_unix = connect
