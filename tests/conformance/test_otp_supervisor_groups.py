"""The strategies ONE_FOR_ALL and REST_FOR_ONE, which restart groups of children, after OTP's ``supervisor_SUITE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, supervise_below_another

from actors import (
    Backoff,
    Failure,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

PERMANENT, TRANSIENT, TEMPORARY = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_temporary_member_is_not_restarted(strategy: Strategy) -> None:
    """A temporary child stops when its group restarts, and is not started again."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=strategy, children=[world.member("a"), world.member("t", TEMPORARY)])
        supervisor = await system.supervise(spec)
        bystander = child(supervisor, "t")
        await crash(child(supervisor, "a"))
        assert await bystander.terminated() == Shutdown()
        assert world.starts == {"a": 2, "t": 1}
        assert [info.id for info in supervisor.children()] == ["a"]


@pytest.mark.parametrize("strategy", list(Strategy)[:3])
async def test_failed_temporary_child_restarts_no_other(strategy: Strategy) -> None:
    """A temporary child that fails is removed, and no other child is restarted."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(
            strategy=strategy, children=[world.member("t", TEMPORARY), world.member("a")], max_restarts=0
        )
        supervisor = await system.supervise(spec)
        await crash(child(supervisor, "t"))
        assert world.starts == {"t": 1, "a": 1}
        assert supervisor.alive


async def test_one_for_all_order() -> None:
    """After a failure, ONE_FOR_ALL stops all members from last to first, and starts them from first to last.

    The members keep their refs.
    """
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member(name) for name in "abc"])
        supervisor = await system.supervise(spec)
        refs = [child(supervisor, name) for name in "abc"]
        world.take()
        await crash(refs[1])
        expected = [("stop", "b"), ("stop", "c"), ("stop", "a"), ("start", "a"), ("start", "b"), ("start", "c")]
        assert world.take() == expected
        assert [child(supervisor, name) for name in "abc"] == refs
        assert [await ref.ask("up") for ref in refs] == ["up"] * 3


async def test_rest_for_one_order() -> None:
    """After a failure, REST_FOR_ONE restarts the failed child and the children that were started after it."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=[world.member(name) for name in "abc"])
        supervisor = await system.supervise(spec)
        world.take()
        await crash(child(supervisor, "b"))
        assert world.take() == [("stop", "b"), ("stop", "c"), ("start", "b"), ("start", "c")]
        await crash(child(supervisor, "c"))
        assert world.take() == [("stop", "c"), ("start", "c")]


async def test_one_for_all_retries_a_failed_start() -> None:
    """If a member fails to start in a ONE_FOR_ALL restart, the whole group is restarted again."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member(name) for name in "abc"])
        supervisor = await system.supervise(spec)
        world.fail_start("b", 1)
        world.take()
        await crash(child(supervisor, "c"))
        started = [name for event, name in world.take() if event == "start"]
        assert started == ["a", "a", "b", "c"]
        assert supervisor.statistics().children_restarted == 2
        assert supervisor.counts().active == 3


async def test_rest_for_one_retries_a_failed_start() -> None:
    """If a member fails to start in a REST_FOR_ONE restart, that member and the later ones are restarted again."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=[world.member(name) for name in "abcd"])
        supervisor = await system.supervise(spec)
        world.fail_start("c", 1)
        world.take()
        await crash(child(supervisor, "b"))
        started = [name for event, name in world.take() if event == "start"]
        assert started == ["b", "c", "d"]
        assert world.starts == {"a": 1, "b": 2, "c": 3, "d": 2}


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_group_that_keeps_failing_gives_up(strategy: Strategy) -> None:
    """If the members of a group fail to start too often, the supervisor fails with RestartLimit.

    The cause of the RestartLimit is the last error.
    """
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=strategy, children=[world.member("a"), world.member("b")], max_restarts=3)
        supervisor = await supervise_below_another(system, spec)
        world.fail_start("b", 1000)
        await child(supervisor, "a").tell(ValueError("first"))
        reason = await supervisor.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert isinstance(reason.exception.__cause__, OSError)
        assert world.starts["b"] == 1 + 3
        assert system.statistics().actors == 1


async def test_failure_during_a_group_start() -> None:
    """If a restarted member fails while the next member of its group starts, the group is restarted again."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=[world.member("a"), world.member("b")])
        supervisor = await system.supervise(spec)
        first = child(supervisor, "a")

        async def crash_the_other(_: Member) -> None:
            del world.on_start["b"]
            await first.tell(OSError("again"))
            await trio.testing.wait_all_tasks_blocked()

        world.on_start["b"] = crash_the_other
        await crash(first)
        await trio.testing.wait_all_tasks_blocked()
        assert world.starts == {"a": 3, "b": 3}
        assert supervisor.counts().active == 2


async def test_group_restart_starts_ended_members() -> None:
    """A group restart also starts transient members that had ended normally before the failure."""
    async with open_system() as system:
        world = World()
        children = [world.member("a"), world.member("b", TRANSIENT)]
        supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=children))
        await child(supervisor, "b").ask("normal")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.counts().active == 1
        await crash(child(supervisor, "a"))
        assert supervisor.counts().active == 2


async def test_group_restart_ignores_a_starting_child() -> None:
    """While ``start_child`` starts a child, a group restart neither stops nor restarts this child."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        world.on_start["added"] = wait
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member("a"), world.member("b")])
        supervisor = await system.supervise(spec)
        nursery.start_soon(supervisor.start_child, world.member("added"))
        await trio.testing.wait_all_tasks_blocked()
        await crash(child(supervisor, "a"))
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert world.starts == {"a": 2, "b": 2, "added": 1}
        assert supervisor.counts().active == 3


async def test_member_terminated_during_a_group_start() -> None:
    """If a member is terminated while its group starts, this does not count as a failed restart for the limit."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member(name) for name in "abc"])
        supervisor = await system.supervise(spec)
        world.on_start["b"] = hang
        await crash(child(supervisor, "a"))
        await supervisor.terminate_child("b")
        await trio.testing.wait_all_tasks_blocked()
        assert [info.state for info in supervisor.children()] == ["running", "terminated", "running"]
        assert supervisor.statistics().children_restarted == 1


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_member_terminated_during_the_backoff(strategy: Strategy, autojump_clock: MockClock) -> None:
    """If a member is terminated while its group waits to be restarted, this restart does not start the member.

    After a later failure in the group, the next restart of the group starts it.
    """
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(strategy, [world.member(name) for name in "abc"], backoff=Backoff(5, 5))
        supervisor = await system.supervise(spec)
        await crash(child(supervisor, "a"))
        begin = autojump_clock.current_time()
        await supervisor.terminate_child("a")
        await supervisor.terminate_child("b")
        assert trio.current_time() == pytest.approx(begin)
        await trio.sleep(10)
        assert [info.state for info in supervisor.children()] == ["terminated", "terminated", "running"]
        assert world.starts == {"a": 1, "b": 1, "c": 2}
        await supervisor.restart_child("a")
        await crash(child(supervisor, "a"))
        await trio.sleep(10)
        assert [info.state for info in supervisor.children()] == ["running"] * 3
