"""The stream of a client of the pages: reads and writes with limits, so that no client holds the server up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    import socket

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
        sock: The socket under the stream, for writes at once. If it is None, each write is a wait.
    """

    def __init__(self, stream: trio.abc.Stream, port: Port[Any], sock: socket.socket | None = None) -> None:
        self._stream = stream
        self._port = port
        self._socket = sock
        self._writing = trio.Lock()
        self._sent_at_once = 0
        """Number of bytes that were written without a wait since the last one."""
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
        """Write ``data``. A small part that the system takes at once needs no wait, except after ``WRITE_BYTES``.

        *A stream of events is thousands of small parts. The wait, the lock and the time limit for each cost more than
        all else, and a response whose write waits counts as one that its client does not take.*

        Raises:
            ClientGone: The connection was lost, or the client read too slowly.

        Cancellation: nothing more can be written.
        """
        if self._writing.locked():
            await self._writing.acquire()
            sent = 0
        else:
            sent = self._try(data)
            if sent == len(data):
                self._sent_at_once += sent
                if self._sent_at_once > WRITE_BYTES:
                    self._sent_at_once = 0
                    await trio.lowlevel.checkpoint()
                return
            self._writing.acquire_nowait()
        try:
            for start in range(sent, len(data), WRITE_BYTES):
                await self._write_piece(data[start : start + WRITE_BYTES])
        finally:
            self._writing.release()

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

    def _try(self, data: bytes) -> int:
        """Hand a small part to the system without a wait. Return the number of bytes that it took."""
        if self.gone:
            raise ClientGone
        if self._socket is None or len(data) > WRITE_BYTES:
            return 0
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.gone = True
            raise ClientGone from None

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
