"""A scanner that finds where WebSocket frames begin in the bytes from a client, from their headers alone (pure).

It checks nothing and copies no payload: the WebSocket library does that. *The library handles all frames of one read
without a pause. A read of 64 KB can hold 10,000 empty frames, which take it 150 ms.* With the scanner, a server hands
the library a few frames at a time, and counts them.

One case needs no library: a read that is exactly one text message in one frame, as nearly all messages of clients are.
"""

from __future__ import annotations

# RFC 6455, section 5.2. The second byte of a header: the mask bit, and 7 bits of length. 126 announces two more bytes
# of length, 127 eight. A mask has four bytes.
_FINAL, _MASKED, _LENGTH, _OPCODE = 0x80, 0x80, 0x7F, 0x0F
_EXTENDED = {126: 2, 127: 8}
_MASK_BYTES = 4
_LONGEST_HEADER = 14
# The size of a header by its second byte. A table, since this is looked up for each frame of a flood.
_HEADER_SIZES = [
    2 + (_MASK_BYTES if second & _MASKED else 0) + _EXTENDED.get(second & _LENGTH, 0) for second in range(256)
]
_CONTINUATION, _CLOSE, _PING, _PONG = 0, 8, 9, 10
# The first byte of a text message in one frame: FIN with opcode 1, and no bit of an extension.
_WHOLE_TEXT = b"\x81"
# A length in two bytes must not fit into 7 bits. This second byte, with the mask bit, announces eight bytes of length.
_LEAST_EXTENDED, _EIGHT_BYTES = 126, 0xFF


class FrameScanner:
    """A reader of frame headers. It takes the bytes of one connection in order, in pieces of any size.

    The attributes count the frames that began in the last call of :meth:`scan`.

    Args:
        skip: Number of bytes before the first frame: the size of the request for the WebSocket.
    """

    __slots__ = (
        "_fragments",
        "_head",
        "_left",
        "_unfinished",
        "begun",
        "controls",
        "data_frames",
        "later_fragments",
        "most_fragments",
    )

    def __init__(self, skip: int = 0) -> None:
        self._head = b""
        """The bytes of a header that has not arrived completely."""
        self._left = skip
        """Number of bytes of the current frame's payload that have not arrived."""
        self.begun = 0
        """Number of frames of any kind that began in the last call of :meth:`scan`."""
        self.controls = 0
        """Number of pings and pongs that began in the last call of :meth:`scan`."""
        self.data_frames = 0
        """Number of data frames (frames with a part of a message) that began in the last call of :meth:`scan`."""
        self.later_fragments = 0
        """Number of continuation frames (later parts of a message) that began in the last call of :meth:`scan`."""
        self.most_fragments = 0
        """Largest number of fragments of one message in the last call of :meth:`scan`.

        The message's fragments in earlier calls count, too.
        """
        self._fragments = 0
        """Number of fragments of the current message so far."""
        self._unfinished = False
        """Whether the last data frame was not the last of its message."""

    def scan(self, data: bytes | bytearray, frames: int) -> int:
        """Read the headers in the next bytes. Stop at the end of the ``frames``-th new frame, or of ``data``.

        Returns:
            The number of bytes that were read. The next call must continue directly after these bytes.
        """
        self.begun = self.controls = self.data_frames = self.later_fragments = self.most_fragments = 0
        at, size = 0, len(data)
        while at < size and (self._left or self._head or self.begun < frames):
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            if not self._head:
                self.begun += 1
                self._count(data[at])
            at += self._read_header(data[at : at + _LONGEST_HEADER])
        return at

    def whole_text(self, data: bytes | bytearray) -> bytes | None:
        """Return the payload of a text message, without its mask, if ``data`` is one whole message in one frame.

        Return None for all other data, and for each frame that the WebSocket library must refuse for its header. After
        such a message the next frame begins, as before it: the message need not be scanned.
        """
        if data[:1] != _WHOLE_TEXT or self._left or self._head or self._unfinished:
            return None
        size = len(data)
        if size <= _MASK_BYTES or not _MASKED <= data[1] < _EIGHT_BYTES:
            return None
        start, length = _HEADER_SIZES[data[1]], data[1] & _LENGTH
        if length == _LEAST_EXTENDED and (length := int.from_bytes(data[2:4], "big")) < _LEAST_EXTENDED:
            return None
        return _unmasked(data[start:], data[start - _MASK_BYTES : start], length) if size == start + length else None

    def _read_header(self, data: bytes | bytearray) -> int:
        """Read a header, or as much of it as there is. Return the number of bytes of ``data`` that belong to it."""
        head = self._head + data
        size = _header_size(head)
        if len(head) < size:
            self._head = head
            return len(data)
        taken = size - len(self._head)
        self._head = b""
        length = head[1] & _LENGTH
        self._left = int.from_bytes(head[2 : 2 + _EXTENDED[length]], "big") if length in _EXTENDED else length
        return taken

    def _count(self, first: int) -> None:
        """Count a frame that begins with the byte ``first``."""
        opcode = first & _OPCODE
        if opcode in {_PING, _PONG}:
            self.controls += 1
        elif opcode < _CLOSE:
            self.data_frames += 1
            self._unfinished = first < _FINAL
            if opcode == _CONTINUATION:
                self.later_fragments += 1
                self._fragments += 1
            else:
                self._fragments = 1
            if self._fragments > self.most_fragments:  # noqa: PLR1730 - no call, for this is done for each frame
                self.most_fragments = self._fragments


def _header_size(head: bytes) -> int:
    """Return the size of the header that begins with ``head``. With less than two bytes, this is only a minimum."""
    if len(head) < 2:  # noqa: PLR2004 - the bytes that every header has
        return 2
    return _HEADER_SIZES[head[1]]


def _unmasked(payload: bytes | bytearray, mask: bytes | bytearray, size: int) -> bytes:
    """Return the payload of a frame, which has ``size`` bytes, without its mask (RFC 6455, section 5.3)."""
    # As two numbers of the payload's size: a loop over the bytes would be a hundred times slower.
    masks = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")).to_bytes(size, "big")
