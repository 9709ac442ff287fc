"""Silent connections are closed to make room for new ones, if a user is at the limit of connections."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from protocol.agents import make_app
from protocol.wire import Client, greeted_in_memory, memory_client
from trio.testing import memory_stream_pair

from transport import connect

if TYPE_CHECKING:
    from trio.testing import MockClock


async def answer_pings(one: Client) -> None:
    """Answer every ping, until cancelled."""
    while True:
        await one.receive("ping")
        await one.send("pong")


@pytest.mark.parametrize("seconds", [2.0, 5.0])
async def test_silent_connection_gives_way(autojump_clock: MockClock, seconds: float) -> None:
    """If a user is at the connection limit and a new connection comes, the user's silent connection is pinged.

    If it does not answer within ``give_way_seconds``, it is closed with 4002 (heartbeat lost), and the new one is
    accepted.
    """
    app = make_app(max_connections_per_user=2, give_way_seconds=seconds)
    async with app.running(port=0) as server:
        async with (
            trio.open_nursery() as nursery,
            greeted_in_memory(server) as silent,
            greeted_in_memory(server) as loud,
        ):
            nursery.start_soon(answer_pings, loud)
            began = trio.current_time()
            async with greeted_in_memory(server) as new:
                assert trio.current_time() - began == pytest.approx(seconds)
                ended = await silent.ended()
                assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4002, True)
                assert [frame["type"] for frame in silent.frames[1:]] == ["ping", "goodbye"]
                await new.say("served")
                assert server.endpoint.statistics().gave_way == 1
            nursery.cancel_scope.cancel()


async def test_any_frame_counts_as_life(autojump_clock: MockClock) -> None:
    """If a user is at the connection limit and the old connection answers the ping with any frame, it stays open.

    The new connection is closed with 4504 (too many connections).
    """
    async with make_app(max_connections_per_user=1).running(port=0) as server:
        async with greeted_in_memory(server) as old, memory_client(server) as new:
            began = trio.current_time()
            await new.send("hello", session="s1")
            await trio.sleep(1.9)
            await old.send("typing", active=False)
            assert (await new.ended()).code == 4504
            assert trio.current_time() - began == pytest.approx(1.9)
            await old.say("still here")


async def test_tabs_that_change_network_all_come_back(autojump_clock: MockClock) -> None:
    """If twenty clients of a user lose their network and connect again, all are accepted despite the connection limit.

    Their twenty old connections, which are silent, are closed to make room.
    """
    tabs = 20
    app = make_app(max_connections_per_user=tabs + 12)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:

        async def open_stream(*_: object) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_stream_pair()
            nursery.start_soon(server.endpoint.serve, theirs)
            return ours

        async with AsyncExitStack() as stack:
            for number in range(tabs):
                await stack.enter_async_context(greeted_in_memory(server, f"s{number % 3}"))
            for number in range(tabs):
                connecting = connect("ws://memory/", session=f"s{number % 3}", open_stream=open_stream)
                await (await stack.enter_async_context(connecting)).send(f"from {number}")
            statistics = server.endpoint.statistics()
            assert (statistics.gave_way, statistics.refused) == (tabs, 0)


async def test_leaving_connection_takes_no_place(autojump_clock: MockClock) -> None:
    """If a new connection ends while it waits for an old one to be closed, the next new connection gets the room."""
    async with make_app(max_connections_per_user=1).running(port=0) as server:
        async with greeted_in_memory(server) as old:
            async with memory_client(server) as left:
                await left.send("hello", session="s1")
                await old.receive("ping")
            async with greeted_in_memory(server) as new:
                assert (await old.ended()).code == 4002
                await new.say("served")
