"""RFC 7692: the answers of a server with ``compress_bytes`` to offers, and to compressed messages, right and wrong."""

from __future__ import annotations

import zlib
from itertools import product
from typing import TYPE_CHECKING

import attrs
import pytest
from rfc6455.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, message, question
from rfc6455.peer import UPGRADE
from rfc6455.rows import Ends, Lives, Outcome
from rfc6455.target import EVERYWHERE, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rfc6455.rows import Case

ANSWERED = Lives((("reply", "q"),))
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
MAX_FRAME_BYTES = 65_536
MAX_FRAGMENTS = 1_024
RSV1 = 4


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """Run a server that compresses, with a neighbour that has not offered it."""
    with Target(compress_bytes=1024).running() as running:
        yield running


def upgrade_with(*offers: str) -> bytes:
    """Return a request for a WebSocket with these headers ``Sec-WebSocket-Extensions``."""
    lines = b"".join(f"Sec-WebSocket-Extensions: {offer}\r\n".encode() for offer in offers)
    return UPGRADE.removesuffix(b"\r\n") + lines + b"\r\n"


@attrs.frozen
class Offer:
    """Offers of a client, and the server's answer. None means that the server answers without an extension."""

    id: str
    offers: tuple[str, ...]
    answer: str | None = None

    def byte_by_byte(self) -> None:
        return None

    def play(self, target: Target) -> None:
        with target.connect() as peer:
            peer.send(upgrade_with(*self.offers))
            status, headers, _ = peer.answer()
            assert (status, headers.get("sec-websocket-extensions")) == (101, self.answer)
            peer.hello()
            assert peer.finish() == []
        target.check_neighbour()


@attrs.frozen
class Compressed:
    """Bytes of a client after it has offered compression, and what the server does."""

    id: str
    data: bytes
    outcome: Outcome
    offer: str = "permessage-deflate"
    cuts: Sequence[int] = ()

    def byte_by_byte(self) -> Compressed | None:
        return None

    def play(self, target: Target) -> None:
        with target.connect(self.cuts) as peer:
            peer.send(upgrade_with(self.offer))
            status, headers, _ = peer.answer()
            assert (status, "sec-websocket-extensions" in headers) == (101, self.offer.startswith("permessage-deflate"))
            peer.hello()
            peer.send(self.data)
            self.outcome.check(peer)
            target.check_no_connection_is_left()
        target.check_neighbour()


def deflated(payload: bytes, level: int = 6, window: int = 15, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Return the payload of a compressed message."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window)
    return (compressor.compress(payload) + compressor.flush(flush)).removesuffix(b"\x00\x00\xff\xff")


def compressed(payload: bytes, *sizes: int, between: bytes = b"") -> bytes:
    """Return a compressed message in fragments of these sizes, and one with the rest."""
    data = message(payload, *sizes, between=between)
    return bytes([data[0] | 0x40]) + data[1:]


def offers() -> Iterator[Offer]:
    """The first offer that fits is accepted (RFC 7692, section 5.1); all others are as if they were not there."""
    yield Offer("nothing", ())
    yield Offer("deflate", ("permessage-deflate",), ANSWER)
    yield Offer("of browsers", ("permessage-deflate; client_max_window_bits",), ANSWER)
    smaller = "permessage-deflate; server_max_window_bits=10"
    yield Offer("a smaller window", (smaller,), f"{ANSWER}; server_max_window_bits=10")
    yield Offer("two offers", (f"{smaller}, permessage-deflate",), f"{ANSWER}; server_max_window_bits=10")
    yield Offer("two headers", ("permessage-deflate", smaller), ANSWER)
    yield Offer("others before it", ("x-webkit-deflate-frame, x; a=1", "permessage-deflate"), ANSWER)
    yield Offer("a wrong one before it", ("permessage-deflate; x, permessage-deflate",), ANSWER)
    for wrong in ("; x", "; server_max_window_bits=8", "; server_max_window_bits", "; client_no_context_takeover=1"):
        yield Offer(f"only {wrong}", (f"permessage-deflate{wrong}",))
    for other in ("x-webkit-deflate-frame", "permessage-bzip2", "", ",", "@;=", 'x; a="1', "x" * 4000):
        yield Offer(f"another: {other[:20]}", (other,))


def messages() -> Iterator[Compressed]:
    """A compressed message is read, however it was compressed, and in any fragments and reads (section 6.2)."""
    for level, window in product((0, 1, 9), (9, 15)):
        data = frame(TEXT, deflated(question(size=3000), level, window), reserved=RSV1)
        yield Compressed(f"level {level}, window {window}", data, ANSWERED)
    payload = deflated(question())
    yield Compressed("not compressed", frame(TEXT, question()), ANSWERED)
    yield Compressed("byte by byte", compressed(payload), ANSWERED, cuts=EVERYWHERE)
    final = deflated(question(), flush=zlib.Z_FINISH) + b"\x00"
    yield Compressed("a final block", frame(TEXT, final, reserved=RSV1), ANSWERED)
    blocks = b"".join(deflated(bytes([byte])) + b"\x00\x00\xff\xff" for byte in question()) + b"\x00"
    yield Compressed("a block for each byte", frame(TEXT, blocks, reserved=RSV1), ANSWERED)
    for sizes in ((0,), (1,), (0, 0, len(payload)), (5, 0, 5), (1,) * len(payload)):
        yield Compressed(f"fragments {sizes[:5]}", compressed(payload, *sizes), ANSWERED)
        pings = compressed(payload, *sizes, between=frame(PING, b"x"))
        heard = (*[("pong", b"x")] * len(sizes), ("reply", "q"))
        yield Compressed(f"pings between fragments {sizes[:5]}", pings, Lives(heard))
    mixed = compressed(payload) + frame(TEXT, question("r")) + compressed(deflated(question("s")), 3)
    yield Compressed("several", mixed, Lives((("reply", "q"), ("reply", "r"), ("reply", "s"))))
    yield Compressed("fragments up to the limit", compressed(payload, *[0] * (MAX_FRAGMENTS - 1)), ANSWERED)
    yield Compressed("a fragment too many", compressed(payload, *[0] * MAX_FRAGMENTS), Ends(1009))


def wrong_messages() -> Iterator[Compressed]:
    """Bytes that are not deflate end the connection with 1007, as text does that is not UTF-8."""
    for data in (b"\xff", b"\x07" * 30, b"\x01\x00\x00\x00\x00", deflated(question(), flush=zlib.Z_FINISH) * 2):
        yield Compressed(f"not deflate: {data[:4].hex()}", frame(TEXT, data, reserved=RSV1), Ends(1007))
        in_two = compressed(data + bytes(9), 1)
        yield Compressed(f"not deflate, in fragments: {data[:4].hex()}", in_two, Ends(1007))
    yield Compressed("not UTF-8", frame(TEXT, deflated(b"\xff"), reserved=RSV1), Ends(1007))
    yield Compressed("half a character", frame(TEXT, deflated("é".encode()[:1]), reserved=RSV1), Ends(1007))
    yield Compressed("binary", frame(BINARY, deflated(b"x"), reserved=RSV1), Ends(1003))
    for data in (b"", b"\x00"):
        yield Compressed(f"empty: {data.hex()}", frame(TEXT, data, reserved=RSV1), Ends(4500))
    context = frame(TEXT, deflated(question()), reserved=RSV1)
    # Distance 1 before the first byte: it refers to a message before, whose context is not kept.
    again = context + frame(TEXT, b"\x02\x04\x00", reserved=RSV1)
    yield Compressed("refers to an earlier message", again, Ends(1007, ANSWERED.heard))


def reserved_bits() -> Iterator[Compressed]:
    """RSV1 belongs to the first frame of a message (section 6), the other bits to nothing: else 1002."""
    begun = frame(TEXT, question()[:5], fin=False)
    for opcode in (CLOSE, PING, PONG):
        yield Compressed(f"control {opcode}", frame(opcode, reserved=RSV1), Ends(1002))
        yield Compressed(f"control {opcode} in a message", begun + frame(opcode, reserved=RSV1), Ends(1002))
    yield Compressed("a continuation", begun + frame(CONTINUATION, question()[5:], reserved=RSV1), Ends(1002))
    started = frame(TEXT, deflated(question())[:5], fin=False, reserved=RSV1)
    again = started + frame(CONTINUATION, deflated(question())[5:], reserved=RSV1)
    yield Compressed("twice in a message", again, Ends(1002))
    for reserved in (1, 2, 3, 5, 6, 7):
        yield Compressed(f"bits {reserved:03b}", frame(TEXT, deflated(question()), reserved=reserved), Ends(1002))
    plain = frame(TEXT, deflated(question()), reserved=RSV1)
    yield Compressed("not agreed on", plain, Ends(1002), offer="x-other")


def sizes() -> Iterator[Compressed]:
    """A message may have ``max_frame_bytes`` after decompression. More is 1009, and is not decompressed."""
    for size, outcome in ((MAX_FRAME_BYTES, ANSWERED), (MAX_FRAME_BYTES + 1, Ends(1009))):
        payload = deflated(question(size=size))
        yield Compressed(f"{size} bytes", compressed(payload), outcome)
        yield Compressed(f"{size} bytes in fragments", compressed(payload, 10, 20), outcome)
        stored = deflated(question(size=size), level=0)
        yield Compressed(f"{size} bytes at level 0", compressed(stored), outcome)
    wide = question("é" * 100).replace("é".encode(), "é".encode() * 400)
    yield Compressed("few characters, many bytes", compressed(deflated(wide)), Ends(1009))
    bomb = deflated(bytes(50_000_000), 9)
    yield Compressed("a bomb", compressed(bomb), Ends(1009))
    yield Compressed("a bomb in fragments", compressed(bomb, 100, 100, 20_000), Ends(1009))
    empty = (b"\x00\x00\x00\xff\xff" * 20_000)[:-4]
    yield Compressed("100 KB of empty blocks", compressed(empty), Ends(1009))


TABLES = (offers, messages, wrong_messages, reserved_bits, sizes)


@pytest.mark.parametrize("rows", [pytest.param(list(table()), id=table.__name__) for table in TABLES])
def test_compression(rows: Sequence[Case], play_all: Callable[[Sequence[Case]], None]) -> None:
    """A server that compresses does with each of these bytes what RFC 7692 says, and its neighbour notices nothing."""
    play_all(rows)
