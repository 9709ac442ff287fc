"""Deadlines of asks, at every depth, and asks of many actors at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World
from _runtime_relays import forward, two

from actors import (
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    Reply,
    Restart,
    SpecError,
    gather,
    open_system,
)

if TYPE_CHECKING:
    from _runtime_relays import Work
    from trio.testing import MockClock


# Deadlines


async def test_deadline_travels_with_an_ask(autojump_clock: MockClock) -> None:
    """``context.deadline`` is the time at which the caller gives up, over asks inside handlers and forwards too."""
    del autojump_clock

    async def remaining(member: Member) -> float:
        return member.context.deadline - trio.current_time()

    async def ask_on(member: Member) -> object:
        await trio.sleep(1)
        return await target.ask(remaining)

    async def ask_from_a_nursery(member: Member) -> object:
        await trio.sleep(1)
        return await gather([(target, remaining)], timeout=100)

    async with open_system() as system:
        relay, target = await two(system)
        assert await target.ask(remaining, timeout=5) == 5
        assert await target.ask(remaining) == math.inf
        with trio.move_on_after(3):
            assert await target.ask(remaining, timeout=5) == 3
            assert await target.ask(remaining) == 3
        assert await relay.ask(ask_on, timeout=5) == 4
        assert await relay.ask(ask_from_a_nursery, timeout=5) == [4]
        assert await relay.ask(ask_on) == math.inf
        assert await relay.ask(forward(target, remaining), timeout=5) == 5


async def test_deadline_of_other_work(autojump_clock: MockClock) -> None:
    """A tell has no deadline. A Reply has that of its ask. A task of the nursery has nothing of the current message."""
    del autojump_clock
    seen: list[float] = []

    async def note(member: Member) -> None:
        seen.append(member.context.deadline)

    async def defer(member: Member) -> None:
        reply: Reply[str] = member.context.defer()

        async def work() -> None:
            await trio.sleep(1)
            seen.append(reply.deadline - trio.current_time())
            seen.append(await target.ask(tell_deadline) - trio.current_time())  # type: ignore[operator]  # a time
            reply.send("done")

        member.nursery.start_soon(work)

    async def tell_deadline(member: Member) -> float:
        return member.context.deadline

    async with open_system() as system:
        relay, target = await two(system)
        await target.tell(note)
        assert await relay.ask(defer, timeout=5) == "done"
        assert seen == [math.inf, 4, math.inf]


async def test_ask_inside_a_handler_ends_at_the_outer_deadline(autojump_clock: MockClock) -> None:
    """An ask without a timeout that is made while an ask is handled ends with that ask, at every depth."""
    del autojump_clock
    ended: list[float] = []

    async def work(_: Member) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - start)

    async def ask_on(_: Member) -> object:
        return await target.ask(work, timeout=100)

    async with open_system() as system:
        relay, target = await two(system)
        start = trio.current_time()
        with pytest.raises(AskTimeout):
            await relay.ask(ask_on, timeout=2)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [2]


# Many asks


async def test_gather_returns_replies_in_order(autojump_clock: MockClock) -> None:
    """``gather`` asks all actors at the same time, and returns the replies in the order of the asks."""
    del autojump_clock

    def reply_after(seconds: float) -> Work:
        async def work(_: Member) -> float:
            await trio.sleep(seconds)
            return seconds

        return work

    async with open_system() as system:
        refs = [await system.spawn(Member, "a", World()) for _ in range(3)]
        start = trio.current_time()
        assert await gather([(ref, reply_after(3 - n)) for n, ref in enumerate(refs)], timeout=3.5) == [3, 2, 1]
        assert trio.current_time() - start == 3
        assert await gather([]) == []


async def test_gather_gives_up_the_others(autojump_clock: MockClock) -> None:
    """The first failure ends a ``gather``, and so does its timeout: the work for the other asks is cancelled."""
    del autojump_clock
    ended: list[float] = []

    async def work(_: Member) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - start)

    async def fail(_: Member) -> None:
        await trio.sleep(1)
        raise LookupError("no good")

    async with open_system() as system:
        a, b = [await system.spawn(Member, n, World(), name=n, restart=Restart.PERMANENT) for n in "ab"]
        start = trio.current_time()
        with pytest.raises(ActorRestarted, match="/b"):
            await gather([(a, work), (b, fail)], timeout=5)
        with pytest.raises(AskTimeout, match="no reply within 5 s from /a"):
            await gather([(a, work), (b, "quick")], timeout=5)
        await b.stop()
        with pytest.raises(ActorTerminated, match="/b"):
            await gather([(a, work), (b, "gone")])
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [1, 6]  # the last was given up before it began
        assert await a.ask("next") == "next"


async def test_gather_checks_its_arguments() -> None:
    """A ``gather`` that would wait for itself, or with a wrong argument, raises before it sends anything."""

    async def ask_itself(member: Member) -> None:
        with pytest.raises(RuntimeError, match="asks itself"):
            await gather([(other, "not sent"), (member.ref, "x")])

    async with open_system() as system:
        ref, other = [await system.spawn(Member, "a", World()) for _ in range(2)]
        assert await ref.ask(ask_itself) is None
        with pytest.raises(SpecError, match="timeout"):
            await gather([(other, "not sent")], timeout=-1)
        with pytest.raises(SpecError, match="ActorRef"):
            await gather([(other, "not sent"), ("no ref", "x")])  # type: ignore[arg-type]  # the test
        assert other.statistics().mailbox.accepted == 0
