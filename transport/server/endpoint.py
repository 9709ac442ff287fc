"""The WebSocket endpoint: it accepts connections, and serves each one in its own task."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from actors import Actor, ChildSpec, Restart
from actors.loop.clock import loop_time
from transport.protocol import close_codes
from transport.protocol.handshake import AllowedOrigins
from transport.protocol.health import Health
from transport.server._connection import Connection, life_of, statistics_of_connection, waits_of_connection
from transport.server._connections import Connections
from transport.server._context import ServerContext
from transport.server._flusher import Flusher
from transport.server._heartbeat import Heartbeat
from transport.server._opened_wire import OpenedWire
from transport.server._refusals import RefusalLog
from transport.server._trio_wire import TrioWire
from transport.server._watchdog import Watchdog
from transport.server.accepting import AcceptStage
from transport.server.listening import BorrowedListener
from transport.server.opening import opener_for
from transport.server.single_requests import SingleRequests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from actors import Sessions
    from actors.histogram import Histogram
    from transport.auth import Authenticate
    from transport.server._connection_statistics import ConnectionStatistics
    from transport.server._wire import Wire
    from transport.server.tls import Certificate
    from transport.settings import Settings


@attrs.frozen
class EndpointStatistics:
    """Counts of a WebSocket endpoint at the moment when :meth:`Endpoint.statistics` was called."""

    connections: int
    """Number of open connections. Connections in their handshake count too."""
    users: int
    """Number of users with at least one connection."""
    accepted: int
    """Number of connections accepted since the start."""
    refused: int
    """Number of connections refused since the start because there were too many."""
    too_fast: int
    """Number of connections that were not served since the start because they came too fast."""
    silent_dropped: int
    """Number of connections closed before their request, to make room for newer connections."""
    revoked: int
    """Number of connections closed or refused since the start because their token was revoked."""
    flusher_rounds: int
    """Number of rounds of the flusher (the task that writes new data). A round serves all connections with new data."""
    flusher_visits: int
    """Number of connections that the flusher (the task that writes new data) wrote to, summed over all rounds."""
    waiting_bytes: int
    """Number of bytes that wait to be sent: signals, and data that sockets did not take. Events are not counted."""
    gave_way: int
    """Number of silent connections that were closed to make room for newer connections of the same user."""
    stood_still: float
    """Number of seconds in which the event loop was blocked. Only long blocks count."""
    signals_dropped: int
    """Number of signals that were dropped because too many waited for a slow client."""


@attrs.frozen
class EndpointCounters:
    """The numbers of an endpoint that are known without a walk over its connections."""

    connections: int
    """Number of open connections. Connections in their handshake count too."""
    closes: Mapping[str, int]
    """Number of WebSockets that have ended since the start, by close code.

    The code is that of the server, or else that of the client: 1000, 1001, 1005 (no code), 1006 (no close frame), or
    ``other``.
    """
    resumes: Mapping[str, int]
    """Number of clients that came with a position since the start, by result: ``recovered``, or why they were reset."""
    signals_dropped: int
    """Number of signals that were dropped because too many waited for a slow client."""
    lag: Histogram
    """The times after which the event loop answered the watchdog, which asks four times in ``loop_stall_seconds``."""


class Endpoint:
    """A server for connections on sockets that are listening already. :meth:`child` makes it a supervised actor.

    The endpoint does not close the listening sockets, so that it can use the same sockets after a restart. Only a
    socket that other processes have, too, is closed by :meth:`say_goodbye`, since it must not be shut down.

    Args:
        sessions: The sessions that clients attach to.
        authenticate: The application's auth function.
        settings: The limits and times of connections.
        listeners: Listening sockets. Empty if all connections come through :meth:`serve`.
        allowed_origins: Origins of web pages that are allowed to connect, as :class:`.AllowedOrigins` takes them.
        certificate: The certificate, if connections are to use TLS.

    Raises:
        ConfigError: If ``proxy_protocol`` is set, but no proxy is trusted.
    """

    def __init__(  # noqa: PLR0913 - the last one by keyword only
        self,
        sessions: Sessions,
        authenticate: Authenticate,
        settings: Settings,
        listeners: Sequence[socket.socket] = (),
        allowed_origins: Iterable[str] = (),
        *,
        certificate: Certificate | None = None,
    ) -> None:
        self.settings = settings
        time, heartbeat = loop_time(), Heartbeat()
        refusals = RefusalLog(settings, heartbeat)
        self._context = ServerContext(
            sessions=sessions,
            authenticate=authenticate,
            settings=settings,
            allowed_origins=AllowedOrigins(allowed_origins),
            connections=Connections(settings, heartbeat, time, refusals),
            stage=AcceptStage(settings, time, refusals),
            refusals=refusals,
            flusher=Flusher(sessions.commit_due),
            heartbeat=heartbeat,
            time=time,
        )
        self._contexts: dict[Authenticate, ServerContext] = {}
        """The contexts of connections that have an auth function of their own."""
        self.single_requests = SingleRequests(self._context, self._context_with)
        """The requests of clients that come by plain HTTP, without a connection."""
        self._opener = opener_for(settings, certificate, refusals)
        self._watchdog = Watchdog(time, settings.loop_stall_seconds)
        self._listeners = listeners
        self._accepting: trio.CancelScope | None = None

    def child(self) -> ChildSpec:
        """Return the description of the supervised actor that runs the endpoint."""
        return ChildSpec("endpoint", lambda: EndpointActor(self), Restart.PERMANENT)

    async def run(self) -> None:
        """Serve connections until cancelled.

        Cancellation: all connections end without a goodbye. To send goodbyes, first call :meth:`say_goodbye`.
        """
        context = self._context
        with (
            context.sessions.calling_after_commits(context.flusher.visit),
            context.sessions.revocations.notifying(context.connections.close_revoked),
            context.sessions.removal.notifying(context.connections.close_forgotten),
        ):
            try:
                await self._run()
            finally:
                self._accepting = None

    async def _run(self) -> None:
        connections = self._context.connections
        async with trio.open_nursery() as nursery:
            connections.may_linger = True
            nursery.start_soon(self._context.flusher.run)
            nursery.start_soon(self._context.heartbeat.run)
            nursery.start_soon(self._watchdog.run)
            with trio.CancelScope() as self._accepting:
                async with trio.open_nursery() as accepting:
                    # An endpoint that is restarted while the server goes away accepts nothing any more.
                    for listener in () if connections.going_away else self._listeners:
                        accepting.start_soon(self._context.stage.run, listener, self._begin, nursery)
            # Not earlier: while a task waits for a socket, the socket must not be closed.
            for listener in self._listeners:
                if isinstance(listener, BorrowedListener):
                    listener.close()
            try:
                await trio.sleep_forever()
            finally:
                connections.end_lingering()

    async def serve(self, stream: trio.abc.Stream, sock: socket.socket | None = None, address: str = "") -> None:
        """Serve one connection on any stream until the connection ends, and close the stream.

        Errors are logged, not raised.

        Args:
            stream: The stream. Nothing was read from it yet.
            sock: The socket under the stream, if there is one. If so, data is written directly to the socket.
            address: The peer's address, which counts for ``max_connections_per_address``.
        """
        await self.serve_wire(self._trio_wire(stream, sock, address))

    async def serve_wire(self, wire: Wire, authenticate: Authenticate | None = None) -> None:
        """Serve one connection on a wire (any kind of WebSocket) until it ends. Errors are logged, not raised.

        The arguments are those of :meth:`begin_wire`.
        """
        await self.begin_wire(wire, authenticate)()

    def begin_wire(self, wire: Wire, authenticate: Authenticate | None = None) -> Callable[[], Awaitable[None]]:
        """Count a connection on a wire (any kind of WebSocket). Return the async function that serves it until its end.

        The caller must run this function at once, for example as a task: no coroutine is then above the connection's
        own. Errors are logged, not raised.

        Args:
            wire: The wire. The wire's ``address`` counts for ``max_connections_per_address``.
            authenticate: The auth function of this connection, in place of the endpoint's own. The function is kept as
                long as the endpoint, so give the same function for many connections.
        """
        return self._connection(wire, authenticate).run

    def allow_client(self, address: str) -> bool:
        """Count a new connection that a web server has accepted. Return False if it must not be served.

        The rates are those of connections that the endpoint accepts itself: ``handshakes_per_second`` and
        ``handshakes_per_address_per_second``.
        """
        return self._context.stage.allow(address)

    async def say_goodbye(self, seconds: float = math.inf) -> None:
        """Stop accepting connections, close all open connections with 1001, and wait until all have ended.

        A client has ``CLOSE_SECONDS`` for its answer, but all connections end within ``seconds``.

        The operating system then refuses later clients, since the sockets no longer listen. *Otherwise later clients
        would wait in a queue until their time-out, and a load balancer would think that this server works.* Sockets
        that other processes have, too, go on listening there.

        Cancellation: the connections that were not closed yet stay open.
        """
        self._context.connections.going_away = True
        if self._accepting is not None:
            self._accepting.cancel()
        for listener in self._listeners:
            with suppress(OSError):  # it listens no more, or never did
                listener.shutdown(socket.SHUT_RDWR)
        self._context.refusals.finish()
        await self._context.connections.send_away(seconds)

    def health(self) -> Health:
        """Return the endpoint's health, with the reason why it takes no new clients now."""
        if self._accepting is None and not self._context.connections.going_away:
            return Health(unready="the endpoint is starting")
        return self._context.health()

    def statistics(self, waiting_bytes: int | None = None) -> EndpointStatistics:
        """Return the endpoint's counts at this moment: connections, users, waiting bytes and others.

        Args:
            waiting_bytes: The sum over :meth:`waits`, if the caller has it. By default all connections are looked at.
                *With 10,000 of them that held up the event loop for milliseconds.*
        """
        connections, flusher = self._context.connections, self._context.flusher
        return EndpointStatistics(
            connections=len(connections),
            users=len(connections.places),
            accepted=connections.accepted,
            refused=connections.refused,
            too_fast=self._context.stage.too_fast,
            silent_dropped=connections.silent_dropped,
            revoked=connections.revoked,
            flusher_rounds=flusher.rounds,
            flusher_visits=flusher.visits,
            waiting_bytes=connections.waiting_bytes if waiting_bytes is None else waiting_bytes,
            gave_way=connections.places.gave_way,
            stood_still=self._context.time.lost,
            signals_dropped=connections.signals_dropped,
        )

    def waits(self) -> Iterator[tuple[int, float]]:
        """Yield the waiting bytes of each open connection, and the seconds for which its client has taken nothing.

        The iterator is as that of :meth:`connections`, and takes a small part of its time.
        """
        for connection in self._context.connections:
            if isinstance(connection, Connection):
                yield waits_of_connection(connection)

    def connections(self) -> Iterator[ConnectionStatistics]:
        """Yield the state of each open connection, for operators.

        The connections are those of the first step. Other tasks may run between two steps. Connections that have ended
        by then are left out.
        """
        for connection in self._context.connections:
            if isinstance(connection, Connection) and not life_of(connection).over:
                yield statistics_of_connection(connection)

    def close_connection(self, connection_id: str) -> bool:
        """Close a connection with 1001, so that its client comes back. Never waits.

        Return False if there is no connection with this id, or if it is closing already.
        """
        for connection in self._context.connections:
            if isinstance(connection, Connection) and life_of(connection).id == connection_id and connection.waits():
                connection.close(close_codes.GOING_AWAY, "an operator has closed the connection")
                return True
        return False

    def counters(self) -> EndpointCounters:
        """Return the numbers for metrics, which take no walk over the connections."""
        connections = self._context.connections
        return EndpointCounters(
            connections=len(connections),
            closes=dict(connections.closes),
            resumes=dict(connections.resumes),
            signals_dropped=connections.signals_dropped,
            lag=self._watchdog.lag.value(),
        )

    def _begin(self, stream: trio.SocketStream, sock: socket.socket, address: str) -> Callable[[], Awaitable[None]]:
        if self._opener is None:
            return self._connection(self._trio_wire(stream, sock, address)).run
        return self._connection(OpenedWire(self._opener, stream, sock, address, self.settings)).run

    def _trio_wire(self, stream: trio.abc.Stream, sock: socket.socket | None, address: str) -> TrioWire:
        return TrioWire(stream, sock, address, self.settings)

    def _connection(self, wire: Wire, authenticate: Authenticate | None = None) -> Connection:
        """Make a new connection, and add it to the open connections. The caller must run the connection."""
        connection = Connection(self._context_with(authenticate), wire)
        self._context.connections.add(connection)
        return connection

    def _context_with(self, authenticate: Authenticate | None) -> ServerContext:
        """Return the context of connections that have an auth function of their own, or the endpoint's context."""
        if authenticate is None:
            return self._context
        if authenticate not in self._contexts:
            self._contexts[authenticate] = attrs.evolve(self._context, authenticate=authenticate)
        return self._contexts[authenticate]


class EndpointActor(Actor):
    """The supervised actor that runs an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def started(self) -> None:
        """Start the endpoint's task, which serves connections."""
        self.nursery.start_soon(self._endpoint.run)
