"""Stalls: if sync code has blocked the event loop, the time of the block does not count against clients."""

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
"""Duration of a stall in seconds. It is longer than every time limit of the server."""


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
    """Run a server that takes ``World.wall`` as the system's time."""
    here = World(clock)
    async with make_app(auth=auth, **settings).running(port=0) as here.server:
        here.time = loop_time()
        here.time._wall = lambda: here.wall  # noqa: SLF001 - the system's clock, as this test moves it
        here.time.tick()
        yield here


async def test_hello_during_stall_is_in_time(mock_clock: MockClock) -> None:
    """If a client sent its hello while the event loop was blocked, the hello counts as sent in time."""
    async with world(mock_clock) as here, memory_client(here.server) as one:
        await trio.testing.wait_all_tasks_blocked()
        await here.go_on(9)
        await here.block(STALL)
        await one.hello()


async def test_upgrade_time_does_not_count_a_stall(mock_clock: MockClock) -> None:
    """The time for which the event loop was blocked does not count towards the time limit of an upgrade request."""
    async with world(mock_clock) as here, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(here.server.endpoint.serve, theirs)
        await trio.testing.wait_all_tasks_blocked()
        await here.block(STALL)
        assert here.server.endpoint.statistics().connections == 1
        await here.go_on(5)
        assert not await ours.receive_some()


async def test_auth_during_stall_is_in_time(mock_clock: MockClock) -> None:
    """If an auth function could not return in time because the event loop was blocked, its answer is still accepted."""
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
    """After the event loop was blocked, a silent client is first pinged. It has the full time for its answer.

    If it does not answer, it is closed.
    """
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
    """Many short stalls of the event loop close no client, even if they are together longer than a time limit."""
    async with world(mock_clock) as here, greeted_in_memory(here.server) as one:
        for _ in range(20):
            await here.block(3)
            here.time.tick()
        await one.say("still here")


async def test_commands_during_stall_are_no_flood(mock_clock: MockClock) -> None:
    """After a stall of the event loop, commands that clients sent meanwhile are accepted at once.

    The server accepts as many as the rate limit allows for the time of the stall.
    """
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
    """A user stays shown as typing while the event loop is blocked, since no client can renew it then.

    The typing ends 5 seconds after the event loop runs again.
    """
    async with world(mock_clock) as here, greeted_in_memory(here.server) as one:
        await one.send("typing", active=True)
        assert (await one.receive("signal"))["data"]["active"] is True
        await here.block(STALL)
        async with greeted_in_memory(here.server) as two:
            assert len(two.welcome["typing"]) == 1
        await here.go_on(5)
        assert (await one.receive("signal"))["data"]["active"] is False


async def test_no_connection_gives_way_by_stall(mock_clock: MockClock) -> None:
    """If the event loop was blocked, so that the server could not read a client's answer to a ping, the client stays.

    It is not closed to make room for a new connection.
    """
    async with world(mock_clock, max_connections_per_user=1) as here:
        async with greeted_in_memory(here.server) as old, memory_client(here.server) as new:
            await new.send("hello", session="s1")
            await old.receive("ping")
            await here.block(STALL)
            await old.send("pong")
            assert (await new.ended()).code == 4504


async def test_token_expires_during_stall(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a client's token expires while the event loop is blocked, its connection is closed with 4004.

    A stall does not extend the life of a token.
    """
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
    """A client counts as stuck if it reads nothing for ``slow_seconds``.

    Time with a blocked event loop does not count.
    """
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
