"""Calls and failures that reach one child of a supervisor at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, stop_itself

from actors import (
    ActorTerminated,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    ExitReason,
    Restart,
    Shutdown,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_subtree_halted_during_start_runs_once(autojump_clock: MockClock) -> None:
    """If a group is restarted again while a supervisor in it starts, no child of that supervisor runs twice."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        sub = SupervisorSpec(children=[world.member("worker"), world.member("slow")])
        spec = SupervisorSpec(Strategy.ONE_FOR_ALL, [world.member("a"), ChildSpec("sub", sub)])
        top = await system.supervise(spec, "top")

        async def wait(_: Member) -> None:
            await trio.sleep(10)

        world.on_start["slow"] = wait
        await crash(child(top, "a"))
        await crash(child(top, "a"))
        await trio.sleep(60)
        assert world.starts["worker"] - world.take().count(("stop", "worker")) == 1
        assert system.statistics().actors == 5


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_group_restart_does_not_undo_a_stop(
    strategy: Strategy, *, drain: bool, autojump_clock: MockClock
) -> None:
    """If a member of a group is being stopped when the group restarts, it stops and is not started again.

    If the stop is a draining one, the member still handles the messages in its mailbox.
    """
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(strategy, [world.member("a"), world.member("b")]))
        b = child(top, "b")

        async def work(_: Member) -> None:
            await trio.sleep(2)

        await b.tell(work)
        await b.tell("last")
        await trio.testing.wait_all_tasks_blocked()
        reasons: list[ExitReason] = []

        async def stop() -> None:
            reasons.append(await b.stop(drain=drain, timeout=60))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await trio.sleep(1)
            await crash(child(top, "a"))
        assert reasons == [Shutdown()]
        assert not b.alive
        assert ("last" in world.received) == drain
        assert autojump_clock.current_time() == pytest.approx(2)


async def test_deleting_a_starting_child_is_refused() -> None:
    """While ``restart_child`` starts a child, ``delete_child`` for this child raises ChildRunning."""
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(children=[world.member("a")]))
        for _ in range(200):  # only some of the calls let others run before the start
            await top.terminate_child("a")
            outcomes: list[object] = []

            async def restart(outcomes: list[object] = outcomes) -> None:
                outcomes.append(await top.restart_child("a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(restart)
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                with pytest.raises(ChildRunning):
                    top.delete_child("a")
            assert outcomes == [top.child("a")]


async def test_child_terminated_during_start_has_no_entry(autojump_clock: MockClock) -> None:
    """If a child is terminated during its start, ``start_child`` raises an error and the child has no entry."""
    assert autojump_clock.autojump_threshold == 0
    for _ in range(20):
        async with open_system() as system:
            world = World()
            world.on_start["a"] = hang
            top = await system.supervise(SupervisorSpec())

            async def start(top: SupervisorRef = top, world: World = world) -> None:
                with pytest.raises(ActorTerminated):
                    await top.start_child(world.member("a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                await trio.testing.wait_all_tasks_blocked()
                await top.terminate_child("a")
                with pytest.raises(ChildNotFound):
                    await top.restart_child("a")
            assert (top.children(), system.statistics().actors) == ((), 1)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_simultaneous_failures_count_once(strategy: Strategy) -> None:
    """If members of a group fail in the same turn of the scheduler, this counts as one restart for the limit."""
    async with open_system() as system:
        world = World()
        down = trio.Event()

        async def listen(member: Member) -> None:
            async def fail() -> None:
                await down.wait()
                raise OSError(f"{member.name} lost its connection")

            if world.starts[member.name] == 1:
                member.nursery.start_soon(fail)

        for name in "abcde":
            world.on_start[name] = listen
        spec = SupervisorSpec(strategy, [world.member(name) for name in "abcde"], max_restarts=1)
        top = await system.supervise(spec)
        down.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [info.state for info in top.children()] == ["running"] * 5
        assert top.statistics().children_restarted == 1


@pytest.mark.parametrize("turns", range(9))
async def test_member_halted_before_it_begins(turns: int) -> None:
    """If an earlier member of a group fails just when a later member is restarted, all members run again in the end."""

    async def fail_later(_: Member) -> None:
        for _turn in range(turns):
            await trio.lowlevel.checkpoint()
        raise ValueError("a little later")

    for _ in range(12):
        async with open_system() as system:
            world = World()
            spec = SupervisorSpec(Strategy.REST_FOR_ONE, [world.member(name) for name in "abc"])
            top = await system.supervise(spec)
            await trio.testing.wait_all_tasks_blocked()
            child(top, "a").tell_nowait(fail_later)
            child(top, "b").tell_nowait(ValueError("first"))
            await trio.testing.wait_all_tasks_blocked()
            assert [info.state for info in top.children()] == ["running"] * 3


async def test_failed_start_of_a_significant_child(autojump_clock: MockClock) -> None:
    """If the start of a significant child fails or is not finished, its supervisor does not shut down automatically."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(children=[world.member("good")], auto_shutdown="any"))
        world.fail_start("bad", 1)
        with pytest.raises(OSError, match="bad cannot start"):
            await top.start_child(world.member("bad", Restart.TEMPORARY, significant=True))
        await trio.testing.wait_all_tasks_blocked()
        assert top.alive

        async def wait(_: Member) -> None:
            await trio.sleep(1)

        world.on_start.update(brief=stop_itself, slow=wait)
        members = [world.member(name, Restart.TRANSIENT, significant=True) for name in ("brief", "slow")]
        both = await system.supervise(SupervisorSpec(children=members, auto_shutdown="all"))
        await trio.sleep(5)
        assert both.alive
        await child(both, "slow").tell("normal")
        assert await both.terminated() == Shutdown()
