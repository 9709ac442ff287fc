"""The WebSocket endpoint: accepts connections, bounds them, and carries events to them."""

from __future__ import annotations

import errno
import logging
import random
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import attrs
import trio

from actors import Actor, ChildSpec, Restart
from actors.failures import log_line
from actors.loop.clock import loop_time
from actors.loop.forks import keep_ports
from transport.protocol import close_codes
from transport.protocol.handshake import Reject, normal_origin
from transport.server._connection import Connection
from transport.server._connections import Places
from transport.server._flusher import Flusher
from transport.server._heartbeat import Heartbeat
from transport.server._watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from actors import Sessions
    from transport.auth import Authenticate
    from transport.settings import Settings

logger = logging.getLogger("greenroom.endpoint")

BACKLOG = 4096
_SEND_BUFFER = 128 * 1024
_NOT_SENT = 32 * 1024
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_ACCEPTS_PER_TURN = 64
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RETRY_MS = (200, 2_000)
_GOODBYE_BATCH, _GOODBYE_SECONDS = 100, 0.05


@attrs.frozen
class EndpointStatistics:
    """How the endpoint stands."""

    connections: int
    """Connections that are open, those in their handshake among them."""
    users: int
    """Users with a connection."""
    accepted: int
    """Connections accepted since the start."""
    refused: int
    """Connections refused for their number."""
    flusher_rounds: int
    """Rounds of the pump that writes."""
    flusher_visits: int
    """Connections visited in those rounds."""
    waiting_bytes: int
    """Bytes kept for clients that their sockets did not take yet, and signals; events wait in their session's ring."""
    gave_way: int
    """Connections that were silent, and were closed for newer ones of their users."""
    stood_still: float
    """Seconds in which the event loop stood still, in stalls that were long enough to count."""
    signals_dropped: int
    """Signals dropped because newer ones came before they could be written."""


class Endpoint:
    """Serves connections on sockets that are listening already; supervised as the actor that :meth:`child` makes.

    The sockets stay their owner's: a restarted endpoint goes on with them.
    """

    def __init__(
        self,
        sessions: Sessions,
        authenticate: Authenticate,
        settings: Settings,
        listeners: Sequence[socket.socket] = (),
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self.sessions = sessions
        self.authenticate = authenticate
        self.settings = settings
        self.allowed_origins = frozenset(map(normal_origin, allowed_origins))
        self.flusher = Flusher()
        self.heartbeat = Heartbeat()
        self.time = loop_time()
        """The time by which peers are judged: it stands still while the event loop does."""
        self._watchdog = Watchdog(self.time, settings.loop_stall_seconds)
        self._places = Places(settings.max_connections_per_user, settings.give_way_seconds, self.heartbeat, self.time)
        self._listeners = listeners
        self._connections: dict[Connection, None] = {}
        self._addresses: dict[str, int] = {}
        self._accepting: trio.CancelScope | None = None
        self._going = False
        self._left = trio.lowlevel.ParkingLot()
        self._accepted = self._refused = 0
        self.signals_dropped = 0
        """Signals that connections let go because newer ones came; counted by them."""

    def child(self) -> ChildSpec:
        """Make the spec of the supervised actor that runs the endpoint."""
        return ChildSpec("endpoint", lambda: EndpointActor(self), Restart.PERMANENT)

    async def run(self) -> None:
        """Serve for ever. Cancelled: every connection is cut off; :meth:`say_goodbye` before that is kinder."""
        with self.sessions.calling_after_commits(self.flusher.visit):
            await self._run()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.flusher.run)
            nursery.start_soon(self.heartbeat.run)
            nursery.start_soon(self._watchdog.run)
            with trio.CancelScope() as self._accepting:
                async with trio.open_nursery() as accepting:
                    for listener in () if self._going else self._listeners:
                        accepting.start_soon(self._accept, listener, nursery)
            await trio.sleep_forever()

    async def serve(self, stream: trio.abc.Stream, sock: socket.socket | None = None, address: str = "") -> None:
        """Serve one connection on any stream, to its end. Never raises what happens in it. Closes the stream."""
        await self._connection(stream, sock, address).run()

    async def say_goodbye(self) -> None:
        """Accept nobody any more, and send everyone away with 1001, in batches: they must not all come back at once.

        Who comes from now on is refused by the system. *In a queue that nobody empties it would wait for its time-out,
        and whoever balances load would take this server for one that serves.* Returns when all are gone. Cancelled: the
        rest stays.
        """
        self._going = True
        if self._accepting is not None:
            self._accepting.cancel()
        for listener in self._listeners:
            with suppress(OSError):  # it listens no more, or never did
                listener.shutdown(socket.SHUT_RDWR)
        for number, connection in enumerate(tuple(self._connections), 1):
            connection.close(close_codes.GOING_AWAY, "the server is going away")
            if number % _GOODBYE_BATCH == 0:
                await trio.sleep(_GOODBYE_SECONDS)
        while self._connections:
            await self._left.park()

    def refuse(self, connection: Connection) -> Reject | None:
        """Why a new connection gets no upgrade, None when it does."""
        settings = self.settings
        if self._going:
            reason = "the server is going away"
        elif len(self._connections) > settings.max_connections:
            reason = "too many connections"
        elif self._addresses.get(connection.address, 0) > settings.max_connections_per_address:
            reason = "too many connections from this address"
        else:
            return None
        self._refused += 1
        return Reject(503, reason)

    async def admit(self, user: str, connection: Connection) -> bool:
        """Count one more connection of that user; False when there are too many.

        Waits while silent connections of the user may still give way, ``give_way_seconds`` at most. Cancelled: it is
        not counted.
        """
        admitted = await self._places.take(user, connection)
        self._refused += not admitted
        return admitted

    def forget(self, connection: Connection) -> None:
        """Count a connection that has ended out."""
        self._connections.pop(connection, None)
        _count_down(self._addresses, connection.address)
        if connection.user is not None:
            self._places.free(connection.user.id, connection)
        if not self._connections:
            self._left.unpark_all()

    def retry_ms(self, code: int) -> int | None:
        """When a client that is closed with ``code`` is to come back, spread at random; None when it is not to."""
        return random.randint(*_RETRY_MS) if close_codes.comes_back(code) else None  # noqa: S311 - spread, not secrecy

    def statistics(self) -> EndpointStatistics:
        """How the endpoint stands."""
        return EndpointStatistics(
            connections=len(self._connections),
            users=len(self._places),
            accepted=self._accepted,
            refused=self._refused,
            flusher_rounds=self.flusher.rounds,
            flusher_visits=self.flusher.visits,
            waiting_bytes=sum(connection.waiting_bytes for connection in self._connections),
            gave_way=self._places.gave_way,
            stood_still=self.time.lost,
            signals_dropped=self.signals_dropped,
        )

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(_ACCEPTS_PER_TURN):
                    sock, address = listener.accept()
                    # The connection's own coroutine is the task: each one above it would be held for as long.
                    nursery.start_soon(self._connection(_prepared(sock), sock, str(address[0])).run)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    # No traceback: it says nothing, and this may come ten times a second.
                    log_line(logger, logging.ERROR, "no connection can be accepted for now: %s", error)
                    await trio.sleep(0.1)
                else:
                    log_line(logger, logging.INFO, "a connection ended before it was accepted: %s", error)

    def _connection(self, stream: trio.abc.Stream, sock: socket.socket | None, address: str) -> Connection:
        """Count one more connection; it is to be run."""
        connection = Connection(self, stream, sock, address)
        self._connections[connection] = None
        self._addresses[address] = self._addresses.get(address, 0) + 1
        self._accepted += 1
        return connection


def _prepared(sock: socket.socket) -> trio.SocketStream:
    """Set the options of an accepted socket; its stream. Raises OSError, and the socket is closed."""
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _NOT_SENT)
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except OSError:
        sock.close()
        raise


class EndpointActor(Actor):
    """Runs an endpoint under supervision."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def started(self) -> None:
        """Begin to serve."""
        self.nursery.start_soon(self._endpoint.run)


@contextmanager
def listening(host: str, port: int) -> Generator[list[socket.socket]]:
    """Open listening sockets as :func:`listen` does, and close them in the end.

    Neither they nor what they accept is inherited by a process that is forked inside the block.
    """
    listeners = listen(host, port)
    try:
        with keep_ports(listeners):
            yield listeners
    finally:
        for listener in listeners:
            listener.close()


def listen(host: str, port: int) -> list[socket.socket]:
    """Open listening sockets for ``host`` and ``port`` (0 takes a free one, the same for all addresses of the host).

    Raises ``OSError`` when the port is taken or the host is not this machine's. The caller closes them.
    """
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            chosen = (address[0], port or (listeners[0].getsockname()[1] if listeners else 0), *address[2:])
            listeners.append(_listener(family, kind, protocol, chosen))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listeners


def _listener(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _count_down(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
