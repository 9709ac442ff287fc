"""A client's message as a frame of the protocol, or as the end of its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.protocol import close_codes
from transport.protocol.client_frames import BadFrame
from transport.server._lifetime import End

if TYPE_CHECKING:
    from transport.protocol.client_frames import ClientFrame
    from transport.protocol.handshake import Conversation


def read_frame(message: str | bytes, conversation: Conversation, max_bytes: int) -> ClientFrame:
    """Return the frame in ``message``. Raise ``End`` if the frame is invalid, or not allowed at this point."""
    if isinstance(message, bytes):
        raise End(close_codes.UNSUPPORTED_DATA, "binary messages are not served")
    # The wire counts characters of a text message, the protocol bytes: at most four for a character.
    if 4 * len(message) > max_bytes and len(message.encode()) > max_bytes:
        raise End(close_codes.MESSAGE_TOO_BIG, f"a message may have {max_bytes} bytes")
    try:
        return conversation.receive(message)
    except BadFrame as bad:
        raise End(close_codes.BAD_FRAME, str(bad)) from None
