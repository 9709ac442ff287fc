"""A wire (the WebSocket under a connection) through an ASGI server, which does the framing and owns the socket."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import trio

from transport.asgi.writer import AsgiWriter
from transport.protocol import close_codes, server_frames
from transport.protocol.handshake import Reject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Message, Receive, Send

    from transport.asgi.request import MountedRequest
    from transport.asgi.tasks import Event, Tasks
    from transport.server._wire import WireOwner
    from transport.settings import Settings

MAX_RECEIVED = 64
"""Maximum number of a client's messages that wait for the connection. Beyond it, no more are read from the server."""


class ClientLeft(Exception):
    """The client of an ASGI server has left, or the WebSocket was closed."""


class AsgiWire(AsgiWriter):
    """A :class:`~transport.server._wire.Wire` (the WebSocket under a connection) through an ASGI server.

    Two event loops meet here, in one thread. The connection calls the methods of ``Wire`` in trio. The ASGI call
    (:meth:`read`) and the task that writes run in the server's library, which can be asyncio. Nothing is locked: each
    side only appends to a queue and wakes the other side.

    Args:
        request: The client's request for the WebSocket.
        send: The ``send`` of the ASGI call.
        tasks: The library of the ASGI call.
        settings: The limits.
    """

    __slots__ = (
        "_arrived",
        "_closed",
        "_max_bytes",
        "_open",
        "_owner",
        "_received",
        "_received_size",
        "_request",
        "_room",
        "address",
    )

    gone: ClassVar[tuple[type[Exception], ...]] = (ClientLeft, trio.BrokenResourceError)

    def __init__(self, request: MountedRequest, send: Send, tasks: Tasks, settings: Settings) -> None:
        super().__init__(send, tasks, settings.slow_seconds)
        self.address = request.address
        self._request: MountedRequest | None = request
        self._max_bytes = settings.max_frame_bytes
        self._owner: WireOwner | None = None
        self._received: deque[str | bytes] = deque()
        self._received_size = 0
        self._arrived = trio.lowlevel.ParkingLot()
        self._room: Event | None = None
        """The event for which :meth:`read` waits. None while :meth:`read` does not wait."""
        self._open = False
        """Whether the upgrade was accepted and no close was written yet."""
        self._closed = False
        """Whether a close was written."""

    # The connection's side, in trio

    @property
    def is_open(self) -> bool:
        """Whether the WebSocket is open, as far as the server has told."""
        return self._open and not self._lost

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Accept or refuse the client's request, as ``owner`` decides. See :meth:`.Wire.upgrade`."""
        assert self._request is not None  # noqa: S101 - called once
        request, self._request = self._request, None
        self.nursery, self._owner = nursery, owner
        answer = owner.on_upgrade(request.asked)
        if isinstance(answer, Reject):
            for message in request.refusal(answer):
                self.write(message)
            with suppress(trio.BrokenResourceError):
                await self.drained()
            return None
        self._open = True
        self.write({"type": "websocket.accept", "subprotocol": answer.subprotocol})
        request.on_accepted(self._tasks)
        return request.headers

    async def receive(self) -> str | bytes:
        """Return the client's next message. See :meth:`.Wire.receive`."""
        if self._received:
            # What came at once must not be handled at once: other tasks, the session's above all, have their turn.
            await trio.lowlevel.checkpoint()
        while not self._received:
            if not self.is_open:
                raise ClientLeft
            await self._arrived.park()
        message = self._received.popleft()
        self._received_size -= len(message)
        if self._room is not None:
            self._room.set()
            self._room = None
        return message

    def send(self, payload: bytes) -> None:
        """Write a text message, unless the WebSocket was closed. See :meth:`.Wire.send`."""
        if self._open:
            self.write({"type": "websocket.send", "text": payload.decode()}, len(payload))

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Write one ``events`` message. See :meth:`.Wire.send_events`."""
        self.send(server_frames.events(lines))

    def post(self, payload: bytes) -> None:
        """Write a text message. An ASGI server takes each message by itself, so nothing is gained by keeping it."""
        self.send(payload)

    def release(self) -> None:
        """Do nothing: :meth:`post` keeps nothing."""

    async def close(self, code: int, reason: str) -> None:
        """Close the WebSocket and wait until the server has taken that. The server waits for the client's answer."""
        if self._open:
            self.write({"type": "websocket.close", "code": code, "reason": reason})
            self._open, self._closed = False, True
        with suppress(trio.BrokenResourceError):
            await self.drained()

    def finish(self) -> bool:
        """Return False: the ASGI server writes the last words after bytes that are no frames, and closes the socket."""
        return False

    async def linger(self) -> None:
        """Do nothing: :meth:`finish` asks for nothing."""

    async def abort(self) -> None:
        """Write no more. The ASGI server closes the socket when the call has ended. See :meth:`.Wire.abort`."""
        self.lose()

    def forget(self) -> None:
        """Drop the reference to the connection (the owner), and to its nursery."""
        self._owner = self.nursery = None

    # The server's side, in its own library

    async def read(self, receive: Receive) -> None:
        """Take the client's messages until the client leaves, or the server closes the WebSocket.

        While the connection has not handled :data:`MAX_RECEIVED` messages, or ``max_frame_bytes`` in all, no more are
        taken: the server then stops to read from the client.
        """
        while not self._lost:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                break
            if message["type"] == "websocket.receive":
                self._take(message)
            while self._is_full():
                room = self._room = self._tasks.event()
                await room.wait()
        self.lose()

    def go_away(self) -> None:
        """Close the connection with 1001, because the web server ends the ASGI call."""
        if self._owner is None:
            self.lose()
        else:
            self._owner.close(close_codes.GOING_AWAY, "the server is going away")

    def lose(self) -> None:
        """End both directions: the client has left, or the connection has ended. Can be called more than once."""
        super().lose()
        self._arrived.unpark_all()
        if self._room is not None:
            self._room.set()

    def on_drained(self) -> None:
        """Notify the connection that the server has taken all messages."""
        if self._owner is not None:
            self._owner.on_drained()

    def on_stuck(self) -> None:
        """Notify the connection that the client takes nothing."""
        if self._owner is not None:
            self._owner.on_stuck()

    def _take(self, message: Message) -> None:
        text = message.get("text")
        whole: str | bytes = message.get("bytes") or b"" if text is None else text
        # One character too many is enough for a refusal with 1009. *The server's own limit is 16 MB for a message.*
        kept = whole[: self._max_bytes + 1]
        # Some servers hand on a message while the upgrade is still being answered.
        if not self._closed:
            self._received.append(kept)
            self._received_size += len(kept)
            self._arrived.unpark()

    def _is_full(self) -> bool:
        waiting = len(self._received) >= MAX_RECEIVED or self._received_size >= self._max_bytes
        return waiting and not self._lost
