"""WebSocket messages as bytes, as a server sends them: unmasked and in one fragment (RFC 6455, section 5.2). Pure.

The server writes its own frames with these functions, since one system call then carries several messages.
"""

from __future__ import annotations

# The first byte of a message is 0x81: the final fragment (0x80) with the opcode of text (1). In a close frame it is
# 0x88, in a compressed message 0xc1 (with the bit RSV1, 0x40). The second byte is the length, if it is below 126; 126
# (0x7e) announces two bytes of length, 127 (0x7f) eight.
_TWO_BYTES, _EIGHT_BYTES = 126, 127


def text_message(payload: bytes) -> bytes:
    """Return the bytes of one WebSocket text message with this ``payload``."""
    return text_head(len(payload)) + payload


def text_head(size: int) -> bytes:
    """Return the WebSocket header of a text message of ``size`` bytes. The payload must be sent directly after it."""
    if size < _TWO_BYTES:
        return b"\x81%c" % size
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def compressed_head(size: int) -> bytes:
    """Return the header of a compressed text message with a payload of ``size`` bytes (RFC 7692, section 6)."""
    return b"\xc1" + text_head(size)[1:]


def head_size(message: bytes) -> int:
    """Return the size of the header of a message that a function of this module has returned."""
    return {_TWO_BYTES: 4, _EIGHT_BYTES: 10}.get(message[1], 2)


def close_message(code: int, reason: str) -> bytes:
    """Return a close frame with ``code`` and a ``reason`` of 123 bytes at most (RFC 6455, section 5.5.1)."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return b"\x88%c%b" % (len(payload), payload)
