"""Connections to Valkey that take no time of trio's clock, so that a clock that jumps can be used with a real server.

``trio.testing.MockClock`` jumps, and ``wait_all_tasks_blocked`` returns, when no task can run. A task that waits for an
answer of a server in another process would count as blocked. Here the event loop itself waits for the answer.
"""

# ruff: noqa: SLF001 - the event loop must know what is under way

from __future__ import annotations

import select
import socket
import threading
from typing import TYPE_CHECKING, Any

from actors.valkey._wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.valkey._wire import Command

PATIENCE = 60_000
"""Time limit of an answer, in milliseconds. It takes 50 µs, and longer on a machine that is busy."""


class Ping(socket.socket):
    """A connection that is closed when its thread has ended."""

    def __del__(self) -> None:
        self.close()


class Barrier(threading.local):
    """A connection of its own for each thread.

    After :meth:`wait` the server has sent all answers, and all messages of channels.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, Ping] = {}

    def wait(self, path: str) -> None:
        """Block until the server at this path has sent everything that follows from earlier commands.

        It answers the second PING only after the messages that it had to send when it answered the first.
        """
        if path not in self._sockets:
            self._sockets[path] = sock = Ping(socket.AF_UNIX)
            sock.connect(path)
        sock = self._sockets[path]
        for _ in range(2):
            sock.sendall(b"PING\r\n")
            if not sock.recv(64):
                self._sockets.pop(path).close()
                return


barrier = Barrier()


own_send, own_take = Wire.send, Wire._take


def send(self: Any, commands: Sequence[Command]) -> None:
    """Do as :meth:`Wire.send`. Then block until the answer is there."""
    own_send(self, commands)
    sock = self._socket
    while self._unsent and not _wait(sock, select.POLLOUT) & (select.POLLERR | select.POLLHUP):
        data = self._unsent.pop(0)
        sent = self._try(data)
        self._unsent[:0] = [data[sent:]] if data[sent:] else []
    _wait(sock, select.POLLIN)
    barrier.wait(sock.getpeername())


def take(self: Any, data: bytes) -> None:
    """Do as :meth:`Wire._take`. Then block until the next part is there, if answers are missing."""
    own_take(self, data)
    if self._asked:
        _wait(self._socket, select.POLLIN)


def _wait(sock: Any, event: int) -> int:
    """Block until an event of a socket. Return the events that are there."""
    poll = select.poll()
    poll.register(sock.fileno(), event)
    return poll.poll(PATIENCE)[0][1]


def install() -> None:
    """Make all connections to Unix sockets of Valkey servers instant, from now on."""
    changed: Any = Wire
    changed.send, changed._take = send, take
