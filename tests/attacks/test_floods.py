"""Floods on an open WebSocket, and messages that are too large: how each one ends, and what it costs the server."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from _scale import scaled
from attacks.arena import ATTACKERS, arena
from attacks.attacker import Attacker, Got
from protocol.raw import CONTINUATION, PING, PONG, TEXT, announced, fragmented, frame, told

FRAMES = scaled(1_000, 2_000)
"""Number of frames in a flood. They arrive in a few reads of the server."""
FRAGMENTS = scaled(5_000, 1_000_000)
"""Number of fragments of one endless message."""


if TYPE_CHECKING:
    from trio.testing import MockClock

FLOODS = {
    "pings": frame(PING, b"x" * 125) * FRAMES,
    "pongs": b"".join(frame(PONG, str(number).encode()) for number in range(FRAMES)),
    "fragments": fragmented(b'{"type":"pong"}', 60) * (FRAMES // 60),
    "acks": told("ack", seq=0) * FRAMES,
    "typing": told("typing", active=True) * FRAMES,
    "pong frames": told("pong") * FRAMES,
    "commands": b"".join(told("command", id=str(number), name="message.send", args={}) for number in range(FRAMES)),
    "one command": told("command", id="1", name="message.send", args={"text": "x"}) * FRAMES,
    "starts": told("command", id="1", name="run.start", args={"agent": "nothing", "input": "x"}) * FRAMES,
    "history": told("history", id="1", after=0, limit=500) * FRAMES,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_flood_after_the_hello(flood: bytes, patient_clock: MockClock) -> None:
    """A client that floods the server with any kind of small frame gets 4505. Only few of its frames are handled."""

    async def attack(one: Attacker) -> None:
        await one.hello()
        await one.send(flood)

    async with arena(max_fragments=64, commands_burst=60) as here:
        assert await here.endure(attack, 2, 1) == [Got(101, 4505)] * 2
        assert here.cost < 60_000


EARLY_FLOODS = {
    "pings": (FLOODS["pings"], 0),
    "pongs": (FLOODS["pongs"], 0),
    "fragments": (fragmented(b"{}", FRAMES), 1009),
}


@pytest.mark.parametrize(("flood", "code"), EARLY_FLOODS.values(), ids=EARLY_FLOODS)
async def test_flood_before_the_hello(flood: bytes, code: int, patient_clock: MockClock) -> None:
    """A client without a hello that floods the server with control frames gets no answer: its socket is closed.

    A message of too many fragments gets 1009.
    """

    async def attack(one: Attacker) -> None:
        await one.upgrade()
        await one.send(flood)

    async with arena(max_fragments=64) as here:
        assert await here.endure(attack) == [Got(101, code)] * ATTACKERS
        assert here.cost < 30_000


LARGE = {
    "one frame": announced(70_000) + b"x" * 70_000,
    "fragments with bytes": frame(TEXT, b"x" * 60_000, final=False) + frame(CONTINUATION, b"x" * 60_000),
    "few characters, many bytes": announced(80_000) + "\N{GRINNING FACE}".encode() * 20_000,
    "fragments without an end": frame(TEXT, b"x" * 60_000, final=False)
    + frame(CONTINUATION, b"x" * 60_000, final=False),
    "fragments without bytes": frame(TEXT, final=False) + frame(CONTINUATION, final=False) * FRAGMENTS,
}


@pytest.mark.parametrize("message", LARGE.values(), ids=LARGE)
async def test_message_that_is_too_large(message: bytes, patient_clock: MockClock) -> None:
    """A client with a message that is too large gets 1009, and is not kept: neither its bytes, nor its silent socket.

    The size counts in bytes and in fragments.
    """

    async def attack(one: Attacker) -> None:
        await one.hello()
        await one.send(message)

    async with arena() as here:
        assert await here.endure(attack) == [Got(101, 1009)] * ATTACKERS
        assert here.cost < 100_000


BOMB_BYTES = 50_000_000


def compressed(data: bytes) -> bytes:
    """Return a compressed message: RFC 7692."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = frame(TEXT, (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
    return bytes([plain[0] | 0x40]) + plain[1:]


BOMB = compressed(bytes(BOMB_BYTES))
SMALL_BOMBS = compressed(b'{"type":"pong"}'.ljust(65_536)) * 500


@pytest.mark.parametrize(("message", "code"), [(BOMB, 1009), (SMALL_BOMBS, 4505)], ids=["one", "many small"])
async def test_compression_bomb(message: bytes, code: int, patient_clock: MockClock) -> None:
    """A message that would become 50 MB is not decompressed beyond the limit, and gets 1009.

    Many messages of the largest size that come in few bytes count like large ones: 4505.
    """

    async def attack(one: Attacker) -> None:
        await one.upgrade(b"Sec-WebSocket-Extensions: permessage-deflate")
        await one.tell("hello", session="attacked")
        await one.read(b'"type":"welcome"')
        await one.send(message)

    async with arena(compress_bytes=1024) as here:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert await here.endure(attack) == [Got(101, code)] * ATTACKERS
        assert tracemalloc.get_traced_memory()[1] - before < BOMB_BYTES / 10
        assert here.cost < 100_000
