"""The one way out of a connection: whoever writes, bytes leave in order and no message is ever cut by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.clock import loop_time

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

RECEIVE_BYTES = 64 * 1024
MAX_QUEUED = 1024 * 1024
"""Bytes that may be written behind what is kept: whoever writes much waits for it, so these are replies."""
_CHUNK = 64 * 1024


class WriteBuffer(trio.abc.Stream):
    """Lies between trio-websocket and the network: handshake, pongs and close frames pass through it like all else.

    :meth:`write` tries the socket at once and never waits; what the kernel does not take is kept, and one task, which
    lives only as long as something is kept, sends it. A cancelled caller leaves no half message behind, since what was
    accepted is sent whole or not at all. ``sock`` is the socket under ``stream`` where there is one; other streams are
    written to by that task alone. Owns ``stream``.
    """

    __slots__ = (
        "_broken",
        "_drained",
        "_nursery",
        "_pending",
        "_posted",
        "_queued",
        "_reading",
        "_slow_seconds",
        "_socket",
        "_stream",
        "_unread",
        "before_close",
        "blocked",
        "on_closed",
        "on_drained",
        "on_stuck",
        "progressed_at",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        sock: socket.socket | None,
        nursery: trio.Nursery,
        *,
        slow_seconds: float,
    ) -> None:
        self._stream = stream
        self._socket = sock
        self._nursery = nursery
        self._slow_seconds = slow_seconds
        self._pending = bytearray()
        self._posted: list[bytes] = []
        self._queued = 0
        self.blocked = False
        """Whether something is kept that the network did not take yet."""
        self._broken = False
        self._drained: trio.lowlevel.ParkingLot | None = None
        self._reading = False
        self._unread: trio.lowlevel.ParkingLot | None = None
        self.progressed_at = loop_time().now()
        """When something last left, or the peer showed otherwise that it takes what it gets; in the loop's time."""
        self.on_drained: Callable[[], None] = _nothing
        """Called when nothing is kept any more."""
        self.on_stuck: Callable[[], None] = _nothing
        """Called when nothing could be written for ``slow_seconds``, or too much is kept; what is kept stays."""
        self.on_closed: Callable[[], None] = _nothing
        """Called when the stream was closed."""
        self.before_close: Callable[[bytes], bytes] = bytes
        """What is written in place of what trio-websocket sends; asked once more, with nothing, before the end."""

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        return len(self._pending)

    def write(self, data: bytes) -> None:
        """Send ``data`` after everything that was written before. Never waits; does nothing after the stream's end."""
        if self._broken:
            return
        if self._posted:
            data = b"".join((*self._posted, data))
            self._posted.clear()
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
            self._queued = 0
            self.progressed_at = loop_time().now()
            self._nursery.start_soon(self._send_pending)

    def post(self, data: bytes) -> None:
        """Send ``data`` with the next :meth:`write` or :meth:`release`: small things that leave together cost less."""
        self._posted.append(data)

    def release(self) -> None:
        """Send what was posted, if anything was."""
        if self._posted:
            self.write(b"")

    async def drained(self) -> None:
        """Return when nothing is kept. Raises BrokenResourceError when the stream has ended. Safe to cancel."""
        while self.blocked and not self._broken:
            if self._drained is None:
                self._drained = trio.lowlevel.ParkingLot()
            await self._drained.park()
        if self._broken:
            raise trio.BrokenResourceError

    def progressed(self) -> None:
        """Note that the peer showed that it takes what it gets."""
        self.progressed_at = loop_time().now()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """For trio-websocket. Cancelled: ``data`` is sent all the same."""
        self.write(self.before_close(bytes(data)))
        await self.drained()

    async def wait_send_all_might_not_block(self) -> None:
        """For trio-websocket, which does not use it."""
        await self.drained()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """For trio-websocket, and for whoever reads on after it; one at a time."""
        while self._reading:
            if self._unread is None:
                self._unread = trio.lowlevel.ParkingLot()
            await self._unread.park()
        self._reading = True
        size = RECEIVE_BYTES if max_bytes is None else max_bytes
        try:
            # Every idle connection waits here, no coroutine deeper than it must. Trio's own way, five deeper, also asks
            # the socket twice and yields twice for a message.
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
        """Close the stream; what is kept is lost. Idempotent."""
        if last_words := self.before_close(b""):
            self.write(last_words)
        self._break()
        self.on_closed()
        await self._stream.aclose()

    def forget(self) -> None:
        """Call nobody any more, nor hold who was to be called: the owner would hold itself through this."""
        self.on_drained = self.on_stuck = self.on_closed = _nothing
        self.before_close = bytes

    def _try(self, data: bytes) -> int:
        """How much of ``data`` the kernel takes now."""
        if self._socket is None:
            return 0
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._break()
            return len(data)

    async def _send_pending(self) -> None:
        """Send what is kept, until nothing is; beside it, watch that something leaves at all."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                while self._pending:
                    sent = await self._send_some()
                    del self._pending[:sent]
                    self.progressed()
                # With no checkpoint since the last look: what is written from here on finds nothing kept, and goes out.
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
        # An event would cost something at each write; this costs a look every slow_seconds.
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


def _nothing() -> None:
    """Nobody wants to know."""


def _received(sock: socket.socket, size: int) -> bytes | None:
    """Read what is there, None where nothing is. Raises BrokenResourceError when the connection was lost."""
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
