"""permessage-deflate as an extension of wsproto, the WebSocket library under the server and the client on trio.

*The extension that comes with wsproto decompresses without a limit, and a message of 64 KB can become 64 MB.*
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsproto.events import RejectConnection
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, ParseFailed, RsvBits
from wsproto.utilities import RemoteProtocolError

from transport.protocol import deflate

if TYPE_CHECKING:
    from collections.abc import Generator

    from wsproto.frame_protocol import FrameDecoder, FrameProtocol


class DeflateExtension(Extension):
    """The extension on one connection. It decompresses messages of the peer, of ``limit`` bytes at most.

    With ``compresses`` it also compresses the messages that go out through wsproto. (The server writes its own.)
    """

    name = deflate.NAME

    def __init__(self, limit: int, *, compresses: bool = False) -> None:
        self._limit = limit
        self._compresses = compresses
        self.window: int | None = None
        """Window of the messages of this side, as a power of 2. None if the extension was not agreed on."""
        self._inflater: deflate.Inflater | None = None
        """The reader of the present message. None if that is not compressed, or there is none."""
        self._reading = False
        """Whether the present frame is a part of a compressed message."""

    # The handshake

    def enabled(self) -> bool:
        """Return whether both sides have agreed on the extension."""
        return self.window is not None

    def accept(self, offer: str) -> str | None:
        """Return the answer of a server to one of the client's offers. Return None if the offer is declined.

        Offers are in the client's order, so the first one that fits counts.
        """
        if self.window is not None or (window := deflate.window_of(offer)) is None:
            return None
        self.window = window
        return deflate.answer_with(window)

    def offer(self) -> str:
        """Return the parameters that a client offers."""
        return deflate.OWN_CONTEXTS

    def finalize(self, offer: str) -> None:
        """Take the server's answer to this client's offer.

        Raises:
            RemoteProtocolError: If the answer does not fit the offer.
        """
        if not deflate.fits_own_offer(offer):
            raise RemoteProtocolError(f"the server answers {offer}", event_hint=RejectConnection())
        self.window = deflate.WINDOW

    # Frames of the peer

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Take the header of a frame. Only the first frame of a message can say that the message is compressed."""
        del proto, payload_length
        if opcode.iscontrol() or opcode is Opcode.CONTINUATION:
            self._reading = self._inflater is not None and not opcode.iscontrol()
            return RsvBits(rsv1=False, rsv2=False, rsv3=False)
        self._inflater = deflate.Inflater(self._limit) if rsv.rsv1 else None
        self._reading = rsv.rsv1
        return RsvBits(rsv1=True, rsv2=False, rsv3=False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes:
        """Return the text in the next bytes of a frame."""
        del proto
        if not self._reading or self._inflater is None:
            return data
        with _reported(self._limit):
            return self._inflater.feed(data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | None:  # noqa: FBT001 - as in the library
        """Return the rest of the text at the end of a message."""
        del proto
        if not self._reading or self._inflater is None or not fin:
            return None
        inflater, self._inflater = self._inflater, None
        with _reported(self._limit):
            return inflater.end()

    # Frames of this side

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,  # noqa: FBT001 - as in the library
    ) -> tuple[RsvBits, bytes]:
        """Return the payload of a frame, compressed if it is a whole message for which that is worth it."""
        del proto
        is_whole = fin and opcode in {Opcode.TEXT, Opcode.BINARY}
        if not self._compresses or not is_whole or not deflate.LEAST_BYTES <= len(data) <= deflate.MOST_BYTES:
            return rsv, data
        return RsvBits(rsv1=True, rsv2=rsv.rsv2, rsv3=rsv.rsv3), deflate.deflated(data)


@contextmanager
def _reported(limit: int) -> Generator[None]:
    """Turn an error of a compressed message into the library's own, which closes the connection with its code."""
    try:
        yield
    except deflate.TooLarge:
        raise ParseFailed(f"a message may have {limit} bytes", CloseReason.MESSAGE_TOO_BIG) from None
    except deflate.BadDeflate:
        raise ParseFailed("a compressed message is not valid", CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
