"""The reading side of a connection's stream: large reads from the network, handed on in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket

RECEIVE_BYTES = 64 * 1024
"""Maximum number of bytes that one read takes from the socket."""


class ReadBuffer(trio.abc.Stream):
    """The reading half of a stream between a WebSocket library and the network.

    A subclass may cut each read into parts with :meth:`part_of`. Between two parts, other tasks can run.

    Args:
        stream: The stream to read from.
        sock: The socket under ``stream``, if there is one. If so, the socket is read directly.
    """

    __slots__ = ("_broken", "_reading", "_socket", "_stream", "_waiting", "unread")

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None) -> None:
        self._stream = stream
        self._socket = sock
        self._broken = False
        """Whether the stream has ended."""
        self._reading = False
        self._waiting: trio.lowlevel.ParkingLot | None = None
        """The tasks that wait until another task has read."""
        self.unread = b""
        """Bytes that were read from the network, and that :meth:`part_of` kept for the next read."""

    def part_of(self, data: bytes | bytearray) -> bytes | bytearray | None:
        """Return the part of the peer's ``data`` to hand on now, and keep the rest in :attr:`unread`.

        Here this is all of the data, but a subclass may cut the data. Empty ``data`` means the end of the stream. If a
        subclass returns None, more data is read first.
        """
        return data

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read bytes from the peer. If another task is reading already, first wait until that task has read."""
        while self._reading:
            if self._waiting is None:
                self._waiting = trio.lowlevel.ParkingLot()
            await self._waiting.park()
        self._reading = True
        size = RECEIVE_BYTES if max_bytes is None else max_bytes
        try:
            if self.unread:
                # The other tasks have their turn between two parts of one read.
                await trio.lowlevel.checkpoint()
                unread, self.unread = self.unread, b""
                if (part := self.part_of(unread)) is not None:
                    return part
            # Every idle connection waits here, in as few coroutines as possible. Trio's own way is five coroutines
            # deeper, and it also asks the socket twice and yields twice for each message.
            while self._socket is not None and not self._broken:
                await trio.lowlevel.wait_readable(self._socket)
                data = _received(self._socket, size)
                if data is not None and (part := self.part_of(data)) is not None:
                    return part
            while (part := self.part_of(await self._stream.receive_some(size))) is None:
                pass
            return part
        finally:
            self._reading = False
            if self._waiting:
                self._waiting.unpark()


def _received(sock: socket.socket, size: int) -> bytes | None:
    """Read the bytes that have arrived. Return None if none have arrived yet, and b"" at the end of the stream.

    Raises:
        trio.BrokenResourceError: If the connection was lost.
    """
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
