"""The stream of a client of the pages: reads and writes with limits, so that no client holds the server up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from transport.server.port import Port

READ_BYTES = 16 * 1024
"""Maximum number of bytes that one read takes."""
WRITE_BYTES = 16 * 1024
"""Size in bytes of the pieces in which a response is written. The client must take each within ``slow_seconds``.

So a client that reads nothing is cut after ``slow_seconds``, and one that reads a little now and then soon after.
"""
LINGER_SECONDS = 2.0
"""Time in seconds for which the client's bytes are read and discarded after the last response."""
_LINGER_BYTES = 1024 * 1024


class ClientGone(OSError):
    """The client has disconnected, or was cut because it read too slowly. ASGI wants an OSError here."""


class ClientStream:
    """The bytes from and to one client. Only one task may read at a time. Several tasks may write.

    Args:
        stream: The stream below. The caller closes it.
        port: The port, for its time limits and its counts.
    """

    def __init__(self, stream: trio.abc.Stream, port: Port[Any]) -> None:
        self._stream = stream
        self._port = port
        self._writing = trio.Lock()
        self.unread = b""
        """Bytes that have arrived, and that the next :meth:`read` returns."""
        self.gone = False
        """Whether nothing can be written any more."""
        self.left = False
        """Whether the client has closed its side while a request of it was answered."""

    async def read(self) -> bytes:
        """Return the next bytes of the client, or b"" if no more will come.

        Raises:
            ClientGone: The connection was lost.
        """
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        return await self._receive()

    async def write(self, data: bytes) -> None:
        """Write ``data``.

        Raises:
            ClientGone: The connection was lost, or the client read too slowly.

        Cancellation: nothing more can be written.
        """
        async with self._writing:
            for start in range(0, len(data), WRITE_BYTES):
                await self._write_piece(data[start : start + WRITE_BYTES])

    async def wait_for_end(self) -> None:
        """Wait until the client has left. Bytes that arrive meanwhile are kept for :meth:`read`.

        If too many bytes arrive, nothing more is read, and the call waits until it is cancelled.
        """
        try:
            while len(self.unread) < READ_BYTES:
                data = await self._receive()
                if not data:
                    self.left = True
                    return
                self.unread += data
        except ClientGone:
            return
        await trio.sleep_forever()

    async def linger(self) -> None:
        """Close the sending side of the stream, and discard the bytes that the client sends for a short time.

        *If a socket is closed while it has unread bytes, the system resets the connection. Then it can happen that the
        client never gets the response.*
        """
        left = _LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            try:
                if isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()
                while left > 0 and (data := await self._receive()):
                    left -= len(data)
            except (ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone = True
            raise ClientGone from None

    async def _write_piece(self, piece: bytes) -> None:
        if self.gone:
            raise ClientGone
        self.gone = True
        with self._port.within(self._port.settings.slow_seconds) as slow:
            try:
                await self._stream.send_all(piece)
                self.gone = False
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise ClientGone from None
        if slow.cancelled_caught:
            self._port.note_slow_reader()
            raise ClientGone
