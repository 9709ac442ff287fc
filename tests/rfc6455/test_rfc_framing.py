"""RFC 6455, section 5: the header of a frame. Opcodes, reserved bits, lengths, masks, and the limits on sizes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from rfc6455.frames import BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, frame, head, message, question
from rfc6455.rows import Ends, Lives, Outcome, Row, deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rfc6455.rows import Case

ANSWERED = Lives((("reply", "q"),))
MAX_FRAME_BYTES = 65_536
MAX_FRAGMENTS = 1_024
KNOWN = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}


def opcodes() -> Iterator[Row]:
    """Opcodes without a meaning (section 5.2) end the connection with 1002, with and without a payload."""
    for opcode in sorted(set(range(16)) - set(KNOWN)):
        for fin, payload in product((True, False), (b"", b"{}")):
            name = f"opcode {opcode}, fin {fin:d}, {len(payload)} bytes"
            yield Row(name, frame(opcode, payload, fin=fin), Ends(1002))
        data = frame(TEXT, b"{", fin=False) + frame(opcode, b"}")
        yield Row(f"opcode {opcode} inside a message", data, Ends(1002))


def reserved_bits() -> Iterator[Row]:
    """Each of the 7 combinations of reserved bits ends the connection with 1002, with each opcode.

    No extension is negotiated, so no bit has a meaning (section 5.2).
    """
    for reserved, opcode in product(range(1, 8), range(16)):
        before = frame(TEXT, b"{", fin=False) if opcode == CONTINUATION else b""
        data = before + frame(opcode, b"", reserved=reserved)
        yield Row(f"reserved bits {reserved:03b}, opcode {opcode}", data, Ends(1002))
    for reserved in range(1, 8):
        data = frame(TEXT, question(), reserved=reserved)
        yield Row(f"reserved bits {reserved:03b}, a whole command", data, Ends(1002))


def lengths() -> Iterator[Row]:
    """A length must have as few bytes as possible (section 5.2), and the first bit of eight bytes must be 0."""
    for size in (60, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536):
        yield Row(f"text of {size} bytes", frame(TEXT, question(size=size)), ANSWERED)
    for size in (0, 1, 60, 124, 125):
        yield Row(f"{size} bytes, length in 2 bytes", frame(TEXT, b" " * size, extended=2), Ends(1002))
    for size in (0, 1, 60, 125, 126, 127, 65_535):
        yield Row(f"{size} bytes, length in 8 bytes", frame(TEXT, b" " * size, extended=8), Ends(1002))
    for size in (1 << 63, (1 << 63) + 1, (1 << 64) - 1):
        yield Row(f"length {size:#x}", head(0x81, size, extended=8) + KEY, Ends(1002))
        yield Row(f"length {size:#x}, no mask", head(0x81, size, masks=False, extended=8), Ends(1002))


def sizes() -> Iterator[Row]:
    """A message has at most ``max_frame_bytes`` bytes over all its fragments. One more ends the connection with 1009.

    Bytes count, and not characters. An announced length alone is no message: the bytes that come are counted.
    """
    for size, outcome in ((MAX_FRAME_BYTES, ANSWERED), (MAX_FRAME_BYTES + 1, Ends(1009))):
        data = question(size=size)
        yield Row(f"{size} bytes", frame(TEXT, data), outcome)
        yield Row(f"{size} bytes in two fragments", message(data, size // 2), outcome)
        yield Row(f"{size} bytes in a fragment and an empty one", message(data, size), outcome)
        yield Row(f"{size} bytes in fragments of 100", message(data, *[100] * (size // 100)), outcome)
        wide = question(id_="€").replace(b"none", b"none" + "€".encode() * 20_000).ljust(size)
        yield Row(f"{size} bytes with characters of 3", frame(TEXT, wide), _renamed(outcome))
    for size in (MAX_FRAME_BYTES + 1, 1 << 20, 1 << 32, (1 << 63) - 1):
        more = bytes(4) + b"x" * (MAX_FRAME_BYTES + 1)
        yield Row(f"length {size}", head(0x81, size) + more, Ends(1009))
        start = frame(TEXT, b"{", fin=False)
        yield Row(f"continuation of length {size}", start + head(0x80, size) + more, Ends(1009))
    over = frame(TEXT, b"x" * 40_000, fin=False) + frame(CONTINUATION, b"y" * 40_000)
    yield Row("two fragments that are too large together", over, Ends(1009))


def _renamed(outcome: Outcome) -> Outcome:
    return Lives((("reply", "€"),)) if outcome == ANSWERED else outcome


def masks() -> Iterator[Row]:
    """A client's frame has a mask (section 5.1); any key works, and each frame has its own (section 5.3)."""
    for opcode, name in KNOWN.items():
        before = frame(TEXT, b"{", fin=False) if opcode == CONTINUATION else b""
        for payload in (b"", b"xx"):
            data = before + frame(opcode, payload, key=None)
            yield Row(f"{name} of {len(payload)} bytes without a mask", data, Ends(1002))
    yield Row("command without a mask", frame(TEXT, question(), key=None), Ends(1002))
    keys = {
        "zeros": bytes(4),
        "ones": b"\xff" * 4,
        "one bit": b"\0\0\0\1",
        "the payload itself": question()[:4],
        "bytes of a header": b"\x81\x80\x89\x80",
        "line ends": b"\r\n\r\n",
    }
    for name, key in keys.items():
        yield Row(f"key: {name}", frame(TEXT, question(), key=key), ANSWERED)
    for size in range(60, 68):
        yield Row(f"key in a payload of {size} bytes", frame(TEXT, question(size=size), key=b"\1\2\3\4"), ANSWERED)
    data = question()
    for start in range(1, 8):
        first = frame(TEXT, data[:start], fin=False, key=b"\1\2\3\4")
        rest = frame(CONTINUATION, data[start:], key=b"\xf0\xe0\xd0\xc0")
        yield Row(f"another key after a fragment of {start} bytes", first + rest, ANSWERED)
    ping = frame(PING, b"between", key=b"keys")
    between = frame(TEXT, data[:9], fin=False, key=b"\1\2\3\4") + ping + frame(CONTINUATION, data[9:], key=b"\4\3\2\1")
    yield Row("another key in a ping between", between, Lives((("pong", b"between"), ("reply", "q"))))


def contents() -> Iterator[Row]:
    """Text messages hold frames of the protocol; binary messages are refused with 1003."""
    yield Row("empty text", frame(TEXT), Ends(4500))
    yield Row("text that is not JSON", frame(TEXT, b"hello"), Ends(4500))
    yield Row("binary", frame(BINARY, question()), Ends(1003))
    yield Row("empty binary", frame(BINARY), Ends(1003))
    yield Row("binary that is not UTF-8", frame(BINARY, b"\xff\xfe"), Ends(1003))
    yield Row("binary in fragments", message(question(), 5, opcode=BINARY), Ends(1003))
    for number in (2, 3, 20):
        heard = tuple(("reply", f"q{at}") for at in range(number))
        data = b"".join(frame(TEXT, question(f"q{at}")) for at in range(number))
        yield Row(f"{number} messages", data, Lives(heard))
    wrong = frame(TEXT, question()) + frame(3)
    yield Row("a wrong frame after a right one", wrong, Ends(1002, (("reply", "q"),)))


def fragments() -> Iterator[Row]:
    """A message may have up to ``max_fragments`` fragments (section 5.4). One more ends the connection with 1009."""
    data = question()
    for start in range(len(data) + 1):
        yield Row(f"two fragments, cut at {start}", message(data, start), ANSWERED)
    for size in (1, 2, 7):
        yield Row(f"fragments of {size} bytes", message(data, *[size] * (len(data) // size)), ANSWERED)
    for number in (1, 10):
        yield Row(f"{number} empty fragments before", message(data, *[0] * number), ANSWERED)
        yield Row(f"{number} empty fragments inside", message(data, 5, *[0] * number), ANSWERED)
        yield Row(f"{number} empty fragments after", message(data, len(data), *[0] * number), ANSWERED)
    yield Row("only empty fragments", message(b"", 0, 0), Ends(4500))
    most = MAX_FRAGMENTS - 1
    yield Row(f"{MAX_FRAGMENTS} fragments", message(data, *[0] * most), ANSWERED)
    yield Row(f"{MAX_FRAGMENTS + 1} fragments", message(data, *[0] * (most + 1)), Ends(1009))
    two = message(question("q0"), 3) + message(question("q1"), 5, 5)
    yield Row("two messages in fragments", two, Lives((("reply", "q0"), ("reply", "q1"))))


def wrong_fragments() -> Iterator[Row]:
    """A continuation needs a beginning, and a message must end before the next begins (section 5.4); else 1002."""
    after = (("reply", "q"),)
    for fin in (True, False):
        for payload in (b"", b"{}"):
            name = f"fin {fin:d}, {len(payload)} bytes"
            alone = frame(CONTINUATION, payload, fin=fin)
            yield Row(f"continuation of nothing, {name}", alone, Ends(1002))
            whole = frame(TEXT, question()) + alone
            yield Row(f"continuation of a whole message, {name}", whole, Ends(1002, after))
            ended = message(question(), 5) + alone
            yield Row(f"continuation of an ended message, {name}", ended, Ends(1002, after))
            for opcode in (TEXT, BINARY):
                inside = frame(TEXT, b"{", fin=False) + frame(opcode, payload, fin=fin)
                yield Row(f"{KNOWN[opcode]} inside a message, {name}", inside, Ends(1002))
    ping = frame(PING, b"x") + frame(CONTINUATION, b"{}")
    yield Row("continuation of a ping", ping, Ends(1002, (("pong", b"x"),)))


TABLES = (opcodes, reserved_bits, lengths, sizes, masks, contents, fragments, wrong_fragments)


@pytest.mark.parametrize("rows", deliveries(*TABLES))
def test_framing(rows: Sequence[Case], play_all: Callable[[Sequence[Case]], None]) -> None:
    """Each header of a frame has the outcome that RFC 6455 requires. The neighbour notices nothing, and nothing stays.

    Each row comes as a whole, and each fourth row (in ``make soak`` each row) also byte by byte.
    """
    play_all(rows)
