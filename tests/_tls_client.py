"""A WebSocket client over TLS with blocking calls, of the library websockets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

PATIENCE = 60.0
"""Seconds within which an answer must come."""


@attrs.frozen
class TlsClient:
    """A connection of :func:`tls_client`."""

    _portal: BlockingPortal
    _connection: ClientConnection

    @property
    def version(self) -> str | None:
        """The agreed version of TLS."""
        version: str | None = self._connection.transport.get_extra_info("ssl_object").version()
        return version

    def send(self, text: str) -> None:
        """Send a text message."""
        self._portal.call(self._connection.send, text)

    def receive(self) -> str:
        """Return the next message."""
        return str(self._portal.call(self._in_time, self._connection.recv))

    def ping(self) -> None:
        """Send a ping, and wait for the pong."""
        self._portal.call(self._in_time, self._pinged)

    async def _pinged(self) -> None:
        await (await self._connection.ping())

    async def _in_time(self, function: Callable[[], Awaitable[object]]) -> object:
        with anyio.fail_after(PATIENCE):
            return await function()


@contextmanager
def tls_client(url: str, context: ssl.SSLContext, origin: str | None = None) -> Iterator[TlsClient]:
    """Connect a client for the block. One thread does all of its TLS.

    *The library's own blocking client reads and writes in two threads, which OpenSSL does not allow for one connection:
    sometimes the request or its answer is lost.*
    """
    with start_blocking_portal() as portal:
        connecting = connect(
            url,
            ssl=context,
            origin=None if origin is None else Origin(origin),
            subprotocols=[Subprotocol("greenroom.v1")],
            open_timeout=None,
            proxy=None,
        )
        with portal.wrap_async_context_manager(connecting) as connection:
            yield TlsClient(portal, connection)
