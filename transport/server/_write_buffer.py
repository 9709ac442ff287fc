"""The one way out of a connection: bytes leave in the order of the calls, and no message is cut by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.clock import loop_time

if TYPE_CHECKING:
    import socket

RECEIVE_BYTES = 64 * 1024
"""Bytes that one read asks the socket for."""
MAX_QUEUED = 1024 * 1024
"""Bytes that may be written while the buffer is blocked, before the peer counts as stuck.

Events and history wait until the buffer has drained, so these are replies, errors and pings.
"""
# Bytes handed to the kernel at once. A larger slice would only be copied and mostly kept.
_CHUNK = 64 * 1024


class WriteBuffer(trio.abc.Stream):
    """A stream that never makes its writer wait, between a WebSocket library and the network.

    :meth:`write` tries the socket at once. What the kernel does not take is kept, and one task, which lives only as
    long as something is kept, sends it. The library's handshakes, pongs and close frames pass through here as well.

    A cancelled caller leaves no half message behind: data that was accepted is sent whole, or not at all. The methods
    ``on_drained`` to ``last_words`` are for a subclass to override.

    Args:
        stream: The stream to write to and read from. The buffer owns it and closes it.
        sock: The socket under ``stream``, if there is one. Other streams are written to by the task alone.
        slow_seconds: How long nothing may leave before the peer counts as stuck.
    """

    __slots__ = (
        "_broken",
        "_drained",
        "_pending",
        "_queued",
        "_reading",
        "_slow_seconds",
        "_socket",
        "_stream",
        "_unread",
        "blocked",
        "nursery",
        "posted",
        "progressed_at",
    )

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None, *, slow_seconds: float) -> None:
        self._stream = stream
        self._socket = sock
        self._slow_seconds = slow_seconds
        self.nursery: trio.Nursery
        """Where the task that sends runs. To be set before the first :meth:`write`."""
        self.posted: list[bytes] = []
        """Data for the next :meth:`write` or :meth:`release`: small messages that leave together cost less."""
        self._pending = bytearray()
        self._queued = 0
        """Bytes that were written since the buffer was blocked last."""
        self.blocked = False
        """Whether something is kept that the network did not take yet."""
        self._broken = False
        self._drained: trio.lowlevel.ParkingLot | None = None
        self._reading = False
        self._unread: trio.lowlevel.ParkingLot | None = None
        self.progressed_at = loop_time().now()
        """When bytes left last, or the peer showed otherwise that it reads. In the loop's time."""

    # For a subclass

    def on_drained(self) -> None:
        """React to the end of the backlog: nothing is kept any more. Must not wait."""

    def on_stuck(self) -> None:
        """React to a peer that takes nothing: nothing left for ``slow_seconds``, or too much is kept.

        The kept bytes stay. Must not wait.
        """

    def on_closed(self) -> None:
        """React to the close of the stream. Must not wait."""

    def amend(self, data: bytes) -> bytes:
        """Return the bytes to be written instead of ``data``, which the library sends."""
        return data

    def last_words(self) -> bytes:
        """Return bytes to be written before the stream is closed."""
        return b""

    # Writing

    @property
    def pending(self) -> int:
        """Number of bytes that are kept."""
        return len(self._pending)

    def write(self, data: bytes) -> None:
        """Send ``data`` after everything that was written before. Never waits; does nothing after the stream's end."""
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
        """Write the data in ``posted``, if there is any."""
        if self.posted:
            self.write(b"")

    async def drained(self) -> None:
        """Wait until nothing is kept. Safe to cancel.

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
        """Note that bytes left, or that the peer showed otherwise that it reads."""
        self.progressed_at = loop_time().now()

    # The stream under the library

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write ``data`` for the library, and wait until it has left. Cancelled: it is sent all the same."""
        self.write(self.amend(bytes(data)))
        await self.drained()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until nothing is kept. Part of a stream; trio-websocket does not use it."""
        await self.drained()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read bytes, for the library or for code that reads on after it. A second reader waits for the first."""
        while self._reading:
            if self._unread is None:
                self._unread = trio.lowlevel.ParkingLot()
            await self._unread.park()
        self._reading = True
        size = RECEIVE_BYTES if max_bytes is None else max_bytes
        try:
            # Every idle connection waits here, in as few coroutines as possible. Trio's own way is five coroutines
            # deeper, and it also asks the socket twice and yields twice for each message.
            while self._socket is not None and not self._broken:
                await trio.lowlevel.wait_readable(self._socket)
                if (data := _received(self._socket, size)) is not None:
                    return data
            return await self._stream.receive_some(size)
        finally:
            self._reading = False
            if self._unread:
                self._unread.unpark()

    async def aclose(self) -> None:
        """Close the stream. Kept bytes are lost. Idempotent."""
        if last_words := self.last_words():
            self.write(last_words)
        self._break()
        self.on_closed()
        await self._stream.aclose()

    def _try(self, data: bytes) -> int:
        """Offer ``data`` to the kernel. Return how many bytes it took."""
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
        """Send the kept bytes, until there are none. Beside it, a task watches that anything leaves at all."""
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
        # An event would cost something at each write. This costs a look every slow_seconds, while something is kept.
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


def _received(sock: socket.socket, size: int) -> bytes | None:
    """Read the bytes that are there. Return None if there are none yet, and b"" at the end of the stream.

    Raises:
        trio.BrokenResourceError: If the connection was lost.
    """
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
