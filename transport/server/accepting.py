"""The accept stage of a port: it accepts connections within the rate limits, and starts a task for each of them.

The WebSocket endpoint and the HTTP server of the pages both accept by this module. Each port has a stage of its own, so
that a flood of connections to one port takes nothing from the other.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from actors.failures import log_line
from transport.protocol.addresses import plain_address
from transport.protocol.forwarded import Proxies
from transport.server._handshake_rates import HandshakeRates
from transport.server._refusals import Reason

if TYPE_CHECKING:
    from actors.loop.clock import LoopTime
    from transport.server._refusals import RefusalLog
    from transport.settings import Settings

logger = logging.getLogger("greenroom.endpoint")

Begin: TypeAlias = Callable[[trio.SocketStream, socket.socket, str], Callable[[], Awaitable[None]]]
"""A function that takes a stream, its socket and the peer's address, and makes a connection of them.

It returns the async function that serves the connection. It must not wait: the connection counts from now on.
"""
Opener: TypeAlias = Callable[[trio.SocketStream, socket.socket, str], Awaitable[tuple[trio.abc.Stream, str]]]
"""An async function that takes a stream, its socket and the peer's address, before anything was read.

It returns the stream on which the client speaks, and the client's address. A connection calls it in its own task, and
within the time limit of its first request. If the peer does something wrong, it raises ``trio.BrokenResourceError``. It
does not close the stream.
"""

# The kernel's buffer for each socket. Events beyond it stay in their session's ring, where all its clients share them.
_SEND_BUFFER = 128 * 1024
# The part of this buffer that may be unsent before the socket counts as not writable. *Without this limit a slow client
# has 128 KB on the way to it, and its pings and signals arrive after all of that.*
_NOT_SENT = 32 * 1024
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
ACCEPTS_PER_TURN = 8
"""Number of connections accepted in one turn of the event loop, which takes about a millisecond for them.

*With 64, a flood of connections that are closed at once made each client wait six times longer.*
"""
# Errors of a process or system without free files or memory for sockets. They pass, and no client is to blame.
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_OUT_OF_FILES_SECONDS = 0.1


class AcceptStage:
    """The part of a port that accepts connections. A connection beyond a rate limit is closed at once.

    Args:
        settings: The rate limits.
        time: The clock of the rate limits.
        refusals: The log of refused clients.
    """

    def __init__(self, settings: Settings, time: LoopTime, refusals: RefusalLog) -> None:
        self.rates = HandshakeRates(settings, time)
        """The limits on new connections per second."""
        self.proxies = Proxies(settings.forwarded_allow or ())
        """The trusted proxies, which name the clients of their connections."""
        self.too_fast = 0
        """Number of connections that were not served because they came too fast."""
        self._refusals = refusals

    async def run(self, listener: socket.socket, begin: Begin, nursery: trio.Nursery) -> None:
        """Accept the connections of a listening socket until cancelled. If there are no free files, try again later.

        Args:
            listener: The listening socket. It is not closed.
            begin: Called for each connection. The function that it returns becomes the task of the connection.
            nursery: The nursery of these tasks.
        """
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(ACCEPTS_PER_TURN):
                    sock, address = listener.accept()
                    self._take(sock, plain_address(address[0]) or str(address[0]), begin, nursery)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._refusals.note(Reason.NO_FILES, str(error.strerror))
                    await trio.sleep(_OUT_OF_FILES_SECONDS)
                else:
                    log_line(logger, logging.INFO, "a connection ended before it was accepted: %s", error)

    def allow(self, address: str) -> bool:
        """Count a new connection from ``address``. Return False if it must not be served."""
        if self.rates.allow(address):
            return True
        self._note_too_fast()
        return False

    def allow_client(self, address: str) -> bool:
        """Count a connection of a client that a trusted proxy has named. Return False if it must not be served."""
        if self.rates.allow_client(address):
            return True
        self._note_too_fast()
        return False

    def _take(self, sock: socket.socket, address: str, begin: Begin, nursery: trio.Nursery) -> None:
        if not self.allow(address):
            sock.close()
            return
        # The connection's own coroutine is the task: each coroutine above it would be held for as long.
        nursery.start_soon(begin(prepared(sock), sock, address))

    def _note_too_fast(self) -> None:
        self.too_fast += 1
        self._refusals.note(Reason.HANDSHAKES)


def prepared(sock: socket.socket) -> trio.SocketStream:
    """Set the options of an accepted TCP socket, and return it as a stream.

    If an option cannot be set, close the socket and raise ``OSError``.
    """
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _NOT_SENT)
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except OSError:
        sock.close()
        raise
