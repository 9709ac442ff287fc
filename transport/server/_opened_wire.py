"""A wire that is opened before its first request: by a header of the PROXY protocol, a TLS handshake, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.server._trio_wire import TrioWire
from transport.server.tls import TlsStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    import trio

    from transport.server._wire import WireOwner
    from transport.server.accepting import Opener
    from transport.settings import Settings


class OpenedWire(TrioWire):
    """A :class:`TrioWire` that calls an opener first.

    *A wire over plain TCP has no such step, and needs no memory for it.*
    """

    __slots__ = ("_accepted", "_opener")

    def __init__(
        self, opener: Opener, stream: trio.SocketStream, sock: socket.socket, address: str, settings: Settings
    ) -> None:
        super().__init__(stream, sock, address, settings)
        self._opener = opener
        self._accepted = stream, sock

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Open the connection, then answer the client's request for a WebSocket. See :meth:`.Wire.upgrade`.

        Return None if connections of the client come too fast.
        """
        stream, address = await self._opener(*self._accepted, self.address)
        if isinstance(stream, TlsStream):
            # The socket object with TLS takes the place of the plain one, and is written to as directly.
            self._stream, self._socket = stream, stream.socket
        if not owner.on_client(address):
            return None
        return await super().upgrade(nursery, owner)
