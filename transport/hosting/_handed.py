"""A connection on a socket that a web server has handed over: its wire, and its place in the web server's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from transport.protocol import close_codes
from transport.server._trio_wire import TrioWire
from transport.server.accepting import prepared

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Coroutine, Mapping

    from starlette.types import Scope
    from trio_websocket import WebSocketRequest

    from transport.asgi.request import MountedRequest
    from transport.asgi.tasks import Tasks
    from transport.server._wire import UpgradeRequest, WireOwner
    from transport.settings import Settings

EXTENSION = "greenroom.handover"
"""The extension of an ASGI scope in which a web server offers the socket of a request for a WebSocket."""

# The headers that decide about the upgrade. The web server has judged the others, which may have odd bytes in them.
_UPGRADE = {b"host", b"connection", b"upgrade"}
_WEBSOCKET = b"sec-websocket-"


@attrs.frozen
class Taken:
    """A socket that the web server has given away."""

    socket: socket.socket
    early: bytes
    """The bytes that the client has sent together with its request, after it."""
    connections: set[Any]
    """The web server's own list of its connections, for its limits and for its shutdown."""


class HandedWire(TrioWire):
    """A :class:`TrioWire` on a socket from which the web server has read the request already.

    It is also the entry in the web server's list of connections: the web server calls :meth:`shutdown`.

    Args:
        request: The client's request for the WebSocket.
        taken: The socket.
        tasks: The library of the ASGI call.
        upgraded: An event that is set when the request was answered.
        settings: The limits.
    """

    __slots__ = ("_answered", "_connections", "_request", "_tasks", "_upgraded", "ended")

    def __init__(
        self, request: MountedRequest, taken: Taken, tasks: Tasks, upgraded: asyncio.Event, settings: Settings
    ) -> None:
        super().__init__(prepared(taken.socket), taken.socket, request.address, settings)
        self._request: MountedRequest | None = request
        self._tasks: Tasks | None = tasks
        self._upgraded: asyncio.Event | None = upgraded
        self._connections = taken.connections
        self._connections.add(self)
        self.ended: asyncio.Future[None] | None = None
        """Done when the connection has ended. None if no task waits for that."""
        self._answered: trio.Event | None = trio.Event()
        """Set and dropped when the request was answered."""
        self.unread = _head(request.scope) + taken.early

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Answer the client's request, and start to find its user. See :meth:`.Wire.upgrade`."""
        assert self._request is not None and self._tasks is not None and self._upgraded is not None  # noqa: S101, PT018 - called once
        try:
            if await super().upgrade(nursery, owner) is None:
                return None
            self._request.on_accepted(self._tasks)
            return self._request.headers
        finally:
            if self._answered is not None:
                self._answered.set()
            self._upgraded.set()
            # An idle connection holds no request.
            self._answered = self._request = self._tasks = self._upgraded = None

    def receive_some(  # pyright: ignore[reportIncompatibleMethodOverride]  # it must not be async itself: see below
        self, max_bytes: int | None = None
    ) -> Coroutine[Any, Any, bytes | bytearray]:
        """Read bytes from the client. Before the request was answered, only the request itself can be read.

        *The library would keep frames that come before its answer until it reads again. Here the client has had time to
        send them, since the web application has decided about the request.*
        """
        # No coroutine of its own: every idle connection waits here.
        if self._answered is None or self.unread:
            return super().receive_some(max_bytes)
        return self._receive_after(self._answered, max_bytes)

    async def _receive_after(self, answered: trio.Event, max_bytes: int | None) -> bytes | bytearray:
        await answered.wait()
        return await super().receive_some(max_bytes)

    def asked(self, request: WebSocketRequest, headers: list[tuple[bytes, bytes]]) -> UpgradeRequest:
        """Return the request in the form in which the mount hands it on."""
        del request, headers  # they are made of the same request
        assert self._request is not None  # noqa: S101 - called in the upgrade only
        return self._request.asked

    def forget(self) -> None:
        """Leave the web server's list, and drop all references: the connection has ended."""
        self._connections.discard(self)
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        super().forget()

    def shutdown(self) -> None:
        """Close the connection with 1001, because the web server ends. The web server calls this."""
        if self._owner is not None:
            self._owner.close(close_codes.GOING_AWAY, "the server is going away")


def taken_from(scope: Scope) -> Taken | None:
    """Take the socket that the web server offers in the scope. Return None if it offers none."""
    extensions: dict[str, dict[str, Callable[[], Taken | None]]] = scope.get("extensions") or {}
    return extensions[EXTENSION]["take"]() if EXTENSION in extensions else None


def _head(scope: Scope) -> bytes:
    """Return the head of a request for a WebSocket, with the headers that decide about it."""
    lines = [b"%b: %b" % field for field in scope["headers"] if field[0] in _UPGRADE or field[0].startswith(_WEBSOCKET)]
    return b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b""))
