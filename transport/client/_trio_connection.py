"""A connection on trio-websocket.

This module does some things that trio-websocket does not. It ends an upgrade that takes too long, or whose peer closes
the stream. It closes the stream by force.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from actors.failures import is_a, leaves, led_to
from transport.client._ended import (
    CLOSE_SECONDS,
    NO_ANSWER,
    NOT_IN_TIME,
    ConnectionEnded,
    Ended,
    ended_by_dialling,
    ended_by_failure,
    ended_by_status,
)
from transport.client._trio_upgrade import RECEIVE_BYTES, upgrade_with_compression
from transport.client._watched_stream import WatchedStream
from transport.protocol.close_codes import NO_STATUS
from transport.protocol.handshake import SUBPROTOCOL

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from transport.client._interrupt import Interrupt
    from transport.client._target import Target

StreamFactory: TypeAlias = "Callable[[str, int, ssl.SSLContext | None], Awaitable[trio.abc.Stream]]"
"""A function that opens a byte stream to (host, port), with TLS if there is a context.

On failure the function raises ``OSError``.
"""

_LONGEST_CHAIN = 8
"""Maximum number of exceptions in a chain in which the peer's error is searched for."""
_EXPECTED = (ConnectionRejected, ConnectionClosed, ProtocolError, h11.ProtocolError, OSError, trio.BrokenResourceError)
"""Exceptions caused by the network, or by a peer that does not follow this protocol."""


class TrioConnection:
    """A connection of trio-websocket: a :class:`~transport.client._connection.Connection`."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        try:
            return await self._websocket.get_message()
        except ConnectionClosed as closed:
            raise ConnectionEnded(_ended_by_close(closed)) from None

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_message(text)
        except ConnectionClosed as closed:
            raise ConnectionEnded(_ended_by_close(closed)) from None

    async def close(self, code: int, reason: str) -> None:
        with trio.move_on_after(CLOSE_SECONDS):
            await self._websocket.aclose(code, reason)


@attrs.frozen
class TrioDialer:
    """Opens connections on trio: a :class:`~transport.client._connection.Dialer`."""

    target: Target
    max_message_size: int
    open_stream: StreamFactory
    compress: bool = False
    """Whether the client offers compression."""

    @asynccontextmanager
    async def dial(self, interrupt: Interrupt, deadline: float) -> AsyncGenerator[TrioConnection | Ended]:
        stream = await self._open(interrupt, deadline)
        if isinstance(stream, Ended):
            yield stream
            return
        try:
            async with trio.open_nursery() as nursery:
                yield await self._upgrade(nursery, stream, interrupt, deadline)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)

    async def _open(self, interrupt: Interrupt, deadline: float) -> trio.abc.Stream | Ended:
        async with interrupt.begin(deadline=deadline):
            try:
                return await self.open_stream(self.target.host, self.target.port, self.target.tls)
            except (OSError, trio.BrokenResourceError) as error:
                return ended_by_dialling(error)
        return NOT_IN_TIME

    async def _upgrade(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, interrupt: Interrupt, deadline: float
    ) -> TrioConnection | Ended:
        async with interrupt.begin(deadline=deadline) as scope:
            watched = WatchedStream(stream, scope.cancel)
            # Any stream works. The library's annotation names only the two kinds that it opens itself.
            websocket = await self._handshake(nursery, cast("trio.SocketStream", watched))
            watched.on_upgraded()
            return TrioConnection(websocket)
        return NO_ANSWER

    async def _handshake(self, nursery: trio.Nursery, stream: trio.SocketStream) -> WebSocketConnection:
        if self.compress:
            return await upgrade_with_compression(nursery, stream, self.target, self.max_message_size)
        return await wrap_client_stream(
            nursery,
            stream,
            self.target.authority,
            self.target.path,
            subprotocols=[SUBPROTOCOL],
            max_message_size=self.max_message_size,
            receive_buffer_size=RECEIVE_BYTES,
        )

    def ended_by(self, raised: BaseException, *, upgraded: bool) -> Ended:
        # A refused upgrade has a status, which decides the next step. So it goes before all other exceptions.
        for error in leaves(raised):
            if is_a(error, ConnectionRejected):
                rejection = cast("ConnectionRejected", error)
                return ended_by_status(rejection.status_code, rejection.body or b"")
        return ended_by_failure(raised, _EXPECTED, _original, upgraded=upgraded)


def _original(error: BaseException) -> BaseException:
    """Return the protocol error of the peer that led to ``error``. If there was none, return ``error`` itself."""
    context: BaseException | None = error
    # The library answers the peer's error, fails again, and other exceptions lie between the two failures.
    for _ in range(_LONGEST_CHAIN):
        if context is None or is_a(context, ProtocolError):
            break
        _, context = led_to(context)
    return context if context is not None and is_a(context, ProtocolError) else error


def _ended_by_close(closed: ConnectionClosed) -> Ended:
    """Return the end of a connection with the code and reason of its close frame."""
    # The stream ended without a close frame.
    if closed.reason is None:
        return Ended(NO_STATUS, "")
    return Ended(int(closed.reason.code), closed.reason.reason or "")


async def open_tcp_stream(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a TCP stream. Do the TLS handshake before returning, so that a TLS error is reported as a TLS error."""
    if tls is None:
        return await trio.open_tcp_stream(host, port)
    # https_compatible: many servers end a TLS connection without its closing message, as HTTPS allows.
    stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream
