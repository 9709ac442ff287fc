"""The server under test: it runs in a thread, beside a neighbour that must never notice anything."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
from protocol.agents import make_app
from protocol.threaded import ThreadedServer
from rfc6455.frames import TEXT, frame, question
from rfc6455.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
EVERYWHERE = range(1 << 62)
"""The cuts of a delivery byte by byte."""


class CutSocket:
    """A socket on which a read ends at each of some places in the stream, as if a TCP segment ended there.

    *Two writes of a client may arrive as one read: only the reader can make sure where a read ends.*

    Args:
        sock: The socket. Who made it closes it.
        cuts: Numbers of bytes from the beginning of the stream at which a read ends.
    """

    def __init__(self, sock: socket.socket, cuts: Sequence[int]) -> None:
        self._socket = sock
        self._cuts = cuts
        self._read = 0
        self.fileno = sock.fileno
        self.send = sock.send

    def recv(self, size: int) -> bytes:
        """Read up to the next cut."""
        waiting = len(self._socket.recv(size, socket.MSG_PEEK))
        size = next((part for part in range(1, waiting) if self._read + part in self._cuts), waiting)
        data = self._socket.recv(size) if size else b""
        self._read += len(data)
        return data


class Target:
    """A server with two ports: one as usual, and one with reads that are cut. A neighbour has its welcome.

    Args:
        settings: More settings of the server.
    """

    def __init__(self, **settings: Any) -> None:
        self._server = ThreadedServer(make_app(commands_per_second=1e6, commands_burst=10**6, **settings))
        self._next_cuts: deque[Sequence[int]] = deque()

    @contextmanager
    def running(self) -> Generator[Target]:
        """Run the server in the block."""
        with socket.create_server(("127.0.0.1", 0)) as listener, self._server.running():
            listener.settimeout(0)
            self._cut_port = listener.getsockname()[1]
            self._server.start(self._accept, listener)
            with Peer(self._server.port) as self._neighbour:
                self._neighbour.upgrade()
                self._neighbour.hello()
                yield self

    async def _accept(self, listener: socket.socket) -> None:
        """Serve the connections of the second port, as the endpoint serves those of its own."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            sock, _ = listener.accept()
            sock.settimeout(0)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            self._server.serve(stream, CutSocket(sock, self._next_cuts.popleft()))

    def connect(self, cuts: Sequence[int] = ()) -> Peer:
        """Connect a client. Its bytes reach the server in reads that end at each of the ``cuts``."""
        if not cuts:
            return Peer(self._server.port)
        self._next_cuts.append(cuts)
        return Peer(self._cut_port)

    def check_neighbour(self) -> None:
        """Check that the neighbour is still answered."""
        self._neighbour.send(frame(TEXT, question("neighbour")))
        assert self._neighbour.hear_until(("reply", "neighbour")) in ([], [("text", "ping")])

    def check_no_connection_is_left(self) -> None:
        """Check that the server has only the neighbour's connection, soon after the others have ended."""
        self._server.wait_for_connections(1)
        statistics = self._server.statistics()
        assert (statistics.users, statistics.waiting_bytes) == (1, 0)
