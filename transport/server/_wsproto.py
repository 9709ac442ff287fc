"""Access to private parts of trio-websocket and wsproto: a request's WebSocket, extensions, memory that they hold."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio
from wsproto.events import AcceptConnection

from actors.loop.trio_internals import has_receiver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_websocket import WebSocketConnection, WebSocketRequest
    from wsproto.extensions import Extension


@attrs.frozen
class _FinishedHandshake:
    """A small object in place of wsproto's handshake object, which is no longer needed.

    This small object never has events.
    """

    @staticmethod
    def events() -> tuple[()]:
        """Return no events, since the handshake is over."""
        return ()


class _FewEvents(list[object]):
    """A queue in place of a deque of wsproto that nearly always is empty. An empty deque has room for 64 items.

    wsproto keeps a single event here, the one after the peer has left without a close frame. All others are made when
    they are asked for.
    """

    __slots__ = ()

    def popleft(self) -> object:
        """Remove and return the oldest event."""
        return self.pop(0)


_FINISHED = _FinishedHandshake()
_PASSED = trio.Event()
_PASSED.set()
# Events of trio-websocket that no task waits for after the handshake. The second is set at the end, for its own tests.
_UNUSED_EVENTS = ("_open_handshake", "_for_testing_peer_closed_connection")


def forget_handshake(socket: WebSocketConnection) -> None:
    """Free the objects that only the handshake needed: HTTP/1.1 state, request, headers and events, 4.2 KB in total.

    wsproto would keep these objects while the connection is open, although they produce no further events. They are in
    private attributes of trio-websocket. If a later version changes these attributes, nothing is freed and nothing
    fails.
    """
    for name in _UNUSED_EVENTS:
        if hasattr(socket, name):
            setattr(socket, name, _PASSED)
    with suppress(AttributeError):
        inner: Any = socket._wsproto  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
        if inner.connection is not None:
            inner.handshake = _FINISHED
            if not inner.connection._events:  # noqa: SLF001 - as above
                inner.connection._events = _FewEvents()  # noqa: SLF001 - as above


def websocket_of(request: WebSocketRequest) -> WebSocketConnection | None:
    """Return the WebSocket that will be open when the request is accepted.

    trio-websocket reads frames of the client as soon as the answer is sent. *On a stream without a socket, such as TLS,
    wrong bytes could arrive before ``accept`` had returned the WebSocket, and the client got no reason.* If a later
    version of trio-websocket has another attribute, this function returns None, and nothing else fails.
    """
    websocket: WebSocketConnection | None = getattr(request, "_connection", None)
    return websocket


async def accept(
    request: WebSocketRequest, subprotocol: str | None, extension: Extension | None
) -> WebSocketConnection:
    """Accept the request. wsproto agrees on ``extension`` if the client offers it.

    trio-websocket's own ``accept`` knows no extensions. If a later version of trio-websocket has other attributes, the
    request is accepted without the extension.
    """
    websocket = websocket_of(request)
    send: Callable[[AcceptConnection], Awaitable[None]] | None = getattr(websocket, "_send", None)
    if extension is None or websocket is None or send is None:
        return await request.accept(subprotocol=subprotocol)
    await send(AcceptConnection(subprotocol=subprotocol, extensions=[extension]))
    return websocket


def awaits_message(socket: WebSocketConnection) -> bool:
    """Return whether a task waits for the next message, so that no message is queued before it.

    If a later version of trio-websocket has another channel for its messages, this function returns False, and nothing
    else fails.
    """
    channel = getattr(socket, "_recv_channel", None)
    return channel is not None and has_receiver(channel)
