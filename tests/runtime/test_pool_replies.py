"""Replies of pools: forwarded asks, and replies in several parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World
from _runtime_relays import Relay

from actors import (
    AskTimeout,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("size", [1, 2])
async def test_forward_to_a_pool(size: int, autojump_clock: MockClock) -> None:
    """An ask can be forwarded to a pool. If its caller gives up, in a mailbox or before, it takes no room there."""
    del autojump_clock

    async def sleep(_: Member) -> None:
        await trio.sleep(5)

    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        workers = await system.spawn(pool(lambda: Member("w", world), size), name="workers", mailbox_size=1)
        relay = await system.spawn(Relay, "relay", world, workers)
        assert await relay.ask("hello") == "hello"
        for _ in range(size):
            await workers.tell(sleep)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await relay.ask("given up in a mailbox", timeout=1)
        assert workers.statistics().mailbox.depth == 0
        for _ in range(size):
            await workers.tell("in the only place")
        with pytest.raises(AskTimeout):
            await relay.ask("given up before it has room", timeout=1)
        now = workers.statistics().mailbox
        assert (now.depth, now.senders_waiting) == (size, 0)
        nursery.start_soon(relay.ask, "waits")
        await trio.testing.wait_all_tasks_blocked()
        assert workers.statistics().mailbox.senders_waiting == 1
        assert await workers.ask("last") == "last"
        assert sorted(map(str, world.received)) == sorted(["hello", "waits", "last", *["in the only place"] * size])


async def test_member_forwards_to_its_pool() -> None:
    """A member of a pool can pass an ask on to the pool: another member handles it."""

    async def pass_on(member: Member) -> object:
        return await member.context.forward(workers, name_of)

    async def name_of(member: Member) -> str:
        return member.ref.name

    async with open_system() as system:
        world = World()
        workers = await system.spawn(pool(lambda: Member("w", world), 2), name="workers")
        with trio.fail_after(60):
            assert {await workers.ask(pass_on) for _ in range(4)} <= {"1", "2"}


async def test_parts_from_a_pool() -> None:
    """A member of a pool can reply in parts."""

    async def stream(member: Member) -> None:
        with member.context.stream() as parts:
            for number in range(3):
                await parts.send(number)

    async with open_system() as system:
        workers = await system.spawn(pool(lambda: Member("w", World()), 2), name="workers")
        for _ in range(3):
            with workers.ask_stream(stream) as parts:
                assert [part async for part in parts] == [0, 1, 2]
