"""The buffer for all data that a connection sends. It keeps the order of the calls, and never mixes two messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.clock import loop_time
from transport.server._read_buffer import ReadBuffer

if TYPE_CHECKING:
    import socket

MAX_QUEUED = 1024 * 1024
"""Maximum bytes that are written while the buffer is blocked. After more bytes, the peer counts as stuck.

These bytes are replies, errors and pings: events and history are not written while the buffer is blocked.
"""
# Bytes handed to the kernel at once. A larger slice would only be copied and mostly kept.
_CHUNK = 64 * 1024


class WriteBuffer(ReadBuffer):
    """A stream between a WebSocket library and the network. A write to this stream never waits.

    :meth:`write` sends data at once, as much as the operating system takes. The rest is kept, and a task sends it. The
    task ends when nothing is kept any more. The library's handshakes, pongs and close frames pass through here as well.

    If a caller is cancelled, no message is cut: accepted data is sent completely, or not at all. The methods from
    ``on_drained`` to ``amend`` can be overridden by a subclass.

    Args:
        stream: The stream to write to and read from. The buffer owns the stream and closes it.
        sock: The socket under ``stream``, if there is one. If it is None, only the task writes to the stream.
        slow_seconds: Time after which the peer counts as stuck, if no data could be sent in this time.
    """

    __slots__ = (
        "_drained",
        "_pending",
        "_queued",
        "_slow_seconds",
        "blocked",
        "nursery",
        "posted",
        "progressed_at",
    )

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None, *, slow_seconds: float) -> None:
        super().__init__(stream, sock)
        self._slow_seconds = slow_seconds
        self.nursery: trio.Nursery
        """The nursery of the task that sends. Must be set before the first :meth:`write`."""
        self.posted: list[bytes] = []
        """Messages that the next :meth:`write` or :meth:`release` sends.

        Sending small messages together costs less.
        """
        self._pending = bytearray()
        self._queued = 0
        """Number of bytes that were passed to :meth:`write` since the buffer became blocked."""
        self.blocked = False
        """Whether some data is kept, because the network has not taken all data yet."""
        self._drained: trio.lowlevel.ParkingLot | None = None
        self.progressed_at = loop_time().now()
        """The last time, on the event loop's clock, at which the peer showed that it reads.

        The peer shows this when bytes can be sent, or when an ack comes.
        """

    # For a subclass

    def on_drained(self) -> None:
        """Handle that all kept data was sent. Must not wait.

        This class does nothing; a subclass can override the method.
        """

    def on_stuck(self) -> None:
        """Handle a stuck peer. This class does nothing; a subclass can override the method. Must not wait.

        A peer is stuck if no data could be sent for ``slow_seconds``, or if too much data is kept. The kept data stays.
        """

    def amend(self, data: bytes) -> bytes:
        """Return the bytes to write in place of ``data``, which the WebSocket library sends.

        A subclass can change the bytes.
        """
        return data

    # Writing

    @property
    def pending(self) -> int:
        """Number of bytes that wait to be sent."""
        return len(self._pending)

    @property
    def blocked_seconds(self) -> float:
        """Seconds for which the peer has taken nothing, although bytes wait to be sent. 0 if none wait."""
        return loop_time().now() - self.progressed_at if self.blocked else 0.0

    def write(self, data: bytes) -> None:
        """Send ``data`` after all data that was written before. Never waits. Does nothing if the stream has ended."""
        if self._broken:
            return
        if self.posted:
            data = b"".join((*self.posted, data))
            self.posted.clear()
        if self.blocked:
            self._pending += data
            self._queued += len(data)
            if self._queued > MAX_QUEUED:
                self.on_stuck()
            return
        sent = self._try(data)
        if sent < len(data):
            self._pending += data[sent:] if sent else data
            self.blocked = True
            # What blocked the buffer does not count: one event alone may be larger than MAX_QUEUED.
            self._queued = 0
            self.progressed_at = loop_time().now()
            self.nursery.start_soon(self._send_pending)

    def release(self) -> None:
        """Write the data in :attr:`posted`, if there is any."""
        if self.posted:
            self.write(b"")

    async def drained(self) -> None:
        """Wait until all data was sent. Safe to cancel.

        Raises:
            trio.BrokenResourceError: If the stream has ended.
        """
        while self.blocked and not self._broken:
            if self._drained is None:
                self._drained = trio.lowlevel.ParkingLot()
            await self._drained.park()
        if self._broken:
            raise trio.BrokenResourceError

    def note_progress(self) -> None:
        """Record that the peer still reads: bytes were sent, or the peer has acknowledged events."""
        self.progressed_at = loop_time().now()

    # The stream under the library

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write ``data`` for the WebSocket library, and wait until ``data`` was sent.

        If the call is cancelled, the data is still sent.
        """
        self.write(self.amend(bytes(data)))
        await self.drained()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until all data was sent. A stream must have this method, but trio-websocket does not use it."""
        await self.drained()

    async def aclose(self) -> None:
        """Close the stream. Data that was not sent is lost. This can be called more than once."""
        self._break()
        await self._stream.aclose()

    def _try(self, data: bytes) -> int:
        """Hand ``data`` to the operating system. Return the number of bytes that the system took."""
        if self._socket is None:
            return 0
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # Nothing can leave any more, so nothing is kept. The reader finds the end of the connection.
            self._break()
            return len(data)

    async def _send_pending(self) -> None:
        """Send the kept bytes until none are left. Meanwhile a second task checks that the peer is not stuck."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                while self._pending:
                    sent = await self._send_some()
                    del self._pending[:sent]
                    self.note_progress()
                # There was no checkpoint since `_pending` was found empty, so nothing was added meanwhile: from here on
                # a write goes to the socket again.
                self._drain()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self._break()

    def _drain(self) -> None:
        if not self._broken:
            self.blocked = False
            self._unpark()
            self.on_drained()

    async def _send_some(self) -> int:
        chunk = bytes(self._pending[:_CHUNK])
        if self._socket is None:
            await self._stream.send_all(chunk)
            return len(chunk)
        await trio.lowlevel.wait_writable(self._socket)
        return self._try(chunk)

    async def _watch(self) -> None:
        # Setting a trio.Event would cost something at each write. This loop costs one look every slow_seconds, while
        # something is kept.
        while (left := self.progressed_at + self._slow_seconds - loop_time().now()) > 0:  # noqa: ASYNC110 - as said
            await trio.sleep(left)
        self.on_stuck()

    def _break(self) -> None:
        self._broken = True
        self._pending.clear()
        self._unpark()

    def _unpark(self) -> None:
        if self._drained is not None:
            self._drained.unpark_all()
