"""A handshake of trio-websocket that offers compression. The library's own function offers no extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from trio_websocket import WebSocketConnection
from wsproto import ConnectionType, WSConnection

from transport.protocol.deflate_extension import DeflateExtension
from transport.protocol.handshake import SUBPROTOCOL

if TYPE_CHECKING:
    import trio
    from wsproto.events import Request
    from wsproto.extensions import Extension

    from transport.client._target import Target


RECEIVE_BYTES = 64 * 1024
"""Maximum number of bytes that one read takes from the network."""


async def upgrade_with_compression(
    nursery: trio.Nursery, stream: trio.SocketStream, target: Target, max_size: int
) -> WebSocketConnection:
    """Do the handshake on ``stream``, and offer compression. Return the WebSocket. Its tasks run in ``nursery``.

    A compressed message may have ``max_size`` bytes, any other ``max_size`` characters.
    """
    websocket = WebSocketConnection(
        stream,
        WSConnection(ConnectionType.CLIENT),
        host=target.authority,
        path=target.path,
        client_subprotocols=[SUBPROTOCOL],
        max_message_size=max_size,
        receive_buffer_size=RECEIVE_BYTES,
    )
    # These three are private, and the library's own function uses them in the same way.
    request = cast("Request", websocket._initial_request)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    cast("list[Extension]", request.extensions).append(DeflateExtension(max_size, compresses=True))
    nursery.start_soon(websocket._reader_task)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    await websocket._open_handshake.wait()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    return websocket
