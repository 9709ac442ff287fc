"""A wire (the WebSocket under a connection) on top of trio-websocket. It adds the goodbye frames."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from transport.protocol import close_codes, server_frames
from transport.protocol.deflate import PLAIN, messages_for
from transport.protocol.deflate_extension import DeflateExtension
from transport.protocol.frame_scanner import FrameScanner
from transport.protocol.handshake import Reject, plain_answer
from transport.protocol.health import probe_in, whole_answer
from transport.protocol.request_head import RequestHead
from transport.protocol.websocket import close_message, text_message
from transport.server._counted_frames import CountedFrames
from transport.server._wire import UpgradeRequest
from transport.server._wsproto import accept, awaits_message, forget_handshake, websocket_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Iterator, Mapping, Sequence

    from trio_websocket import CloseReason, WebSocketConnection, WebSocketRequest

    from transport.protocol.deflate import Messages
    from transport.server._wire import WireOwner
    from transport.settings import Settings

LINGER_SECONDS = 2.0
"""Time limit in seconds for the peer to read the last words, and to close its side of the connection."""
# The beginning of trio-websocket's own reason for 1009. A peer that closes with 1009 itself gets its own reason back:
# the two cases differ by this beginning.
_TOO_BIG = b"Exceeded maximum message size"
# The first byte of a close frame: FIN with opcode 8 (RFC 6455, section 5.2).
_CLOSE = b"\x88"


class TrioWire(CountedFrames):
    """A :class:`~transport.server._wire.Wire` (the WebSocket under a connection) over any trio stream.

    trio-websocket does the handshake, reads messages and answers pings. Text messages are not sent by trio-websocket:
    this class builds their frames and writes them itself. The class is also the write buffer below trio-websocket, so
    that sending an event takes few function calls. The wire owns ``stream`` and closes it.
    """

    __slots__ = (
        "_messages",
        "_upgrading",
        "_websocket",
        "address",
    )

    # trio-websocket raises the last one in its own task if a ping comes after the close frame of this side.
    gone: ClassVar[tuple[type[Exception], ...]] = (
        ConnectionClosed,
        trio.BrokenResourceError,
        trio.ClosedResourceError,
        LocalProtocolError,
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        sock: socket.socket | None,
        address: str,
        settings: Settings,
    ) -> None:
        super().__init__(stream, sock, settings)
        self.address = address
        self._messages: Messages = PLAIN
        """The way in which messages are written: as they are, or compressed."""
        self._upgrading: trio.CancelScope | None = None
        """The cancel scope of the upgrade, while the upgrade is in progress."""
        self._websocket: WebSocketConnection | None = None
        """The WebSocket of trio-websocket. None before the upgrade."""

    @property
    def is_open(self) -> bool:
        """Whether the WebSocket is open, as far as trio-websocket knows."""
        return self._open and self._websocket is not None and self._websocket.closed is None

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Accept or refuse the client's request for a WebSocket, as ``owner`` decides. See :meth:`.Wire.upgrade`.

        Returns the headers of the request. Returns None if the request was refused or did not come.
        """
        self.nursery = nursery
        self._owner = owner
        with trio.CancelScope() as scope:
            self._upgrading = scope
            if (head := await self._read_head()) is None:
                return None
            # If trio-websocket refuses the request by itself, it continues to wait for it: `aclose` ends that.
            request = await wrap_server_stream(
                nursery, self, max_message_size=self._settings.max_frame_bytes, receive_buffer_size=None
            )
            headers = [(b"host", head.host), *request.headers]  # the library keeps the host to itself
            asked = self.asked(request, headers)
            answer = owner.on_upgrade(asked)
            if isinstance(answer, Reject):
                self._discard()
                await _reject(request, answer)
                return None
            # From here on frames of the peer can arrive.
            self._websocket = websocket_of(request)
            self._open = True
            extension = DeflateExtension(self._settings.max_frame_bytes) if self._settings.compress_bytes else None
            self._websocket = await accept(request, answer.subprotocol, extension)
            if extension is not None and extension.window is not None:
                self._messages = messages_for(self._settings.compress_bytes, extension.window)
            forget_handshake(self._websocket)
            self._upgrading = None
            return asked.headers
        return None

    def asked(self, request: WebSocketRequest, headers: list[tuple[bytes, bytes]]) -> UpgradeRequest:
        """Return the request for the owner to judge. A subclass may know more about the request."""
        return UpgradeRequest(request.path, request.proposed_subprotocols, tuple(_decoded(headers)))

    async def _read_head(self) -> RequestHead | None:
        """Read the head of the request, keep it for trio-websocket, and return it.

        Return None if the peer has left. If the request is wrong, answer the request with HTTP 400 and return None. If
        it asks for the health of the server, answer it and return None.
        """
        assert self._owner is not None  # noqa: S101 - called in the upgrade only
        head = RequestHead()
        while not head.complete:
            data = await self.receive_some()
            if not data:
                return None
            if (fault := head.feed(data)) is not None:
                self._owner.on_bad_request(fault)
                self.write(plain_answer(Reject(400, fault)))
                await self.drained()
                self._discard()
                return None
        if (probe := probe_in(head.data)) is not None:
            self.write(whole_answer(probe, self._owner.health()))
            await self.drained()
            return None
        self.unread = head.joined()
        # A peer may send frames before it has got the answer. They count like all others.
        self._scanner = FrameScanner(skip=len(self.unread))
        return head

    def receive(self) -> Awaitable[str | bytes]:
        """Return the peer's next message. See :meth:`.Wire.receive`."""
        # No coroutine of its own: every idle connection waits here.
        assert self._websocket is not None  # noqa: S101 - called after the upgrade only
        return self._websocket.get_message()

    def is_awaited(self) -> bool:
        """Return whether a task waits in :meth:`receive`."""
        return self._websocket is not None and awaits_message(self._websocket)

    def send(self, payload: bytes) -> None:
        """Write a text message, unless the close frame was written. See :meth:`.Wire.send`."""
        if self._open:
            self.write(self._messages.text(payload))

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Write one ``events`` message, unless the close frame was written. See :meth:`.Wire.send_events`."""
        if self._open:
            self.write(self._messages.events(lines))

    def post(self, payload: bytes) -> None:
        """Keep a text message, and write it together with the next message. See :meth:`.Wire.post`."""
        if self._open:
            self.posted.append(text_message(payload))  # replies, which are small: not worth a compression

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's close frame. See :meth:`.Wire.close`."""
        no_time = trio.current_effective_deadline() <= trio.current_time()
        if self._open and (no_time or self._discarding is not None):
            # Nothing waits for the peer's close frame, or finds it among the bytes that are discarded.
            self._open = False
            self.write(close_message(code, reason))
        elif self._websocket is not None:
            await self._websocket.aclose(code, reason)

    def finish(self) -> bool:
        """Write a goodbye and a close frame after bytes that are not WebSocket frames. See :meth:`.Wire.finish`."""
        if (fault := _fault_of(self._websocket, is_open=self._open)) is not None:
            if self._open:
                self._open = False
                self.write(self._last_words(int(fault.code), close_codes.truncate_reason(fault.reason or "")))
            self._discard()
        return self._discarding is not None and not self._open

    def _last_words(self, code: int, reason: str) -> bytes:
        if code == close_codes.MESSAGE_TOO_BIG and not (self._owner and self._owner.on_too_big(code, reason)):
            return close_message(code, reason)
        return _farewell(code, reason)

    async def linger(self) -> None:
        """End the writing, then read and discard the remaining bytes of the peer. See :meth:`.Wire.linger`."""
        with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            # A socket has taken the last words already. Any other stream takes them in a task.
            await self.drained()
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            # The library's task may read, too. Both find the end: of the stream, or of the bytes to discard.
            await self.receive_some()

    async def abort(self) -> None:
        """Close the stream at once, without waiting for the peer. See :meth:`.Wire.abort`."""
        with trio.CancelScope() as scope:
            scope.cancel()
            await super().aclose()

    async def aclose(self) -> None:
        """Close the stream for trio-websocket. After the last words, do nothing: :meth:`linger` and :meth:`abort` come.

        *If a socket with unread bytes were closed, the system would reset the connection, and the peer might lose the
        last words.*
        """
        if self._upgrading is not None:
            # The library has refused the request by itself, or the first frames are wrong while the answer is still
            # being sent. *A peer that reads nothing would otherwise stay until the time of the upgrade is over.*
            self._discard()
            self._upgrading.cancel()
        if self.finish():
            await trio.lowlevel.checkpoint()
        else:
            await super().aclose()

    def forget(self) -> None:
        """Drop the references to the connection (the owner) and to the objects of trio-websocket.

        The wire and these objects refer to each other. Without this call all of them would stay in memory until a
        garbage collection.
        """
        self._owner = self._websocket = None

    # Notifications of the write buffer

    def on_drained(self) -> None:
        """Notify the owner (the connection) that the network has taken all data."""
        if self._owner is not None:
            self._owner.on_drained()

    def on_stuck(self) -> None:
        """Notify the owner (the connection) that the peer takes no more data."""
        if self._owner is not None:
            self._owner.on_stuck()

    def amend(self, data: bytes) -> bytes:
        """Return a goodbye and a close frame, if ``data`` is the close frame for a message that was too large.

        trio-websocket itself sends ``data``, with a reason of its own. Any other data is returned unchanged.
        """
        if not data.startswith(_CLOSE):
            return data
        self._open = False
        code = close_codes.MESSAGE_TOO_BIG
        if data[2:4] != code.to_bytes(2, "big") or not data.startswith(_TOO_BIG, 4):
            return data
        self._discard()
        reason = f"a message may have {self._settings.max_frame_bytes} bytes"
        if self._owner is None or not self._owner.on_too_big(code, reason):
            return data
        return _farewell(code, reason)


def _fault_of(websocket: WebSocketConnection | None, *, is_open: bool) -> CloseReason | None:
    """Return why a WebSocket has ended, if the reason is that its peer sent bytes that are not valid frames.

    Or it sent a compressed message that was too large. *Then no close frame was sent, and the wire is still open. After
    a plain message that was too large, the library has sent one itself.*
    """
    end = None if websocket is None else websocket.closed
    if end is None or (is_open and end.code == close_codes.MESSAGE_TOO_BIG):
        return end
    return end if end.code in close_codes.NO_WEBSOCKET else None


def _farewell(code: int, reason: str) -> bytes:
    """Return a goodbye and a close frame, both with the same code and reason."""
    return text_message(server_frames.goodbye(code, reason)) + close_message(code, reason)


async def _reject(request: WebSocketRequest, answer: Reject) -> None:
    headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Connection", b"close")]
    await request.reject(answer.status, extra_headers=headers, body=answer.body.encode() + b"\n")


def _decoded(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")
