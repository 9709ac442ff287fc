"""Stalls: a server whose loop was held by sync code judges no client by the time of the stall."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing
from protocol.agents import make_app
from protocol.wire import Ended, greeted_in_memory, memory_client

from actors.loop.clock import LoopTime, loop_time
from transport import Credentials, User
from transport.server._write_buffer import WriteBuffer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from trio.testing import MockClock

    from transport import Server

STALL = 60.0
"""Seconds: longer than every time limit of the server."""


@attrs.define
class World:
    """A server, and the two clocks that the test moves: trio's, and the system's."""

    clock: MockClock
    wall: float = 0.0
    time: LoopTime = attrs.field(init=False)
    server: Server = attrs.field(init=False)

    async def block(self, seconds: float) -> None:
        """Let time pass while the loop stands still and nothing runs."""
        self.clock.jump(seconds)
        self.wall += seconds
        await trio.testing.wait_all_tasks_blocked()

    async def go_on(self, seconds: float) -> None:
        """Let time pass while the loop runs."""
        step = 0.25
        for _ in range(round(seconds / step)):
            await self.block(step)
            self.time.tick()


@asynccontextmanager
async def world(clock: MockClock, auth: Any = None, **settings: Any) -> AsyncIterator[World]:
    """Run a server whose idea of the system's time is ``World.wall``."""
    here = World(clock)
    async with make_app(auth=auth, **settings).running(port=0) as here.server:
        here.time = loop_time()
        here.time._wall = lambda: here.wall  # noqa: SLF001 - the system's clock, as this test moves it
        here.time.tick()
        yield here


async def test_hello_during_stall_is_in_time(mock_clock: MockClock) -> None:
    """A hello that was sent while the event loop stalled counts as sent in time."""
    async with world(mock_clock) as here, memory_client(here.server) as one:
        await trio.testing.wait_all_tasks_blocked()
        await here.go_on(9)
        await here.block(STALL)
        await one.hello()


async def test_upgrade_time_does_not_count_a_stall(mock_clock: MockClock) -> None:
    """A stall of the event loop does not count towards the time of an upgrade request."""
    async with world(mock_clock) as here, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(here.server.endpoint.serve, theirs)
        await trio.testing.wait_all_tasks_blocked()
        await here.block(STALL)
        assert here.server.endpoint.statistics().connections == 1
        await here.go_on(5)
        assert not await ours.receive_some()


async def test_auth_during_stall_is_in_time(mock_clock: MockClock) -> None:
    """An auth function that could not return while the event loop stalled counts as in time."""
    asked, answer = trio.Event(), trio.Event()

    async def slow(_: Credentials) -> User:
        asked.set()
        await answer.wait()
        return User("alice")

    async with world(mock_clock, slow) as here, memory_client(here.server) as one:
        await one.send("hello", session="s1")
        await asked.wait()
        await here.block(STALL)
        answer.set()
        assert (await one.receive())["type"] == "welcome"


async def test_client_is_pinged_after_stall(mock_clock: MockClock) -> None:
    """After a stall a client is pinged and has its whole time to answer; if it stays silent, it is closed."""
    async with world(mock_clock) as here, greeted_in_memory(here.server) as one:
        await here.go_on(24)
        await here.block(STALL)
        await one.receive("ping")
        await here.go_on(9)
        await one.send("pong")
        await one.say("still here")
        await here.go_on(35)
        assert (await one.ended()).code == 4002


async def test_many_stalls_close_no_client(mock_clock: MockClock) -> None:
    """Many short stalls, together longer than a limit, close no client."""
    async with world(mock_clock) as here, greeted_in_memory(here.server) as one:
        for _ in range(20):
            await here.block(3)
            here.time.tick()
        await one.say("still here")


async def test_commands_during_stall_are_no_flood(mock_clock: MockClock) -> None:
    """After a stall, as many commands are accepted at once as the rate allows for the time of the stall."""
    async with world(mock_clock, commands_per_second=2, commands_burst=4) as here:
        async with greeted_in_memory(here.server) as one:
            await one.say("before")
            await here.block(STALL)
            here.time.tick()
            for number in range(100):
                await one.send("command", id=str(number), name="message.send", args={"text": "x"})
            for _ in range(100):
                assert (await one.receive("reply"))["ok"]


async def test_typing_outlives_stall(mock_clock: MockClock) -> None:
    """The typing of a user does not end during a stall, in which it could not be renewed. It ends after the stall."""
    async with world(mock_clock) as here, greeted_in_memory(here.server) as one:
        await one.send("typing", active=True)
        assert (await one.receive("signal"))["data"]["active"] is True
        await here.block(STALL)
        async with greeted_in_memory(here.server) as two:
            assert len(two.welcome["typing"]) == 1
        await here.go_on(5)
        assert (await one.receive("signal"))["data"]["active"] is False


async def test_no_connection_gives_way_by_stall(mock_clock: MockClock) -> None:
    """A connection is not closed to make room if a stall kept the server from reading its answer."""
    async with world(mock_clock, max_connections_per_user=1) as here:
        async with greeted_in_memory(here.server) as old, memory_client(here.server) as new:
            await new.send("hello", session="s1")
            await old.receive("ping")
            await here.block(STALL)
            await old.send("pong")
            assert (await new.ended()).code == 4504


async def test_token_expires_during_stall(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a stall counts for a token: if it expires during the stall, its connection ends with 4004."""
    monkeypatch.setattr("time.time", lambda: 1e9)

    async def for_a_minute(_: Credentials) -> User:
        return User("alice", 1e9 + 30)

    async with world(mock_clock, for_a_minute) as here, greeted_in_memory(here.server) as one:
        await here.block(STALL)
        ended: Ended = await one.ended()
        assert ended.code == 4004


class Watched(WriteBuffer):
    """A write buffer that sets an event when its peer is stuck."""

    stuck: trio.Event

    def on_stuck(self) -> None:
        self.stuck.set()


async def test_stall_is_not_slow_time(mock_clock: MockClock) -> None:
    """A client counts as stuck only after ``slow_seconds`` in which the event loop runs. A stall does not count."""
    stuck = trio.Event()
    ours, _ = trio.testing.lockstep_stream_pair()
    async with world(mock_clock) as here, trio.open_nursery() as nursery:
        write_buffer = Watched(ours, None, slow_seconds=10)
        write_buffer.nursery, write_buffer.stuck = nursery, stuck
        write_buffer.write(b"waits")
        await trio.testing.wait_all_tasks_blocked()
        await here.block(STALL)
        await here.go_on(9)
        assert not stuck.is_set()
        await here.go_on(1)
        assert stuck.is_set()
        nursery.cancel_scope.cancel()
