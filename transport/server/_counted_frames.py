"""The reading side of a wire: the frames of the peer are counted, and handed on a few in each turn, or discarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.server._write_buffer import WriteBuffer

if TYPE_CHECKING:
    import socket

    import trio

    from transport.protocol.frame_scanner import FrameScanner
    from transport.server._wire import WireOwner
    from transport.settings import Settings

LINGER_BYTES = 4 * 1024 * 1024
"""Maximum number of bytes of the peer that are read and discarded after the last words."""
FRAMES_PER_TURN = 3
"""Number of frames that trio-websocket gets at once. A frame takes about 20 µs, and no other task runs meanwhile.

An event needs several turns of the loop on its way to the clients, and waits for these frames of each busy client in
each turn. With fewer frames, the turns themselves would take most of the time of a long read.
"""
# A read with fewer bytes, all of them inside a frame, counts as a fragment. *A message that comes byte by byte costs as
# much as one in as many fragments.*
_SMALL_READ = 64


class CountedFrames(WriteBuffer):
    """A stream between a WebSocket library and the network that looks at each frame before the library does.

    Args:
        stream: The stream to write to and read from. It is owned, and closed.
        sock: The socket under ``stream``, if there is one.
        settings: The limits.
    """

    __slots__ = ("_discarding", "_open", "_owner", "_scanner", "_settings")

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None, settings: Settings) -> None:
        super().__init__(stream, sock, slow_seconds=settings.slow_seconds)
        self._settings = settings
        self._scanner: FrameScanner | None = None
        """The counter of the peer's frames. None before the peer's request has arrived."""
        self._discarding: int | None = None
        """Number of bytes that are still read and discarded, before the stream counts as ended.

        None while the peer's bytes are handed on.
        """
        self._owner: WireOwner | None = None
        self._open = False
        """Whether the upgrade was accepted and no close frame was sent yet."""

    def part_of(self, data: bytes | bytearray) -> bytes | bytearray | None:
        """Return the next frames of the peer, at most :data:`FRAMES_PER_TURN`. Keep the rest for the next read.

        The peer's request for a WebSocket is returned as it is. Return None if the owner took the data as a message.
        """
        if data and self._discarding is not None:
            return self._discarded(data, self._discarding)
        if not data or self._scanner is None:
            return data
        if self._is_taken(data, self._scanner):
            return None
        end = self._scanner.scan(data, FRAMES_PER_TURN)
        if not self._allows(self._scanner, end):
            self._discard()
            return None
        if end < len(data):
            self.unread = bytes(data[end:])
            return data[:end]
        return data

    def is_awaited(self) -> bool:
        """Return whether the owner waits for the next message, and none is on its way through the library."""
        return False

    def _is_taken(self, data: bytes | bytearray, scanner: FrameScanner) -> bool:
        """Pass ``data`` to the owner, if it is one text message, and the owner waits for one. Else return False.

        *The library takes about 70 calls and two turns of the scheduler for a message, more than what the server does
        about most of them.* All other data goes through the library, which checks it and answers it.
        """
        if not self._open or len(data) > self._settings.max_frame_bytes:
            return False
        payload = scanner.whole_text(data)
        if payload is None or self._owner is None or not self.is_awaited():
            return False
        try:
            message = payload.decode()
        except UnicodeDecodeError:  # the library closes the connection, and says why
            return False
        return self._owner.on_message(message)

    def _allows(self, scanned: FrameScanner, size: int) -> bool:
        """Report the scanned frames to the owner. Return False if they must not be handed on."""
        if self._owner is None:
            return False
        if scanned.most_fragments > self._settings.max_fragments:
            self._owner.on_too_many_fragments()
            return False
        # In a closing handshake, nothing takes the messages that still come, and nothing else counts them.
        fragments = scanned.later_fragments if self._open else scanned.data_frames
        if size < _SMALL_READ and not scanned.begun:
            fragments += 1
        return not (scanned.controls or fragments) or self._owner.on_frames(scanned.controls, fragments)

    def _discarded(self, data: bytes | bytearray, left: int) -> bytes | None:
        """Discard bytes of the peer, of which ``left`` may still come. Return the end of the stream after the last."""
        self._discarding = left - len(data)
        if self._discarding > 0:
            return None
        self.unread = bytes(data)  # kept, so that each later read finds the end, too
        return b""

    def _discard(self) -> None:
        """Hand on no more bytes of the peer. Read and discard a limited number of them."""
        if self._discarding is None:
            self.unread = b""
            self._discarding = LINGER_BYTES
