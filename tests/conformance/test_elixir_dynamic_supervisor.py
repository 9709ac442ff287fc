"""Elixir's rules for dynamic supervisors, after the tests of its DynamicSupervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, supervise_below_another

from actors import (
    ActorTerminated,
    Backoff,
    ChildNotFound,
    Failure,
    MaxChildren,
    NameTaken,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


def dynamic(**options: object) -> SupervisorSpec:
    """Return the spec of a DYNAMIC supervisor."""
    return SupervisorSpec(strategy=Strategy.DYNAMIC, **options)  # type: ignore[arg-type]  # options of SupervisorSpec


async def test_restarting_child_counts_for_max_children(autojump_clock: MockClock) -> None:
    """A child that waits for its restart counts towards ``max_children``."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic(max_children=1, backoff=Backoff(10, 10)))
        ref = await supervisor.start_child(world.member("a"))
        await crash(ref)
        assert supervisor.counts().restarting == 1
        with pytest.raises(MaxChildren):
            await supervisor.start_child(world.member("b"))
        assert autojump_clock.autojump_threshold == 0


async def test_starting_child_counts_for_max_children() -> None:
    """A child that is still starting counts towards ``max_children``."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        world.on_start["a"] = hang
        supervisor = await system.supervise(dynamic(max_children=1))
        nursery.start_soon(supervisor.start_child, world.member("a"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(MaxChildren):
            await supervisor.start_child(world.member("b"))
        nursery.cancel_scope.cancel()


async def test_ended_child_frees_its_place() -> None:
    """A child that has ended does not count towards ``max_children`` any more."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic(max_children=1))
        await supervisor.start_child(world.member("a"))
        await supervisor.terminate_child("a")
        await supervisor.start_child(world.member("b"))
        assert [info.id for info in supervisor.children()] == ["b"]


async def test_terminating_a_restarting_child(autojump_clock: MockClock) -> None:
    """If a child waits for its restart, ``terminate_child`` returns at once, and the child is not restarted."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic(backoff=Backoff(1000, 1000)))
        ref = await supervisor.start_child(world.member("a"))
        await crash(ref)
        begin = autojump_clock.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() == pytest.approx(begin)
        assert await ref.terminated() == Shutdown()
        assert supervisor.counts().specs == 0
        await trio.sleep(2000)
        assert world.starts["a"] == 1


async def test_terminated_child_has_no_spec() -> None:
    """After a child was terminated, its spec is gone: the child can be neither restarted nor terminated again."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic())
        await supervisor.start_child(world.member("a"))
        await supervisor.terminate_child("a")
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("a")
        with pytest.raises(ChildNotFound):
            await supervisor.terminate_child("a")


async def test_transient_child_that_ends_normally_has_no_entry() -> None:
    """The entry of a transient child is removed when the child ends normally."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic())
        ref = await supervisor.start_child(world.member("a", Restart.TRANSIENT))
        await ref.tell("normal")
        await ref.terminated()
        assert supervisor.children() == ()


async def test_child_that_cannot_start_has_no_entry() -> None:
    """If a child cannot start, the supervisor keeps no entry for it, and does not count it towards ``max_children``."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic(max_children=1))
        world.fail_start("a", 1)
        with pytest.raises(OSError, match="cannot start"):
            await supervisor.start_child(world.member("a"))
        assert supervisor.counts().specs == 0
        await supervisor.start_child(world.member("a"))


async def test_cancelled_start_child_leaves_no_entry() -> None:
    """If ``start_child`` is cancelled, neither an entry nor a task of the child is left."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic())
        before = trio.lowlevel.current_statistics().tasks_living
        world.on_start["a"] = hang
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.start_child, world.member("a"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert supervisor.counts().specs == 0
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_simultaneous_starts_of_one_id() -> None:
    """If two calls start a child with the same id at the same time, one succeeds and the other raises NameTaken."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic())
        outcomes: list[str] = []

        async def start() -> None:
            try:
                await supervisor.start_child(world.member("a"))
            except NameTaken:
                outcomes.append("taken")
            else:
                outcomes.append("started")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            nursery.start_soon(start)
        assert sorted(outcomes) == ["started", "taken"]
        assert world.starts["a"] == 1


async def test_dynamic_child_restarts_alone() -> None:
    """If a child fails, only this child is restarted, and it keeps its ref."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(dynamic())
        refs = [await supervisor.start_child(world.member(name)) for name in "abc"]
        await crash(refs[1])
        assert world.starts == {"a": 1, "b": 2, "c": 1}
        assert child(supervisor, "b") is refs[1]


async def test_exceeded_limit_ends_all_children() -> None:
    """If a dynamic supervisor exceeds its restart limit, it ends, and all its children stop."""
    async with open_system() as system:
        world = World()
        supervisor = await supervise_below_another(system, dynamic(max_restarts=1))
        refs = [await supervisor.start_child(world.member(name)) for name in "ab"]
        await crash(refs[0])
        await crash(refs[1])
        reason = await supervisor.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert await refs[0].terminated() == Shutdown()
        with pytest.raises(ActorTerminated):
            await supervisor.start_child(world.member("c"))


async def test_stopping_supervisor_starts_no_child() -> None:
    """While a supervisor stops, ``start_child`` raises ActorTerminated."""
    async with open_system() as system:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        world.on_stop["a"] = wait
        supervisor = await system.supervise(dynamic())
        await supervisor.start_child(world.member("a"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ActorTerminated):
                await supervisor.start_child(world.member("b"))
            gate.set()
        assert world.starts == {"a": 1}
        assert system.statistics().actors == 0
