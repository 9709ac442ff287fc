"""Floods of small frames: the neighbours' turns, the limits on control frames and fragments, and how a flood ends."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _probes import StepCounter
from protocol.agents import make_app
from protocol.raw import CONTINUATION, PING, PONG, TEXT, fragmented, frame, raw_client, raw_client_in_memory
from protocol.wire import Ended, greeted, wait_for_connections
from websockets.exceptions import ConnectionClosed

from transport.protocol.limits import CONTROL_CHARACTERS
from transport.server._counted_frames import FRAMES_PER_TURN

if TYPE_CHECKING:
    from trio.testing import MockClock

    from transport import Server

FLOOD = 1600
"""Number of frames in a flood. They fit into one read of the server."""
UNLIMITED: dict[str, Any] = {"control_frames_per_second": 1e9, "max_fragments": 10**9}
CONTROLS = {
    "ping of WebSocket": frame(PING),
    "pong of WebSocket": frame(PONG, b"x" * 125),
    "ack": frame(TEXT, b'{"type":"ack","seq":0}'),
    "pong": frame(TEXT, b'{"type":"pong"}'),
    "typing": frame(TEXT, b'{"type":"typing","active":true}'),
}
"""One frame of each kind that counts as a control frame."""
LAST = json.dumps({"type": "command", "id": "last", "name": "message.send", "args": {"text": "x"}}).encode()
"""A command. When its reply comes, the server has handled everything before it."""


class Turns:
    """A task that does nothing but take its turn. :attr:`taken` is the number of its turns."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.taken = 0
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.taken += 1


async def end_after(server: Server, data: bytes) -> Ended | None:
    """Send ``data`` after a hello, then a command. Return how the connection ends, or None if the reply comes."""
    async with raw_client_in_memory(server) as (one, stream):
        await one.hello()
        await stream.send_all(data + frame(TEXT, LAST))
        with suppress(ConnectionClosed):
            await one.reply("last")
            return None
        return await one.ended()


def message(fragments: int) -> bytes:
    """Return a harmless message in that many fragments."""
    return fragmented(b'{"type":"pong"}', fragments)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(PONG) * FLOOD, id="pongs"),
        pytest.param(frame(PING) * FLOOD, id="pings"),
        pytest.param(message(FLOOD), id="fragments"),
    ],
)
async def test_neighbours_have_turns_during_a_flood(flood: bytes) -> None:
    """While the server handles many frames that came in one read, it lets other tasks run again and again.

    Another task runs after every ``FRAMES_PER_TURN`` frames.
    """
    async with make_app(**UNLIMITED).running(port=0) as server, trio.open_nursery() as nursery:
        turns = Turns(nursery)
        assert await end_after(server, flood) is None
        assert turns.taken >= FLOOD // FRAMES_PER_TURN
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
async def test_control_frames_at_once(control: bytes, autojump_clock: MockClock) -> None:
    """A connection may send ``control_frames_per_second`` control frames at once. One more is flooding (4505).

    This holds for each kind of control frame, such as pings, acks and typing.
    """
    async with make_app(control_frames_per_second=50, commands_burst=1000).running(port=0) as server:
        assert await end_after(server, control * 50) is None
        ended = await end_after(server, control * 51)
        assert ended is not None
        assert ended.code == 4505
        assert ended.goodbye == {"type": "goodbye", "code": 4505, "reason": ended.reason}


async def test_control_frames_have_one_limit(autojump_clock: MockClock) -> None:
    """Control frames of different kinds count together towards ``control_frames_per_second``.

    One more than this limit is flooding (4505).
    """
    async with make_app(control_frames_per_second=50, commands_burst=1000).running(port=0) as server:
        mixed = b"".join(CONTROLS.values()) * 10
        assert await end_after(server, mixed) is None
        ended = await end_after(server, mixed + frame(PING))
        assert ended is not None
        assert ended.code == 4505


async def test_long_control_frame_counts_more(autojump_clock: MockClock) -> None:
    """A control frame counts once for every started ``CONTROL_CHARACTERS`` of its text."""
    async with make_app(control_frames_per_second=50).running(port=0) as server:
        for size, code in ((50 * CONTROL_CHARACTERS - 1, None), (50 * CONTROL_CHARACTERS, 4505)):
            text = b'{"type":"pong"}'.ljust(size)
            ended = await end_after(server, frame(TEXT, text))
            assert (ended and ended.code) == code


async def test_control_frames_over_time(autojump_clock: MockClock) -> None:
    """A client that sends control frames at the limit for 20 s is served, and each of its pings is answered."""
    async with make_app(control_frames_per_second=10).running(port=0) as server:
        async with raw_client_in_memory(server) as (one, stream):
            await one.hello()
            for _ in range(20):
                await stream.send_all(frame(PING) * 10)
                await trio.sleep(1.01)
            await stream.send_all(frame(TEXT, LAST))
            await one.reply("last")


async def test_flood_before_hello_gets_no_goodbye(autojump_clock: MockClock) -> None:
    """If a client without a welcome sends too many control frames, its socket is closed at once, without a goodbye."""
    async with make_app(control_frames_per_second=50).running(port=0) as server:
        async with raw_client_in_memory(server) as (one, stream):
            await stream.send_all(frame(PONG) * 51)
            assert await one.ended() == Ended(1006, "", None)
            assert trio.current_time() < 1
        await wait_for_connections(server)


@pytest.mark.parametrize("welcomed", [False, True], ids=["before hello", "after hello"])
async def test_fragments_of_a_message(welcomed: bool, autojump_clock: MockClock) -> None:
    """A message of ``max_fragments`` fragments is read. One more fragment ends the connection with 1009."""
    async with make_app(max_fragments=8).running(port=0) as server:
        for fragments, code in ((8, None), (9, 1009)):
            async with raw_client_in_memory(server) as (one, stream):
                if welcomed:
                    await one.hello()
                await stream.send_all(fragmented(LAST if welcomed else b'{"type":"hello","session":"s1"}', fragments))
                if code is None:
                    assert (await one.receive("reply", "welcome"))["type"] == ("reply" if welcomed else "welcome")
                else:
                    ended = await one.ended()
                    assert ended.goodbye == {"type": "goodbye", "code": code, "reason": ended.reason}


async def test_endless_message_of_empty_fragments(autojump_clock: MockClock) -> None:
    """If a client sends empty fragments of one message without end, its connection is closed with 1009.

    The fragments are counted, so it does not matter that they have no bytes.
    """
    async with make_app(max_fragments=8).running(port=0) as server:
        ended = await end_after(server, frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 8)
        assert ended is not None
        assert ended.code == 1009


async def test_fragments_per_second(autojump_clock: MockClock) -> None:
    """A client may send two messages of ``max_fragments`` fragments at once. A third one is flooding (4505).

    If the client waits about a second before each message, it may send any number of them.
    """
    async with make_app(max_fragments=8).running(port=0) as server:
        assert await end_after(server, message(8) * 2) is None
        ended = await end_after(server, message(8) * 3)
        assert ended is not None
        assert ended.code == 4505
        async with raw_client_in_memory(server) as (one, stream):
            await one.hello()
            for _ in range(20):
                await stream.send_all(message(8))
                await trio.sleep(1.01)
            await stream.send_all(frame(TEXT, LAST))
            await one.reply("last")


async def test_message_that_comes_byte_by_byte(autojump_clock: MockClock) -> None:
    """If a long message arrives byte by byte, this is flooding (4505). In larger pieces it is accepted."""
    async with make_app(max_fragments=32, commands_burst=1000).running(port=0) as server:
        data = frame(TEXT, b'{"type":"pong","padding":"%b"}' % (b"x" * 6400))
        for size, ends in ((64, False), (1, True)):
            async with raw_client_in_memory(server) as (one, stream):
                await one.hello()
                with suppress(trio.BrokenResourceError):
                    for start in range(0, len(data), size):
                        await stream.send_all(data[start : start + size])
                        await trio.testing.wait_all_tasks_blocked()
                    await stream.send_all(frame(TEXT, LAST))
                if ends:
                    assert (await one.ended()).code == 4505
                else:
                    await one.reply("last")


@pytest.mark.parametrize(("messages", "seconds"), [(16, 0), (17, 2)])
async def test_flood_after_the_close(messages: int, seconds: float, autojump_clock: MockClock) -> None:
    """Frames that a client sends after the server's close frame count as fragments. After too many, no more are read.

    The server then does not see the client's close frame, and closes the socket when the time for it is over.
    """
    async with make_app(max_fragments=8).running(port=0) as server:
        async with raw_client_in_memory(server) as (one, stream):
            await one.hello()
            await stream.send_all(frame(TEXT, b"{}"))
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(frame(TEXT) * messages + frame(8))
            while await stream.receive_some():
                pass
            assert trio.current_time() == pytest.approx(seconds, abs=0.1)


async def test_frames_behind_a_flood(autojump_clock: MockClock) -> None:
    """After a client was closed for flooding (4505), none of its frames are handled, however many there are."""
    steps = StepCounter()
    async with make_app(control_frames_per_second=50).running(port=0) as server:
        async with raw_client_in_memory(server) as (one, stream):
            await one.hello()
            trio.lowlevel.add_instrument(steps)
            await stream.send_all(CONTROLS["pong"] * FLOOD)
            assert (await one.ended()).code == 4505
            trio.lowlevel.remove_instrument(steps)
    assert steps.count < FLOOD // FRAMES_PER_TURN / 2


async def test_ping_after_the_close(caplog: pytest.LogCaptureFixture) -> None:
    """A ping that comes after the server's close frame ends the connection, and no error is logged."""
    async with make_app().running(port=0) as server:
        async with raw_client_in_memory(server) as (one, stream):
            await one.hello()
            await stream.send_all(frame(TEXT, b"{}"))
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(frame(PING))
            assert (await one.ended()).code == 4500
        await wait_for_connections(server)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_neighbour_of_a_flood() -> None:
    """While one client floods the server over a real socket, another client is still served.

    Afterwards the connection of the flooding client is gone.
    """
    async with make_app().running(port=0) as server:
        async with greeted(server, "quiet") as neighbour, raw_client(server) as (_, stream):
            with suppress(trio.BrokenResourceError):
                for _ in range(100):
                    await stream.send_all(frame(PONG) * 10_000)
            await neighbour.say("still here")
            assert len(await neighbour.events_until(1)) == 1
        await wait_for_connections(server)
