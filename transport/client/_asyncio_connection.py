"""A connection on the library websockets.

This module uses the library's connection without the library's function ``connect``, which follows redirects and uses
the proxies in the environment. The client on trio does neither.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

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
from transport.protocol.close_codes import NO_STATUS, NOT_UTF_8
from transport.protocol.handshake import SUBPROTOCOL

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from transport.client._asyncio_loop import AsyncioLoop
    from transport.client._interrupt import Interrupt
    from transport.client._target import Target

SocketFactory: TypeAlias = "Callable[[str, int], Awaitable[socket.socket]]"
"""A function that opens a connected, non-blocking socket to (host, port), without TLS.

On failure the function raises ``OSError``. The client closes the socket.
"""

_NEXT_ADDRESS_SECONDS = 0.25
"""Time after which the next address of a host is tried as well, in seconds (RFC 8305, section 5)."""
_QUEUE = 4
"""Number of messages that wait between the socket and the client. With more, the library stops to read."""

_COMPRESSION = ClientPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, compress_settings={"level": 1}
)
"""The offer of compression in which each message has a context of its own."""

_EXPECTED = (WebSocketException, OSError)
"""Exceptions caused by the network, or by a peer that does not follow this protocol."""


class _Websocket(ClientConnection):
    """The library's connection. The library waits until the peer hangs up; here, this wait has an end."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.handshake_exc is not None:
            self.transport.abort()  # otherwise an answer without an end would be read until the deadline
        elif self.protocol.close_expected():
            # Otherwise a close code would be known only after the peer has hung up.
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


class AsyncioConnection:
    """A connection of websockets: a :class:`~transport.client._connection.Connection`."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        try:
            return await self._websocket.recv()
        except ConnectionClosed as closed:
            raise ConnectionEnded(_ended_by_close(closed)) from None

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send(text)
        except ConnectionClosed as closed:
            raise ConnectionEnded(_ended_by_close(closed)) from None

    async def close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._websocket.close(code, reason)
        except TimeoutError:  # a peer that reads nothing: the close frame waits behind other bytes
            return


@attrs.frozen
class AsyncioDialer:
    """Opens connections on asyncio: a :class:`~transport.client._connection.Dialer`."""

    loop: AsyncioLoop
    target: Target
    max_message_size: int
    open_socket: SocketFactory | None
    compress: bool = False
    """Whether the client offers compression."""

    @asynccontextmanager
    async def dial(self, interrupt: Interrupt, deadline: float) -> AsyncGenerator[AsyncioConnection | Ended]:
        websocket = await self._open(interrupt, deadline)
        if isinstance(websocket, Ended):
            yield websocket
            return
        try:
            yield await self._upgrade(websocket, interrupt, deadline)
        finally:
            websocket.transport.abort()
            await websocket.wait_closed()

    async def _open(self, interrupt: Interrupt, deadline: float) -> ClientConnection | Ended:
        async with interrupt.begin(deadline=deadline):
            try:
                return await self._connect()
            except OSError as error:
                return ended_by_dialling(error)
        return NOT_IN_TIME

    async def _connect(self) -> ClientConnection:
        loop, target = asyncio.get_running_loop(), self.target
        if self.open_socket is None:
            # Only asyncio's own loops can try several addresses at the same time.
            own = {"happy_eyeballs_delay": _NEXT_ADDRESS_SECONDS} if isinstance(loop, asyncio.BaseEventLoop) else {}
            options: dict[str, Any] = {"host": target.host, "port": target.port, "ssl": target.tls, **own}
            return (await loop.create_connection(self._websocket, **options))[1]
        sock = await self.loop.foreign(self.open_socket(target.host, target.port))
        try:
            name = None if target.tls is None else target.host
            options = {"sock": sock, "ssl": target.tls, "server_hostname": name}
            return (await loop.create_connection(self._websocket, **options))[1]
        except BaseException:
            sock.close()
            raise

    def _websocket(self) -> ClientConnection:
        target = self.target
        uri = WebSocketURI(target.tls is not None, target.host, target.port, target.path, query="")
        offered = [Subprotocol(SUBPROTOCOL)]
        extensions = [_COMPRESSION] if self.compress else None
        protocol = ClientProtocol(uri, subprotocols=offered, extensions=extensions, max_size=self.max_message_size)
        return _Websocket(protocol, ping_interval=None, close_timeout=CLOSE_SECONDS, max_queue=_QUEUE)

    async def _upgrade(
        self, websocket: ClientConnection, interrupt: Interrupt, deadline: float
    ) -> AsyncioConnection | Ended:
        async with interrupt.begin(deadline=deadline):
            await websocket.handshake(user_agent_header=None)
            return AsyncioConnection(websocket)
        return NO_ANSWER

    def ended_by(self, raised: BaseException, *, upgraded: bool) -> Ended:
        # A refused upgrade has a status, which decides the next step. So it goes before all other exceptions.
        for error in leaves(raised):
            if is_a(error, InvalidStatus):
                answer = cast("InvalidStatus", error).response
                return ended_by_status(answer.status_code, bytes(answer.body or b""))
        return ended_by_failure(raised, _EXPECTED, _original, upgraded=upgraded)


def _original(error: BaseException) -> BaseException:
    """Return the cause of an exception of the library, which says more. If there is none, return ``error`` itself."""
    cause, _ = led_to(error)
    return cause if cause is not None and is_a(error, WebSocketException) else error


def _ended_by_close(closed: ConnectionClosed) -> Ended:
    """Return the end of a connection with the code and reason of the first close frame.

    This is the peer's frame, or the frame with which the library refused a message of the peer.
    """
    if isinstance(closed.__cause__, UnicodeDecodeError):
        # Texts are decoded when they are read. Perhaps the peer has hung up since, without a close frame.
        return Ended(NOT_UTF_8, "a message that is not UTF-8")
    first = closed.rcvd if closed.sent is None or closed.rcvd_then_sent else closed.sent
    # The stream ended without a close frame.
    return Ended(NO_STATUS, "") if first is None else Ended(int(first.code), first.reason)
