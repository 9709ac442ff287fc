"""The scanner of frames finds the same frames as the WebSocket library, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import TextMessage

from transport.protocol.frame_scanner import FrameScanner

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME = st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), st.sampled_from([0, 1, 5, 125, 126, 300, 65_535, 65_536]))


def encoded(opcode: int, size: int) -> bytes:
    """Return a masked frame of ``size`` bytes. Its payload looks like headers."""
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | opcode, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0xFF]) + size.to_bytes(8, "big")
    return head + b"mask" + b"\x89" * size


@attrs.define
class Totals:
    """What a scanner found in all its calls."""

    controls: int = 0
    data_frames: int = 0
    later_fragments: int = 0
    most_fragments: int = 0


def scan_all(pieces: Sequence[bytes], frames: int) -> tuple[Totals, list[int]]:
    """Scan all pieces, ``frames`` frames at a time. Return the totals, and where the calls ended."""
    scanner, totals, ends, offset = FrameScanner(), Totals(), [0], 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            taken = scanner.scan(piece[at:], frames)
            assert taken > 0
            assert scanner.controls + scanner.data_frames <= frames
            at += taken
            ends.append(offset + at)
            totals.controls += scanner.controls
            totals.data_frames += scanner.data_frames
            totals.later_fragments += scanner.later_fragments
            totals.most_fragments = max(totals.most_fragments, scanner.most_fragments)
        offset += len(piece)
    return totals, ends


@given(st.lists(FRAME, max_size=12), st.lists(st.integers(0, 400_000), max_size=8), st.integers(1, 5))
def test_cut_anywhere(kinds: list[tuple[int, int]], cuts: list[int], frames: int) -> None:
    """Wherever the bytes of frames are cut, the scanner counts each frame once and by its kind."""
    data = b"".join(encoded(*kind) for kind in kinds)
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    totals, ends = scan_all([data[start:end] for start, end in pairwise(borders)], frames)
    opcodes = [opcode for opcode, _ in kinds]
    assert totals.controls == sum(opcode in {9, 10} for opcode in opcodes)
    assert totals.data_frames == sum(opcode in {0, 1, 2} for opcode in opcodes)
    assert totals.later_fragments == opcodes.count(0)
    assert ends[-1] == len(data)


@given(st.lists(FRAME, min_size=1, max_size=12), st.integers(1, 5))
def test_frames_stay_whole(kinds: list[tuple[int, int]], frames: int) -> None:
    """If all bytes are there, each call of the scanner takes the given number of whole frames, or all that are left."""
    lengths = [len(encoded(*kind)) for kind in kinds]
    _, ends = scan_all([b"".join(encoded(*kind) for kind in kinds)], frames)
    assert ends[1:] == [sum(lengths[: min(n, len(kinds))]) for n in range(frames, len(kinds) + frames, frames)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 9), st.booleans())
def test_fragments_of_a_message(messages: list[int], frames: int, pings: bool) -> None:
    """The scanner finds the number of fragments of the longest message.

    This also holds if there are pings between the fragments, and if the scanner takes them in several calls.
    """
    between = encoded(9, 0) if pings else b""
    data = b"".join((encoded(1, 1) + between) + (encoded(0, 1) + between) * (length - 1) for length in messages)
    totals, _ = scan_all([data], frames)
    assert totals.most_fragments == max(messages)


@given(
    st.sampled_from([0x81, 0x01, 0x80, 0x82, 0x88, 0x89, 0xC1]),
    st.sampled_from([0, 1, 125, 126, 300, 5_000]),
    st.binary(min_size=4, max_size=4),
    st.integers(-1, 1),
)
def test_whole_text_is_read_as_by_the_library(first: int, size: int, mask: bytes, more: int) -> None:
    """The payload of one whole text message is what the library reads. All other data is left to the library."""
    payload = bytes(at % 128 for at in range(size))
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    data = bytes([first]) + encoded(1, size)[1:].partition(b"mask")[0] + mask + masked
    data = data[:more] if more < 0 else data + b"\x81" * more
    library = Connection(ConnectionType.SERVER)
    library.receive_data(data)
    events = list(library.events())
    whole = first == 0x81 and more == 0
    assert FrameScanner().whole_text(data) == (payload if whole else None)
    assert not whole or events == [TextMessage(data=payload.decode())]


REFUSED = {
    "without a mask": b"\x81\x05hello",
    "longer form of a short length": b"\x81\xfe\x00\x01mask?",
    "eight bytes of length": b"\x81\xff" + bytes(7) + b"\x01mask?",
    "as long as its second byte would say": b"\x81\xff" + bytes(7) + b"\x01mask" + bytes(127),
    "only the first byte": b"\x81",
    "only a header": b"\x81\xfe\x00",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_faulty_headers_are_left_to_the_library(data: bytes) -> None:
    """A frame with a wrong or incomplete header is no whole message."""
    assert FrameScanner().whole_text(data) is None


@pytest.mark.parametrize(
    "before", [encoded(1, 9)[:-1], b"\x81", b"\x01\x80mask", b"\x01\x80mask" + encoded(9, 0)], ids=range(4)
)
def test_text_inside_a_message_is_left_to_the_library(before: bytes) -> None:
    """After a part of a frame, or of a message, the same bytes are no whole message. After the end they are one."""
    scanner = FrameScanner()
    scanner.scan(before, 9)
    assert scanner.whole_text(encoded(1, 1)) is None
    scanner = FrameScanner()
    scanner.scan(b"\x01\x80mask" + encoded(0, 1) + encoded(9, 0), 9)
    assert scanner.whole_text(encoded(1, 1)) is not None
