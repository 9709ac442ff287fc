"""The end of an actor system: its shutdown phases, the order of the stops, and failures during the end."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import ActorTerminated, Phase, Restart, RestartLimit, Shutdown, SpecError, open_system


async def test_phases_run_before_the_actors_stop() -> None:
    """The shutdown phases run in the given order, and the actors stop after the last phase."""
    journal: list[str] = []

    async def work(name: str) -> None:
        await trio.lowlevel.checkpoint()
        journal.append(name)

    world = World()
    async with open_system([Phase("accepting"), Phase("clients")]) as system:
        ref = await system.spawn(Member, "a", world)

        async def clients() -> None:
            await work("clients")
            assert ref.alive

        system.on_shutdown("clients", clients)
        system.on_shutdown("accepting", lambda: work("accepting"))
        system.on_shutdown("accepting", lambda: work("accepting"))
    assert journal == ["accepting", "accepting", "clients"]
    assert await ref.terminated() == Shutdown()


async def test_failed_or_slow_phase(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the work of a phase fails or takes too long, the phase's report says so, and the next phases still run."""

    async def fail() -> None:
        raise OSError("disk")

    done: list[str] = []

    async def finish() -> None:
        done.append("finish")

    async with open_system([Phase("a", 1), Phase("b", 2), Phase("c", 3)]) as system:
        ref = await system.spawn(Member, "a", World())
        system.on_shutdown("a", fail)
        system.on_shutdown("b", trio.sleep_forever)
        system.on_shutdown("b", finish)
        system.on_shutdown("c", finish)
        begin = autojump_clock.current_time()
        reports = await system.shutdown()
        assert trio.current_time() - begin == pytest.approx(2)
        assert [(report.name, len(report.failures), report.timed_out) for report in reports] == [
            ("a", 1, False),
            ("b", 0, True),
            ("c", 0, False),
        ]
        assert done == ["finish", "finish"]
        assert not ref.alive
        with pytest.raises(ActorTerminated):
            await system.spawn(Member, "b", World())
        assert await system.shutdown() is reports


async def test_phases_are_checked() -> None:
    """Shutdown phases with duplicate names, unknown names or bad times raise SpecError."""
    with pytest.raises(SpecError, match="twice"):
        async with open_system([Phase("a"), Phase("a")]):
            pass
    async with open_system([Phase("a")]) as system:
        with pytest.raises(SpecError, match="no phase 'b'"):
            system.on_shutdown("b", trio.lowlevel.checkpoint)
    for seconds in (-1, math.nan, "1"):
        with pytest.raises(SpecError, match="seconds of the phase 'a'"):
            Phase("a", seconds)  # type: ignore[arg-type]  # the test passes a wrong value


async def test_actors_stop_youngest_first() -> None:
    """Top-level actors stop in the reverse order of their start."""
    world = World()
    async with open_system() as system:
        for name in "abc":
            await system.spawn(Member, name, world)
        world.take()
    assert world.take() == [("stop", "c"), ("stop", "b"), ("stop", "a")]


async def test_failing_block_stops_the_actors() -> None:
    """If the code in an ``open_system`` block raises, the actors stop, and the block raises the same error."""
    world = World()

    async def fail() -> None:
        async with open_system() as system:
            await system.spawn(Member, "a", world)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()
    assert world.take() == [("start", "a"), ("stop", "a")]


async def test_cancelled_block_ends_actors_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """If the ``open_system`` block is cancelled, all actors end at once, and no ``stopping()`` runs to its end."""
    world = World()
    begin = autojump_clock.current_time()
    with trio.move_on_after(1) as scope:
        async with open_system() as system:
            world.on_stop["a"] = hang
            await system.spawn(Member, "a", world)
            await system.spawn(Member, "b", world)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - begin == pytest.approx(1)
    assert world.take() == [("start", "a"), ("start", "b")]


async def test_cancelled_shutdown_finishes_with_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a call of ``shutdown`` is cancelled, the actors do not stop yet.

    The end of the ``open_system`` block runs the remaining phases and stops the actors.
    """
    world = World()
    done: list[str] = []

    async def finish() -> None:
        done.append("b")

    async with open_system([Phase("a", 100), Phase("b")]) as system:
        ref = await system.spawn(Member, "a", world)
        system.on_shutdown("a", trio.sleep_forever)
        system.on_shutdown("b", finish)
        with trio.move_on_after(1) as scope:
            await system.shutdown()
        assert scope.cancelled_caught
        assert ref.alive
        assert system.tree().state == "stopping"
        assert done == []
        begin = autojump_clock.current_time()
    assert done == ["b"]
    assert [(report.name, report.timed_out) for report in await system.shutdown()] == [("a", True), ("b", False)]
    assert await ref.terminated() == Shutdown()
    assert trio.current_time() == pytest.approx(begin)


async def test_shielded_phase_work_after_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Shielded work of a shutdown phase is cancelled one second after the deadline of the phase."""

    async def sleep_shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async with open_system([Phase("a", 2)]) as system:
        system.on_shutdown("a", sleep_shielded)
        begin = autojump_clock.current_time()
        (report,) = await system.shutdown()
        assert report.timed_out
        assert trio.current_time() - begin == pytest.approx(3)


async def test_root_that_gives_up_stops_actors_in_order() -> None:
    """If a top-level actor exceeds the restart limit, all actors stop, the last started first.

    Then the ``open_system`` block raises RestartLimit.
    """
    world = World()

    async def give_up() -> None:
        async with open_system() as system:
            for name in "abc":
                await system.spawn(Member, name, world, restart=Restart.PERMANENT)
            ref = await system.spawn(Member, "d", world, restart=Restart.PERMANENT)
            world.fail_start("d", 1000)
            world.take()
            await ref.tell(ValueError("crash"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimit, match="/ gave up"):
        await give_up()
    assert world.take() == [("stop", name) for name in "dcba"]
