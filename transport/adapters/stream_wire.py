"""A wire (the transport under a connection) on the response to an HTTP request.

The wire plays the part of the client that HTTP has no way for: it says the hello that the request stands for, and
answers pings as soon as the network has taken them.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import orjson
import trio

from transport.adapters.answers import Refused
from transport.adapters.stream_frames import StreamFrames
from transport.protocol import close_codes
from transport.protocol.client_frames import Pong
from transport.protocol.handshake import Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transport.adapters.format import Format
    from transport.adapters.response import Response
    from transport.asgi.request import RequestHeaders
    from transport.protocol.client_frames import Hello
    from transport.server._wire import UpgradeRequest, WireOwner

MAX_RECEIVED = 64
"""Maximum number of frames of the client (typing, fresh tokens) that wait for the connection."""
_TYPE = slice(9, 40)
"""The place of the type in a frame of the server, which begins with ``{"type":"``."""
_PONG = Pong().encode().decode()


class ResponseEnded(Exception):
    """The response is over: complete with the code 1000, or left by its client with 1006."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.reason = SimpleNamespace(code=code)


class StreamWire(StreamFrames):
    """A :class:`~transport.server._wire.Wire` that writes to the response of an HTTP request.

    Args:
        response: The response.
        asked: The request, as the endpoint judges requests for a WebSocket.
        headers: The headers of the request, with the way to its user.
        on_accepted: Called when the request was accepted, before the user is looked for.
        address: The network address of the client.
        hello: The hello for which the request stands.
        format_: The format of the response.
        comment_seconds: The longest silence, after which a comment is written.
    """

    gone: ClassVar[tuple[type[Exception], ...]] = (ResponseEnded, trio.BrokenResourceError)

    def __init__(  # noqa: PLR0913 - by keyword only
        self,
        *,
        response: Response,
        asked: UpgradeRequest,
        headers: RequestHeaders,
        on_accepted: Callable[[], None],
        address: str,
        hello: Hello,
        format_: Format,
        comment_seconds: float,
    ) -> None:
        super().__init__(response, format_, comment_seconds)
        self.address = address
        self.session = hello.session
        """Name of the session."""
        self._asked, self._headers, self._on_accepted = asked, headers, on_accepted
        self._hello: str | None = hello.encode().decode()
        self._owner: WireOwner | None = None
        self._received: deque[str] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._gave_time = False
        """Whether the last bytes have had their time to go out."""

    # The connection's side

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Let ``owner`` decide about the request. See :meth:`.Wire.upgrade`."""
        self._nursery, self._owner = nursery, owner
        self._response.nursery, self._response.owner = nursery, self
        answer = owner.on_upgrade(self._asked)
        if isinstance(answer, Reject):
            self._refuse(Refused.rejected(answer))
            return None
        self._on_accepted()
        return self._headers

    async def receive(self) -> str:
        """Return the hello, and later the frames of :meth:`feed`. See :meth:`.Wire.receive`."""
        if self._hello is not None:
            hello, self._hello = self._hello, None
            await trio.lowlevel.checkpoint()
            return hello
        if self._received:
            await trio.lowlevel.checkpoint()
        while not self._received:
            if not self.is_open:
                raise ResponseEnded(1000 if self._closed else close_codes.ABNORMAL)
            await self._arrived.park()
        return self._received.popleft()

    def feed(self, frame: str) -> bool:
        """Hand a frame of the client to the connection. Return False if too many wait, or the stream is over."""
        if not self.is_open or len(self._received) >= MAX_RECEIVED:
            return False
        self._received.append(frame)
        self._arrived.unpark()
        return True

    @property
    def user(self) -> str | None:
        """Id of the connection's user. None before the user was found, and after the end."""
        user = getattr(self._owner, "user", None)
        return None if user is None else str(user.id)

    def send(self, payload: bytes) -> None:
        """Write a frame in the format of the response. See :meth:`.Wire.send`."""
        if self._closed:
            return
        kind = payload[_TYPE].partition(b'"')[0]
        match kind:
            case b"welcome":
                self._welcome(orjson.loads(payload))
            case b"goodbye":
                self._goodbye(orjson.loads(payload))
            case b"ping":
                self._on_ping()
            case b"signal":
                self._write(self._format.signal(payload))
            case _:
                self._write(self._format.other(payload))

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Write events in the format of the response. See :meth:`.Wire.send_events`."""
        if not self._closed:
            self._write(self._format.events(lines))

    def post(self, payload: bytes) -> None:
        """Write a frame. An ASGI server takes each part by itself, so nothing is gained by keeping it."""
        self.send(payload)

    def release(self) -> None:
        """Do nothing: :meth:`post` keeps nothing."""

    async def drained(self) -> None:
        """Wait until the network has taken all bytes. See :meth:`.Wire.drained`."""
        if self._closed and not self._gave_time:
            raise trio.BrokenResourceError
        await self._response.drained()

    def note_progress(self) -> None:
        """Record that the client still reads."""
        self._response.note_progress()

    async def close(self, code: int, reason: str) -> None:
        """End the response, and wait until the network has taken it. ``code`` was told by the goodbye."""
        del code, reason
        self._finish()
        self._gave_time = True
        with suppress(trio.BrokenResourceError):
            await self._response.drained()

    def finish(self) -> bool:
        """Return False: there are no last words after a response."""
        return False

    async def linger(self) -> None:
        """Do nothing: :meth:`finish` asks for nothing."""

    async def abort(self) -> None:
        """End the response. If it was not closed before, its last bytes have ``slow_seconds`` to go out."""
        self._finish()
        try:
            if not self._gave_time and not self._response.lost:
                with trio.move_on_after(self._response.slow_seconds), suppress(trio.BrokenResourceError):
                    await self._response.drained()
        except trio.Cancelled:
            self.forget()
            raise
        finally:
            self._response.lose()

    def forget(self) -> None:
        """Drop the references to the connection."""
        self._owner = self._response.owner = self._response.nursery = None
        self._received.clear()

    # Calls of the response

    def on_drained(self) -> None:
        """Notify the connection that the network has taken all bytes."""
        if self._owner is not None:
            self._owner.on_drained()

    def on_stuck(self) -> None:
        """Notify the connection that the client takes nothing."""
        if self._closed:
            self._response.lose()
        elif self._owner is not None:
            self._owner.on_stuck()

    def on_lost(self) -> None:
        """End the connection, since its client has left."""
        self._arrived.unpark_all()

    def on_going_away(self) -> None:
        """Close the connection with 1001, because the web server ends the call."""
        if self._owner is not None:
            self._owner.close(close_codes.GOING_AWAY, "the server is going away")

    def end(self) -> None:
        """Complete the response, since nothing more is wanted: as if the client had left after the last bytes."""
        super().end()
        self._arrived.unpark_all()

    def _on_ping(self) -> None:
        """Write a comment in place of a ping. The pong follows when the network has taken it."""
        if not self._format.is_whole:
            self._write(self._format.comment())
        self._nursery.start_soon(self._pong)

    async def _pong(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self._response.drained()
            self.feed(_PONG)
