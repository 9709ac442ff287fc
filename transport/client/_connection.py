"""One WebSocket connection as the client's code sees it, and the way to open one. Pure: libraries are in adapters.

``_trio_connection.py`` implements both classes on trio-websocket, ``_asyncio_connection.py`` on websockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from transport.client._ended import Ended
    from transport.client._interrupt import Interrupt


class Connection(Protocol):
    """An open WebSocket connection. Only one task reads, and only one task writes."""

    async def receive(self) -> str | bytes:
        """Return the next message. Safe to cancel.

        Raise :class:`~transport.client._ended.ConnectionEnded` when the connection has ended.
        """
        ...

    async def send(self, text: str) -> None:
        """Send a message, and wait until the network has taken it.

        Raise :class:`~transport.client._ended.ConnectionEnded` when the connection has ended.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's, within ``CLOSE_SECONDS``. Never call it during a send."""
        ...


class Dialer(Protocol):
    """The way to open connections to one server."""

    def dial(self, interrupt: Interrupt, deadline: float) -> AbstractAsyncContextManager[Connection | Ended]:
        """Open a connection for the ``async with`` block: dial, do the TLS handshake, upgrade.

        The block gets the connection, or the reason why there is none. The attempt ends at ``deadline``, or when
        ``interrupt`` ends it. After the block the connection is closed by force. The block raises the exceptions of the
        library and of the application's own function that opens the socket.
        """
        ...

    def ended_by(self, raised: BaseException, *, upgraded: bool) -> Ended:
        """Return the end of a connection that the exceptions in ``raised`` ended. ``upgraded`` is True if it was open.

        An exception that neither the network nor the peer can cause is logged with its traceback.
        """
        ...
