"""What RFC 6455 says about any bytes, by the parser of a library that shares nothing with the server."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import attrs
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from transport.protocol.close_codes import MESSAGE_TOO_BIG, NOT_UTF_8, PROTOCOL_ERROR

if TYPE_CHECKING:
    from collections.abc import Generator

CONTROLS = {Opcode.PING, Opcode.PONG}


@attrs.frozen
class Limits:
    """The limits of a server for one message."""

    fragments: int
    size: int
    """Maximum size in bytes of a binary message, in characters of a text message."""


@attrs.frozen
class Reading:
    """What the reference sees in the bytes of a client."""

    frames: list[tuple[Frame, int]]
    """The valid frames, each with the position of its end."""
    whole: bool
    """Whether nothing is wrong in the bytes, though the last frame may be incomplete."""


def read_frames(data: bytes, *, mask: bool) -> Reading:
    """Return all frames up to the first fault."""
    reader, frames = StreamReader(), list[tuple[Frame, int]]()
    reader.feed_data(data)
    while True:
        try:
            frame = _step(Frame.parse(reader.read_exact, mask=mask))
        except ProtocolError:
            return Reading(frames, whole=False)
        if frame is None:
            return Reading(frames, whole=True)
        frames.append((frame, len(data) - len(reader.buffer)))


def _step(parser: Generator[None, None, Frame]) -> Frame | None:
    """Return the next frame. Return None if its bytes are not all there."""
    try:
        next(parser)
    except StopIteration as stop:
        frame: Frame = stop.value
        return frame
    return None


@attrs.frozen
class Expected:
    """What a server must see: the messages in order, and the close codes with which it may then end."""

    messages: list[str | bytes]
    codes: set[int]
    """Allowed close codes of the server's close frame; empty while the connection stays open."""
    controls: int
    """Number of pings and pongs."""
    is_echo: bool = False
    """Whether the client itself has closed: the server then answers with the same code, and without a goodbye."""
    early: bool = False
    """Whether the fault is in a frame that has not arrived completely: then the server may still wait for the rest."""


def expected(data: bytes, limits: Limits) -> Expected:
    """Assemble the messages as RFC 6455 requires, up to the end of the connection."""
    reading, messages, start = read_frames(data, mask=True), list[str | bytes](), 0
    parts: _Parts | None = None
    controls = sum(frame.opcode in CONTROLS for frame, _ in reading.frames)
    for frame, end in reading.frames:
        if _header_fault(data[start:end]):
            return Expected(messages, {PROTOCOL_ERROR}, controls)
        start = end
        if frame.opcode in CONTROLS:
            continue
        if frame.opcode is Opcode.CLOSE:
            payload = bytes(frame.data)
            return Expected(messages, _close_codes(payload), controls, is_echo=_is_close(payload))
        if (frame.opcode is Opcode.CONT) != (parts is not None):
            return Expected(messages, {PROTOCOL_ERROR}, controls)
        parts = parts or _Parts(frame.opcode, limits)
        if (fault := parts.add(bytes(frame.data), final=frame.fin)) is not None:
            return Expected(messages, {fault}, controls)
        if frame.fin:
            messages.append(parts.message())
            parts = None
    if not reading.whole:
        return Expected(messages, {PROTOCOL_ERROR}, controls, early=not _is_complete(data[start:]))
    return Expected(messages, _early_faults(data[start:], parts, limits), controls, early=True)


def _header_fault(data: bytes) -> bool:
    """Return whether the header of a client's frame breaks RFC 6455, section 5.2, as far as it has arrived."""
    if not data:
        return False
    first, final, kind = data[0], data[0] & 0x80, data[0] & 0x0F
    if first & 0x70 or kind not in {0, 1, 2, 8, 9, 10} or (kind > 7 and not final):
        return True
    if len(data) < 2:
        return False
    size = data[1] & 0x7F
    if not data[1] & 0x80 or (kind > 7 and size > 125):
        return True
    extended = data[2 : 2 + {126: 2, 127: 8}.get(size, 0)]
    if size == 127 and extended[:1] >= b"\x80":
        return True
    length = int.from_bytes(extended, "big")
    return (len(extended) == 2 and length < 126) or (len(extended) == 8 and length < 1 << 16)


def _is_complete(data: bytes) -> bool:
    """Return whether a whole frame has arrived."""
    if len(data) < 2:
        return False
    length, extended, mask = data[1] & 0x7F, {126: 2, 127: 8}.get(data[1] & 0x7F, 0), 4 if data[1] & 0x80 else 0
    size = int.from_bytes(data[2 : 2 + extended], "big") if extended else length
    return len(data) >= 2 + extended + mask + size


def _early_faults(data: bytes, parts: _Parts | None, limits: Limits) -> set[int]:
    """Return the code of the fault that the beginning of a frame shows already; none if it shows no fault."""
    if _header_fault(data):
        return {PROTOCOL_ERROR}
    if not data or (kind := Opcode(data[0] & 0x0F)) > Opcode.BINARY:
        return set()
    if (kind is Opcode.CONT) != (parts is not None):
        return {PROTOCOL_ERROR}
    size = 2 + {126: 2, 127: 8}.get(data[1] & 0x7F if len(data) > 1 else 0, 0)
    if len(data) < size + 4:
        fault = (parts or _Parts(kind, limits)).add(b"", final=False)
    else:
        mask, payload = data[size : size + 4], data[size + 4 :]
        plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        fault = (parts or _Parts(kind, limits)).add(plain, final=False)
    return set() if fault is None else {fault}


class _Parts:
    """The fragments of one message."""

    def __init__(self, opcode: Opcode, limits: Limits) -> None:
        self._limits = limits
        self._text = opcode is Opcode.TEXT
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._parts: list[str | bytes] = []
        self._count = 0

    def add(self, data: bytes, *, final: bool) -> int | None:
        """Take a fragment. Return the close code for its fault."""
        self._count += 1
        if self._count > self._limits.fragments:
            return MESSAGE_TOO_BIG
        try:
            self._parts.append(self._decoder.decode(data, final) if self._text else data)
        except UnicodeDecodeError:
            return NOT_UTF_8
        return MESSAGE_TOO_BIG if sum(map(len, self._parts)) > self._limits.size else None

    def message(self) -> str | bytes:
        """Return the whole message."""
        empty: str | bytes = "" if self._text else b""
        return empty.join(self._parts)  # type: ignore[arg-type]  # all parts have the same type


def _is_close(payload: bytes) -> bool:
    """Return whether a client may send a close frame with this payload."""
    try:
        Close.parse(payload)
    except (ProtocolError, UnicodeDecodeError):
        return False
    return True


def _close_codes(payload: bytes) -> set[int]:
    try:
        close = Close.parse(payload)
    except ProtocolError:
        return {PROTOCOL_ERROR}
    except UnicodeDecodeError:
        return {NOT_UTF_8} | (_close_codes(payload[:2]) & {PROTOCOL_ERROR})  # the code may be wrong, too
    return {close.code}
