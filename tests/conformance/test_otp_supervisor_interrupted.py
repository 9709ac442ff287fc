"""Group restarts that another failure, a stop or a new child interrupts, after OTP's tests of ``supervisor``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang_shielded

from actors import (
    Backoff,
    Killed,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def test_stopping_supervisor_starts_no_member(autojump_clock: MockClock) -> None:
    """While a supervisor stops, it starts no member of a group, not even when the delay of a restart is over."""

    async def slow(_: Member) -> None:
        await trio.sleep(5)

    async with open_system() as system:
        world = World()
        world.on_stop["a"] = slow
        children = [world.member("a", shutdown=10), world.member("b"), world.member("c")]
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=children, backoff=Backoff(1, 1))
        supervisor = await system.supervise(spec)
        await crash(child(supervisor, "b"))
        await supervisor.stop()
        assert world.starts == {"a": 1, "b": 1, "c": 1}
        assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_failed_member_interrupts_a_later_start(strategy: Strategy) -> None:
    """If a member fails while a later member starts, the start is interrupted, and the group is restarted.

    Without the interruption, a later member that waits for the failed member could wait for ever.
    """
    # The later member may wait for the failed one. A supervisor that waited for its start would wait for ever.
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(strategy, [world.member(name) for name in "abc"]))
        b = child(supervisor, "b")

        async def ask_the_earlier_one(_: Member) -> None:
            if world.starts["c"] == 2:
                await b.tell(ValueError("again"))
                await b.ask("are you there")

        world.on_start["c"] = ask_the_earlier_one
        await crash(b)
        assert [info.state for info in supervisor.children()] == ["running"] * 3
        assert world.starts == {"a": 3 if strategy is Strategy.ONE_FOR_ALL else 1, "b": 3, "c": 3}
        assert supervisor.statistics().children_restarted == 2


async def test_earlier_member_fails_during_the_halt(
    autojump_clock: MockClock,
) -> None:
    """If b fails, b and c are stopped. If a, which is before b, fails meanwhile, a is restarted too.

    So all three members are stopped and started again, in the order a, b, c.
    """
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec("rest_for_one", [world.member(name) for name in "abc"]))
        world.on_stop["c"] = sleep_for(3)
        world.take()
        await crash(child(supervisor, "b"))
        await crash(child(supervisor, "a"))
        await trio.sleep(10)
        stops = [("stop", "b"), ("stop", "a"), ("stop", "c")]
        assert world.take() == [*stops, ("start", "a"), ("start", "b"), ("start", "c")]
        assert supervisor.statistics().children_restarted == 2
        assert autojump_clock.autojump_threshold == 0


async def test_member_failing_during_the_halt_counts_once(autojump_clock: MockClock) -> None:
    """If a member fails while its group is being stopped for a restart, this does not count as another failure."""
    async with open_system() as system:
        world = World()
        children = [world.member(name) for name in "abc"]
        supervisor = await system.supervise(SupervisorSpec("one_for_all", children, max_restarts=1))
        world.on_stop["c"] = sleep_for(3)
        await crash(child(supervisor, "b"))
        await crash(child(supervisor, "a"))
        await trio.sleep(10)
        assert world.starts == {"a": 2, "b": 2, "c": 2}
        assert supervisor.statistics().children_restarted == 1
        assert autojump_clock.autojump_threshold == 0


async def test_earlier_member_fails_during_the_backoff(autojump_clock: MockClock) -> None:
    """If b fails, b and c wait for their restart. If a, which is before b, fails meanwhile, a is restarted too.

    So all three members are started again, in the order a, b, c.
    """
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec("rest_for_one", [world.member(name) for name in "abc"], backoff=Backoff(4, 9))
        supervisor = await system.supervise(spec)
        world.take()
        begin = autojump_clock.current_time()
        await crash(child(supervisor, "b"))
        await trio.sleep(1)
        await crash(child(supervisor, "a"))
        await child(supervisor, "c").ask("up")
        assert trio.current_time() - begin == pytest.approx(5)
        assert [name for event, name in world.take() if event == "start"] == ["a", "b", "c"]


async def test_added_child_fails_during_a_group_restart() -> None:
    """If a child is added during a group restart and fails at once, all members of the group still start."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec("rest_for_one", [world.member(name) for name in "abc"]))
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        world.on_start["b"] = wait
        await crash(child(supervisor, "b"))
        await crash(await supervisor.start_child(world.member("d")))
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [info.state for info in supervisor.children()] == ["running"] * 4
        assert world.starts == {"a": 1, "b": 2, "c": 2, "d": 2}


async def test_group_backoff_grows(autojump_clock: MockClock) -> None:
    """If a member fails to start again and again, its group waits longer before each new restart."""
    async with open_system() as system:
        world = World()
        children = [world.member("a"), world.member("b")]
        spec = SupervisorSpec("one_for_all", children, backoff=Backoff(1, 30), max_restarts=9, max_seconds=100)
        supervisor = await system.supervise(spec)
        world.fail_start("b", 2)
        begin = autojump_clock.current_time()
        await crash(child(supervisor, "b"))
        await child(supervisor, "b").ask("up")
        assert trio.current_time() - begin == pytest.approx(1 + 2 + 4)


@pytest.mark.parametrize("name", ["b", "c"])
async def test_shielded_member_in_a_group_restart(name: str, autojump_clock: MockClock) -> None:
    """If a shielded member hangs during a group restart, it is ended one second after its ``shutdown`` time."""
    async with open_system() as system:
        world = World()
        children = [world.member(name, shutdown=2) for name in "abc"]
        supervisor = await system.supervise(SupervisorSpec("one_for_all", children))
        world.on_stop[name] = hang_shielded
        begin = autojump_clock.current_time()
        again = second_start(world, "c")
        await child(supervisor, "b").tell(ValueError("crash"))
        await again.wait()
        assert trio.current_time() - begin == pytest.approx(3)
        assert world.starts == {"a": 2, "b": 2, "c": 2}
        world.on_stop.clear()


async def test_supervisor_answers_while_a_member_stops(autojump_clock: MockClock) -> None:
    """A supervisor still answers calls while it waits for a member with an infinite ``shutdown`` to stop."""
    async with open_system() as system:
        world = World()
        children = [world.member(name, shutdown=math.inf) for name in "abc"]
        supervisor = await system.supervise(SupervisorSpec("one_for_all", children))
        world.on_stop["c"] = hang_shielded
        await child(supervisor, "b").tell(ValueError("crash"))
        await trio.sleep(1000)
        assert [info.state for info in supervisor.children()] == ["running", "restarting", "stopping"]
        added = await supervisor.start_child(world.member("d"))
        assert await added.ask("up") == "up"
        await supervisor.terminate_child("d")
        supervisor.delete_child("d")
        assert (supervisor.counts().active, supervisor.counts().restarting) == (2, 1)
        await supervisor.terminate_child("b")
        begin = autojump_clock.current_time()
        assert await supervisor.stop(timeout=1) == Killed()
        assert trio.current_time() - begin == pytest.approx(1)
        assert system.statistics().actors == 0


async def test_failed_child_that_hangs_shielded(
    autojump_clock: MockClock,
) -> None:
    """If a failed child hangs in a shielded ``stopping()``, it is ended one second after its ``shutdown`` time."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", shutdown=2)]))
        world.on_stop["a"] = hang_shielded
        begin = autojump_clock.current_time()
        again = second_start(world, "a")
        await child(supervisor, "a").tell(ValueError("crash"))
        await again.wait()
        assert trio.current_time() - begin == pytest.approx(3)
        world.on_stop.clear()


def sleep_for(seconds: float) -> Callable[[Member], Awaitable[None]]:
    """Return code for a member that sleeps for this time."""

    async def slow(_: Member) -> None:
        await trio.sleep(seconds)

    return slow


def second_start(world: World, name: str) -> trio.Event:
    """Return an event that is set when the member starts for the second time."""
    event = trio.Event()

    async def note(_: Member) -> None:
        if world.starts[name] == 2:
            event.set()

    world.on_start[name] = note
    return event


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_restarted_member_fails_at_once(strategy: Strategy) -> None:
    """If a member fails right after ``restart_child`` has started it, the supervisor restarts it."""

    async def fail_at_once(member: Member) -> None:
        if world.starts["a"] % 2 == 0:
            member.ref.tell_nowait(ValueError("at once"))

    async with open_system() as system:
        world = World()
        world.on_start["a"] = fail_at_once
        supervisor = await system.supervise(SupervisorSpec(strategy, [world.member("a")], max_restarts=100), "top")
        for _ in range(20):  # the tasks that wait for the same event run in a random order
            await supervisor.terminate_child("a")
            await supervisor.restart_child("a")
            await trio.testing.wait_all_tasks_blocked()
            assert [info.state for info in supervisor.children()] == ["running"]
