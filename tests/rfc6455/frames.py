"""The bytes of WebSocket frames as RFC 6455 defines them, right ones and wrong ones, and a strict reader of answers."""

from __future__ import annotations

import json

import attrs

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROLS = {CLOSE: "close", PING: "ping", PONG: "pong"}
KEY = bytes.fromhex("37fa213d")
"""The masking key of the examples in RFC 6455, section 5.7."""


def masked(payload: bytes, key: bytes) -> bytes:
    """Return the payload after masking with the key (RFC 6455, section 5.3)."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if any(key) else payload


def head(first: int, size: int, *, masks: bool = True, extended: int | None = None) -> bytes:
    """Return the first bytes of a frame, up to its masking key.

    Args:
        first: The first byte: FIN, the reserved bits and the opcode.
        size: The announced length of the payload.
        masks: The mask bit.
        extended: Number of bytes of the extended length: 0, 2 or 8. By default the smallest that is possible.
    """
    if extended is None:
        extended = 0 if size < 126 else 2 if size < 1 << 16 else 8
    short = {0: size, 2: 126, 8: 127}[extended]
    return bytes([first, masks << 7 | short]) + (size.to_bytes(extended, "big") if extended else b"")


def frame(  # noqa: PLR0913 - the parts of a frame
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    key: bytes | None = KEY,
    extended: int | None = None,
) -> bytes:
    """Return one frame of a client. ``reserved`` are the three reserved bits as a number. Without a key: no mask."""
    first = fin << 7 | reserved << 4 | opcode
    start = head(first, len(payload), masks=key is not None, extended=extended)
    return start + (payload if key is None else key + masked(payload, key))


def message(payload: bytes, *sizes: int, between: bytes = b"", opcode: int = TEXT) -> bytes:
    """Return a message in fragments of these sizes, and one with the rest. ``between`` stands between two fragments."""
    parts: list[bytes] = []
    for size in sizes:
        parts.append(payload[:size])
        payload = payload[size:]
    parts.append(payload)
    last = len(parts) - 1
    frames = (frame(CONTINUATION if at else opcode, part, fin=at == last) for at, part in enumerate(parts))
    return between.join(frames)


def question(id_: str = "q", size: int = 0) -> bytes:
    """Return the JSON of a command that the server answers with its id, padded to ``size`` bytes.

    The command does not exist, so nothing is stored.
    """
    data = {"type": "command", "id": id_, "name": "none", "args": {}}
    return json.dumps(data, ensure_ascii=False).encode().ljust(size)


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


@attrs.frozen
class Frame:
    """One frame of the server."""

    opcode: int
    payload: bytes


def frame_from(data: bytes) -> tuple[Frame, bytes] | None:
    """Return the first frame in the server's data, and the rest. None if the frame is not complete.

    The server never sends a fragment, a reserved bit, a mask, or a length in more bytes than it needs.
    """
    if len(data) < 2:
        return None
    assert data[0] & 0xF0 == 0x80, "a server's frame has FIN and no reserved bit"
    assert data[1] < 0x80, "a server's frame has no mask"
    extended = {126: 2, 127: 8}.get(data[1], 0)
    start = 2 + extended
    if len(data) < start:
        return None
    size = int.from_bytes(data[2:start], "big") if extended else data[1]
    assert size >= {0: 0, 2: 126, 8: 1 << 16}[extended], "a length has as few bytes as possible"
    if len(data) < start + size:
        return None
    return Frame(data[0] & 0x0F, data[start : start + size]), data[start + size :]
