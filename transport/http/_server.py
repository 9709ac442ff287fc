"""The HTTP server of the pages: it serves an ASGI application on listening sockets, HTTP/1.1 only."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from transport._border import the_one
from transport.http._connection import PageConnection, PageContext
from transport.http._turns import Turns
from transport.server.port import Port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp

    from actors import RecentFailures
    from transport.server.tls import Certificate
    from transport.settings import Settings

SHUTDOWN_SECONDS = 2.0
"""Maximum time in seconds that a stopping server waits for requests in progress. ``drain_seconds`` may be less."""


class PagesFailed(Exception):
    """The HTTP server of the pages ended, although it was not asked to stop.

    The exception that the HTTP server raised is the cause of this exception.
    """


@attrs.frozen
class PageStatistics:
    """Counts of the HTTP server at the moment when :meth:`PageServer.statistics` was called."""

    connections: int
    """Number of open connections."""
    accepted: int
    """Number of connections accepted since the start."""
    refused: int
    """Number of requests refused since the start because there were too many connections."""
    too_fast: int
    """Number of connections closed at once since the start because they came too fast."""
    silent_dropped: int
    """Number of connections closed while they sent no request, to make room for newer connections."""
    bad_requests: int
    """Number of requests refused since the start because they are not plain HTTP/1.1, or because of their size."""
    slow_requests: int
    """Number of connections closed since the start because no whole request came in time."""
    slow_readers: int
    """Number of connections closed since the start because the client read too little of a response."""


class PageServer:
    """An HTTP server for one ASGI application. The application gets requests only: no WebSocket, and no lifespan.

    Args:
        app: The application.
        settings: The limits and times of connections. They count for this port alone.
        certificate: The certificate, if the pages are to be served by HTTPS.
        failures: The list to which failures of the application are added.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        certificate: Certificate | None = None,
        failures: RecentFailures | None = None,
    ) -> None:
        self._port = Port[PageConnection](settings, "the pages", certificate)
        self._context = PageContext(app, self._port, Turns(), failures)

    async def run(
        self, listeners: Sequence[socket.socket], stop: trio.Event, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Serve until ``stop`` is set. Then close ``listeners``, and wait for the responses in progress.

        Cancellation: all connections end at once.

        Args:
            listeners: Bound and listening sockets.
            stop: The event that ends the server.
            task_status: For ``nursery.start``.
        """
        stage, admission = self._port.stage, self._port.admission
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._port.keep_limits)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(stage.run, listener, self._begin, nursery)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            admission.going_away = True
            _close(listeners)
            self._port.finish()
            for connection in admission:
                connection.end()
            with trio.move_on_after(min(SHUTDOWN_SECONDS, self._port.settings.drain_seconds)):
                await admission.wait_all_gone()
            nursery.cancel_scope.cancel()

    def statistics(self) -> PageStatistics:
        """Return the server's counts at this moment."""
        port = self._port
        return PageStatistics(
            connections=len(port.admission),
            accepted=port.admission.accepted,
            refused=port.admission.refused,
            too_fast=port.stage.too_fast,
            silent_dropped=port.admission.silent_dropped,
            bad_requests=port.bad_requests,
            slow_requests=port.slow_requests,
            slow_readers=port.slow_readers,
        )

    def _begin(self, stream: trio.SocketStream, sock: socket.socket, address: str) -> Callable[[], Awaitable[None]]:
        connection = PageConnection(self._context, stream, sock, address)
        self._port.admission.add(connection)
        return connection.run


async def serve_http(
    server: PageServer,
    listeners: Sequence[socket.socket],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an HTTP server until cancelled, then close ``listeners``. Report "started" when connections are accepted.

    Args:
        server: The server.
        listeners: Bound and listening sockets. This function closes them.
        task_status: For ``nursery.start``.

    Raises:
        PagesFailed: The HTTP server ended by itself. The process should then end too, and be started again.

    Cancellation:
        Waits up to ``SHUTDOWN_SECONDS`` for requests in progress.
    """
    stop = trio.Event()

    async def serve_shielded(*, task_status: trio.TaskStatus[None]) -> None:
        # A cancellation would cut responses off, so it does not reach the server: the event ends it.
        with trio.CancelScope(shield=True):
            try:
                await server.run(listeners, stop, task_status=task_status)
            except BaseException as error:  # noqa: BLE001 - raised on, without the groups around it
                raise PagesFailed("the HTTP server of the pages failed") from the_one(error)
            finally:
                _close(listeners)

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_shielded)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            stop.set()


def _close(listeners: Sequence[socket.socket]) -> None:
    """Close listening sockets. A process that inherited them accepts nothing on them either."""
    for listener in listeners:
        with suppress(OSError):  # it was closed before
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
