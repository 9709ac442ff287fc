"""Timers of an actor: their period, at most one waiting message for each timer, and fairness to the mailbox."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World
from hypothesis import given
from hypothesis import strategies as st

from actors import Shutdown, open_system
from actors.runtime._timers import next_beat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Slow(Member):
    """A test actor that needs 1.1 seconds for every message "tick"."""

    async def receive(self, message: object) -> object:
        if message == "tick":
            await trio.sleep(1.1)
        return await super().receive(message)


def set_timers(seconds: float, *keys: str) -> Callable[[Member], Awaitable[object]]:
    """Return a message that makes the actor set one timer with this period for each key."""

    async def message(member: Member) -> None:
        for key in keys:
            member.context.timers.every(key, "tick", seconds)

    return message


async def sleep_50_seconds(_: Member) -> None:
    await trio.sleep(50.5)


async def test_slow_timers_let_messages_through(autojump_clock: trio.testing.MockClock) -> None:
    """Even if many timers are due, a message from the mailbox is handled after each timer message."""
    del autojump_clock
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Slow, "a", world)
        await ref.tell(set_timers(1.0, "a", "b", "c"))
        await trio.sleep(10)
        world.received.clear()
        for number in range(5):
            ref.tell_nowait(number)
        await ref.ask("last", timeout=100)
        assert world.received[0] == "tick"  # the message that is being handled
        assert world.received[1::2] == [0, 1, 2, 3, 4, "last"]
        assert world.received[::2] == ["tick"] * 6
        ref.kill()


async def test_zero_second_timers_let_messages_through(autojump_clock: trio.testing.MockClock) -> None:
    """If timers set themselves again with 0 seconds, the mailbox and other tasks still get their turn."""
    del autojump_clock

    async def again(member: Member) -> None:
        member.context.timers.once(again, again, 0)
        member.context.timers.once("other", again, 0)

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.tell(again)
        for number in range(20):
            assert await ref.ask(number) == number
        ref.kill()


async def test_abandoned_ask_takes_no_turn_from_timers(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of an ask has given up, the actor skips the ask without a delay for timers that are due."""
    del autojump_clock
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)
        await ref.tell(set_timers(1.0, "a", "b"))
        await ref.tell(sleep_50_seconds)
        with trio.move_on_after(1):
            await ref.ask("given up")
        await trio.sleep(49.7)
        assert world.received == ["tick", "tick"]


async def test_late_ticks_are_merged(autojump_clock: trio.testing.MockClock) -> None:
    """If several ticks of a timer are missed during a long handler, the actor gets only one tick for all of them.

    The next tick comes at its usual time.
    """
    del autojump_clock
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)
        await ref.tell(set_timers(1.0, "a"))
        await ref.tell(sleep_50_seconds)
        await trio.sleep(50.7)
        assert world.received == ["tick"]
        await trio.sleep(1)
        assert world.received == ["tick", "tick"]


async def test_clock_jump_gives_one_tick(mock_clock: trio.testing.MockClock) -> None:
    """If the clock jumps over many periods of a timer, the actor gets only one tick for them."""
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)
        await ref.ask(set_timers(1.0, "a"))
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1000.5)
        await trio.testing.wait_all_tasks_blocked()
        assert world.received == ["tick"]
        mock_clock.jump(0.5)
        await trio.testing.wait_all_tasks_blocked()
        assert world.received == ["tick", "tick"]


@given(st.floats(0, 1e9), st.floats(0, 1e9, exclude_min=True), st.floats(0, 1e9))
def test_next_beat(due: float, period: float, late: float) -> None:
    """The next tick of a timer is never in the past, and at most one period away.

    An infinite period has no next tick.
    """
    now = due + late
    beat = next_beat(due, period, now)
    assert beat >= now
    assert beat <= max(now, due) + period
    assert next_beat(due, math.inf, now) == math.inf


async def test_infinite_timer(autojump_clock: trio.testing.MockClock) -> None:
    """A timer with ``math.inf`` seconds never fires. It can be replaced by another timer of the same key."""
    del autojump_clock
    world = World()

    async def forever(member: Member) -> None:
        member.context.timers.once("a", "never", math.inf)
        member.context.timers.every("b", "never", math.inf)

    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)
        await ref.ask(forever)
        await trio.sleep(80_000)
        assert ref.statistics().timers == 2
        await ref.ask(set_timers(1.0, "a"))
        await trio.sleep(1.5)
        assert world.received == ["tick"]


async def test_no_timers_in_stopping() -> None:
    """If an actor sets a timer in its ``stopping()``, it gets a RuntimeError."""
    world = World()

    async def late(member: Member) -> None:
        with pytest.raises(RuntimeError, match="sets no timers"):
            member.context.timers.once("a", "late", 1)

    world.on_stop["a"] = late
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)
        assert await ref.stop() == Shutdown()
