"""Peers that do not read, say nothing, or vanish: each is let go in time, with everything that it held."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from attacks.arena import ATTACKERS, FEW, arena
from attacks.attacker import HEAD, Attacker, Got
from protocol.raw import PING, PONG, TEXT, announced, frame, told
from protocol.wire import wait_for_connections

from actors import MemoryLog
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

HELLO = frame(TEXT, b'{"type":"hello","session":"attacked"}')
MUCH = {"agent": "emit", "input": {"count": 200, "size": 20_000}}
"""The arguments of a run that emits more than the buffers of a socket hold."""


async def ask_for_much(one: Attacker) -> None:
    """Say hello on a socket that takes little, and start a run that emits much."""
    one.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await one.hello(session="attacked")
    await one.tell("command", id="1", name="run.start", args=MUCH)


async def only_listen(one: Attacker) -> None:
    """Do nothing for a while."""
    await trio.sleep(20)


async def go_on_sending(one: Attacker) -> None:
    """Send pings and acks for a while, and read none of the answers."""
    for _ in range(4):
        await one.send(frame(PING, b"x" * 125) + told("ack", seq=1))
        await trio.sleep(5)


async def ask_for_replies(one: Attacker) -> None:
    """Send many commands, and read none of the replies."""
    await one.send(b"".join(told("command", id=f"{number:0128}", name="x", args={}) for number in range(250)))
    await trio.sleep(5)


@pytest.mark.parametrize("then", [only_listen, go_on_sending, ask_for_replies])
async def test_peer_that_does_not_read(
    then: Callable[[Attacker], Awaitable[None]], patient_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read is let go after ``slow_seconds``, and every frame that it got is whole.

    It does not help the client to send something. If the answers would take too much memory, it is let go at once.
    """
    monkeypatch.setattr("transport.server._write_buffer.MAX_QUEUED", 32 * 1024)

    async def attack(one: Attacker) -> None:
        await ask_for_much(one)
        await then(one)
        assert here.server.endpoint.statistics().connections == 1

    async with arena() as here:
        assert set(await here.endure(attack)) <= {Got(101), Got(101, 4001)}


HALF = {"nothing": b"", "a frame of 4 EB": announced(2**62) + b"x" * 1000, "a fragment": frame(TEXT, b"{", final=False)}


async def test_peer_that_says_nothing(patient_clock: MockClock) -> None:
    """A client that is there no more, or never ends its message, gets 4002 after ``ping_seconds`` and ``pong_seconds``.

    A frame takes as much memory as has come of it.
    """
    half = list(HALF.values())

    async def attack(one: Attacker) -> None:
        await one.hello()
        await one.send(half[one.number])

    async with arena() as here:
        assert await here.endure_each(attack, HALF) == dict.fromkeys(HALF, Got(101, 4002))


async def test_peer_without_a_hello(patient_clock: MockClock) -> None:
    """A client that opens a WebSocket and says nothing gets 4503 after ``hello_seconds``."""

    async with arena() as here:
        assert await here.endure(lambda one: one.upgrade()) == [Got(101, 4503)] * ATTACKERS


async def test_ping_while_the_log_stands_still(patient_clock: MockClock) -> None:
    """A client whose session cannot store its events is still read: its ping is answered, its end is noticed."""
    log = FaultyLog(MemoryLog())
    async with arena(log=log) as here:
        one = await here.connect()
        await one.hello()
        held = log.hold("append")
        for number in range(100):
            await one.tell("command", id=str(number), name="message.send", args={"text": "x"})
        await held.reached.wait()
        await one.send(frame(PING, b"still here?"))
        await one.read(b"still here?")
        assert b"still here?" in one.received
        await one.leave()
        await wait_for_connections(here.server, 1)
        held.released.set()


WHOLE = HEAD + b"\r\n"
PARTS = {
    "nothing": b"",
    "half a request": HEAD[:60],
    "a request": WHOLE,
    "the head of a frame": WHOLE + HELLO[:1],
    "half a hello": WHOLE + HELLO[:20],
    "a fragment": WHOLE + HELLO + frame(TEXT, b'{"type":', final=False),
    "half a long frame": WHOLE + HELLO + b"\x81\xfe\xff\xff\0\0\0\0" + b"x" * 30_000,
    "a run": WHOLE + HELLO + told("command", id="1", name="run.start", args=MUCH),
}


async def test_peer_that_vanishes(patient_clock: MockClock) -> None:
    """A client may vanish in the middle of anything, with FIN or RST. Nothing of it stays, and no error is logged."""
    parts = list(PARTS.values())

    async def attack(one: Attacker) -> None:
        part = parts[one.number // 2]
        if WHOLE in part:
            await one.upgrade()
        await one.send(part.removeprefix(WHOLE))
        await trio.sleep(0.1)
        if one.number % 2:
            one.reset()
        else:
            await one.leave()

    async with arena() as here:
        both = 2 * len(parts)
        assert set(await here.endure(attack, both, both)) == {Got(), Got(101)}


LATE = {
    "nothing": b"",
    "pings and pongs": frame(PING) * 3 + frame(PONG) * 3,
    "half a frame": b"\x81",
    "hellos": HELLO * 3,
    "no WebSocket": b"\xff" * 100,
}


async def test_peer_that_does_not_close(patient_clock: MockClock) -> None:
    """A client that does not answer the server's close frame, or answers with something else, is gone seconds later."""
    late = list(LATE.values())

    async def attack(one: Attacker) -> None:
        await one.upgrade()
        await one.send(frame(TEXT, b"{}"))
        await one.read(b"\x88")
        await one.send(late[one.number])
        began = trio.current_time()
        await one.read()
        assert trio.current_time() - began < 5

    async with arena() as here:
        assert await here.endure_each(attack, LATE) == dict.fromkeys(LATE, Got(101, 4500))


CONNECTIONS = scaled(100, 10_000)


async def test_connections_that_come_and_go(patient_clock: MockClock) -> None:
    """Ten thousand connections that are opened and dropped at once, in the middle of anything, leave nothing behind."""
    parts = list(PARTS.values())[:-1]

    async def attack(one: Attacker) -> None:
        for number in range(CONNECTIONS // 10):
            async with (another := await here.connect()).stream:
                await another.send(parts[number % len(parts)])
                if number % 2:
                    another.reset()
        await one.leave()

    async with arena(handshakes_per_second=1e9, max_connections_per_address=FEW) as here:
        assert await here.endure(attack, 10, 10) == [Got()] * 10
