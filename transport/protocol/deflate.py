"""Compressed WebSocket messages: permessage-deflate (RFC 7692), where each message has a context of its own (pure).

No context is kept from one message to the next, in either direction. *A kept context takes up to 256 KB for each
connection, and lets the length of a message tell something about earlier messages.*
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from transport.protocol.limits import MAX_BATCH_BYTES
from transport.protocol.server_frames import events_message
from transport.protocol.websocket import compressed_head, head_size, text_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NAME = "permessage-deflate"
"""Name of the extension in the headers of a handshake."""
LEAST_BYTES = 1024
"""Smallest size from which messages can be compressed, in bytes. *Below, it costs more CPU time than it is worth.*"""
MOST_BYTES = MAX_BATCH_BYTES
"""Largest message that is compressed, in bytes. *A larger one could hold the event loop for longer than 1 ms.*"""
OWN_CONTEXTS = "server_no_context_takeover; client_no_context_takeover"
"""The parameters of a handshake by which each message has a context of its own, in both directions."""
WINDOW = 15
"""Window of the compression, as a power of 2, unless a client asks for a smaller one. It is the largest of deflate."""
# zlib compresses with a window of 2 ** 9 bytes at least, and RFC 7692 allows 2 ** 8, too.
_SMALLEST_WINDOW = 9
# The fastest. In frames of 4 KB it saves 3 to 10 times the bytes; level 6 takes twice the CPU time for a third more.
_LEVEL = 1
# What the sender leaves out of each message: the end of an empty block (RFC 7692, section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
# A message that ends with a final block is followed by an empty block (section 7.2.3.4), without its end.
_AFTER_THE_LAST_BLOCK = b"\x00" + _TAIL
# A compressed message may be larger than its text: five bytes for each block, and a few for the end.
_OVERHEAD_BYTES = 1024

_BITS = re.compile(r"[89]|1[0-5]")
_PARAMETER = re.compile(r'([a-z_]+)(?:[ \t]*=[ \t]*(?:"([a-z0-9]*)"|([a-z0-9]*)))?')
_RULES: Mapping[str, Callable[[str | None], bool]] = {
    "server_no_context_takeover": lambda value: value is None,
    "client_no_context_takeover": lambda value: value is None,
    "server_max_window_bits": lambda value: value is not None and _BITS.fullmatch(value) is not None,
    "client_max_window_bits": lambda value: value is None or _BITS.fullmatch(value) is not None,
}
"""The parameters of an offer, and whether a value is allowed (RFC 7692, section 7.1). None means no value."""


class TooLarge(Exception):
    """A compressed message of the peer is larger than the limit."""


class BadDeflate(Exception):
    """A compressed message of the peer is not valid."""


# The handshake


def window_of(offer: str) -> int | None:
    """Return the window for messages of the server, as a power of 2, if the server accepts a client's offer.

    Return None if the offer must be declined: it is of another extension, a parameter is unknown, twice there or has a
    wrong value (RFC 7692, section 7.1), or the window is too small for zlib.
    """
    parameters = parameters_of(offer)
    if parameters is None:
        return None
    window = int(parameters.get("server_max_window_bits") or WINDOW)
    return window if window >= _SMALLEST_WINDOW else None


def answer_with(window: int) -> str:
    """Return the parameters with which a server accepts an offer."""
    return OWN_CONTEXTS if window == WINDOW else f"{OWN_CONTEXTS}; server_max_window_bits={window}"


def fits_own_offer(answer: str) -> bool:
    """Return whether the server's ``answer`` is allowed after an offer with the parameters :data:`OWN_CONTEXTS`."""
    parameters = parameters_of(answer)
    return (
        parameters is not None
        and "server_no_context_takeover" in parameters
        and "client_max_window_bits" not in parameters  # it was not offered
    )


def parameters_of(element: str) -> dict[str, str | None] | None:
    """Return the parameters in one element of a header ``Sec-WebSocket-Extensions``. Return None if one is wrong."""
    name, *parts = (part.strip(" \t") for part in element.split(";"))
    if name != NAME:
        return None
    parameters: dict[str, str | None] = {}
    for part in parts:
        found = _PARAMETER.fullmatch(part)
        if found is None or found[1] not in _RULES or found[1] in parameters:
            return None
        value = found[3] if found[2] is None else found[2]
        if not _RULES[found[1]](value):
            return None
        parameters[found[1]] = value
    return parameters


# Messages


def deflated(payload: bytes | memoryview, window: int = WINDOW) -> bytes:
    """Return the payload of a message after it was compressed, without the end that a sender leaves out."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


class Inflater:
    """The reader of one compressed message, which comes in parts of any size.

    It never makes more than ``limit`` bytes and one, whatever it reads: so a compression bomb costs as much as a
    message of the largest size.
    """

    __slots__ = ("_input_left", "_left", "_limit", "_zlib")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        """Number of bytes that the message may still have."""
        self._input_left = limit + limit // 256 + _OVERHEAD_BYTES
        """Number of compressed bytes that may still come. *Empty blocks make no text, and would have no limit.*"""
        # Deflate's largest window reads what was compressed with a smaller one.
        self._zlib = zlib.decompressobj(-WINDOW)

    def feed(self, data: bytes) -> bytes:
        """Return the text in the next compressed bytes, as far as it is complete.

        Raises:
            TooLarge: If the message is larger than the limit. The rest of it was not decompressed.
            BadDeflate: If the bytes are not valid.
        """
        self._input_left -= len(data)
        if self._input_left < 0:
            raise TooLarge
        return self._inflated(data)

    def end(self) -> bytes:
        """Return the rest of the text at the end of the message. Raises the errors of :meth:`feed`."""
        return self._inflated(_TAIL)

    def _inflated(self, data: bytes) -> bytes:
        try:
            text = self._zlib.decompress(data, self._left + 1)
        except zlib.error:
            raise BadDeflate from None
        self._left -= len(text)
        if self._left < 0:
            raise TooLarge
        if not _AFTER_THE_LAST_BLOCK.startswith(self._zlib.unused_data):
            raise BadDeflate
        return text


class Messages(Protocol):
    """A way to write the messages of a server as bytes."""

    def text(self, payload: bytes) -> bytes:
        """Return a text message with this ``payload``."""
        ...

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return a message with one ``events`` frame. Each of the ``lines`` is an event as the log stores it."""
        ...


class PlainMessages:
    """Messages without compression."""

    __slots__ = ()
    text = staticmethod(text_message)
    events = staticmethod(events_message)


PLAIN = PlainMessages()


class DeflatedMessages:
    """Messages that are compressed if they have at least ``least`` bytes, and at most :data:`MOST_BYTES`.

    Many connections share this object. It remembers the newest message: *the tabs of a session get the same one, one
    after the other.*
    """

    __slots__ = ("_done", "_least", "_newest", "_window")

    def __init__(self, least: int, window: int) -> None:
        self._least = least
        self._window = window
        self._newest = self._done = b""
        """The newest large message before and after the compression."""

    def text(self, payload: bytes) -> bytes:
        """Return a text message with this ``payload``."""
        return self._packed(text_message(payload))

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return a message with one ``events`` frame. Each of the ``lines`` is an event as the log stores it."""
        return self._packed(events_message(lines))

    def _packed(self, message: bytes) -> bytes:
        """Return a message after compression, if its size is right and it becomes smaller."""
        start = head_size(message)
        if not self._least <= len(message) - start <= MOST_BYTES:
            return message
        if message != self._newest:
            payload = deflated(memoryview(message)[start:], self._window)
            packed = compressed_head(len(payload)) + payload
            self._newest, self._done = message, packed if len(packed) < len(message) else message
        return self._done


@lru_cache(maxsize=16)
def messages_for(least: int, window: int) -> DeflatedMessages:
    """Return the one object for all connections with these values."""
    return DeflatedMessages(least, window)
