"""OTP's rules for supervisors, after its ``supervisor_SUITE``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, hang_shielded, supervise_below_another

from actors import (
    ChildSpec,
    Failure,
    Killed,
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


@pytest.mark.parametrize(
    ("restart", "ending", "follows"),
    [
        (PERMANENT, "normal", "restart"),
        (PERMANENT, "shutdown", "restart"),
        (PERMANENT, ValueError(), "restart"),
        (PERMANENT, "kill", "restart"),
        (TRANSIENT, "normal", "kept spec"),
        (TRANSIENT, "shutdown", "kept spec"),
        (TRANSIENT, ValueError(), "restart"),
        (TRANSIENT, "kill", "restart"),
        (TEMPORARY, "normal", "nothing"),
        (TEMPORARY, "shutdown", "nothing"),
        (TEMPORARY, ValueError(), "nothing"),
        (TEMPORARY, "kill", "nothing"),
    ],
)
async def test_restart_type_and_exit_reason(restart: Restart, ending: object, follows: str) -> None:
    """The restart type and the exit reason decide whether an ended child restarts, keeps its spec, or is removed."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", restart)]))
        ref = child(supervisor, "a")
        if ending == "kill":
            ref.kill()
        else:
            await ref.tell(ending)
        await trio.testing.wait_all_tasks_blocked()
        assert ref.alive == (follows == "restart")
        assert world.starts["a"] == (2 if follows == "restart" else 1)
        assert [info.id for info in supervisor.children()] == ([] if follows == "nothing" else ["a"])


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    """Children start in the order of the spec, and stop in the reverse order."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member(name) for name in "abc"]))
        assert world.take() == [("start", "a"), ("start", "b"), ("start", "c")]
        await supervisor.stop()
        assert world.take() == [("stop", "c"), ("stop", "b"), ("stop", "a")]


async def test_failed_child_undoes_the_start() -> None:
    """If a child of the spec cannot start, the children started before it stop, and ``supervise`` raises its error."""
    async with open_system() as system:
        world = World()
        world.fail_start("b", 1, OSError("no"))
        with pytest.raises(OSError, match="no"):
            await system.supervise(SupervisorSpec(children=[world.member("a"), world.member("b")]))
        assert world.take() == [("start", "a"), ("stop", "a")]
        assert system.statistics().actors == 0


async def test_one_for_one() -> None:
    """With the strategy ONE_FOR_ONE, only the failed child is restarted."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member(name) for name in "abc"]))
        await crash(child(supervisor, "b"))
        assert world.starts == {"a": 1, "b": 2, "c": 1}


async def test_failed_restarts_count_and_escalate() -> None:
    """Restarts that fail count for the limit too. A supervisor that exceeds its limit fails.

    The supervisor above it then restarts it, until the limit of the upper supervisor is exceeded too.
    """
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(children=[world.member("leaf")], max_restarts=2)
        spec = SupervisorSpec(children=[ChildSpec("inner", inner)], max_restarts=1)
        outer = await supervise_below_another(system, spec, "outer")
        leaf = system.find("/above/outer/inner/leaf")
        assert leaf is not None
        world.fail_start("leaf", 1000, OSError("broken"))
        await leaf.tell(ValueError("first"))
        reason = await outer.terminated()
        # 1 start, 2 restarts; then a new inner supervisor whose start fails at once; then outer gives up.
        assert world.starts["leaf"] == 1 + 2 + 1
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert "/outer gave up" in str(reason.exception)


async def test_restarted_supervisor_has_its_spec() -> None:
    """A restarted supervisor starts only the children of its spec. Children that were added later are gone."""
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(children=[world.member("a"), world.member("b")], max_restarts=0)
        outer = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]))
        supervisor = child(outer, "inner")
        added = world.member("added")
        await supervisor.start_child(added)  # type: ignore[attr-defined]  # the child is a supervisor
        a = child(supervisor, "a")  # type: ignore[arg-type]  # the child is a supervisor
        world.take()
        await crash(a)
        stops = [("stop", "a"), ("stop", "added"), ("stop", "b")]
        assert world.take() == [*stops, ("start", "a"), ("start", "b")]
        assert child(outer, "inner") is supervisor
        assert supervisor.statistics().restarts == 1
        assert not a.alive


async def test_restart_window_slides(autojump_clock: MockClock) -> None:
    """Only the restarts of the last ``max_seconds`` seconds count towards ``max_restarts``."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], max_restarts=2, max_seconds=10)
        supervisor = await supervise_below_another(system, spec)
        ref = child(supervisor, "a")
        for pause in (4, 6.5, 4, 6.5, 4):
            await crash(ref)
            await trio.sleep(pause)
        assert supervisor.alive
        await crash(ref)
        assert supervisor.alive
        await crash(ref)
        assert not supervisor.alive
        assert autojump_clock.current_time() == pytest.approx(25)


async def test_limit_counts_all_children() -> None:
    """All children of a supervisor share one restart limit: their restarts are counted together."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member(name) for name in "abc"], max_restarts=2)
        supervisor = await supervise_below_another(system, spec)
        refs = [child(supervisor, name) for name in "abc"]
        for ref in refs:
            await crash(ref)
        assert not supervisor.alive


async def test_zero_restarts_allowed() -> None:
    """With ``max_restarts=0`` the first failure of a child ends the supervisor."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], max_restarts=0)
        supervisor = await supervise_below_another(system, spec)
        await crash(child(supervisor, "a"))
        assert not supervisor.alive
        assert world.starts["a"] == 1


async def test_supervisor_answers_while_a_restart_hangs() -> None:
    """A supervisor can answer calls and start children while the restart of another child hangs."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a"), world.member("b")]))
        world.on_start["a"] = hang
        await crash(child(supervisor, "a"))
        assert supervisor.counts().active == 2
        assert supervisor.children()[0].state == "starting"
        await supervisor.start_child(world.member("c"))
        before = trio.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() - before < 1
        assert supervisor.children()[0].state == "terminated"


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_supervisor_answers_while_restarts_fail(strategy: Strategy) -> None:
    """A supervisor answers calls while the restarts of a child fail again and again."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(strategy, [world.member("a")], max_restarts=10**9))
        world.fail_start("a", 10**9)
        await child(supervisor, "a").tell(ValueError("x"))
        while world.starts["a"] < 50:
            await trio.lowlevel.checkpoint()
        await supervisor.start_child(world.member("b"))
        await supervisor.terminate_child("a")
        seen = world.starts["a"]
        await trio.testing.wait_all_tasks_blocked()
        assert world.starts["a"] == seen
        assert await child(supervisor, "b").ask("up") == "up"


async def test_child_that_exceeds_its_shutdown_is_killed(autojump_clock: MockClock) -> None:
    """A child that does not stop within its ``shutdown`` time is killed."""
    async with open_system() as system:
        world = World()
        world.on_stop["a"] = hang
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", shutdown=3)]))
        ref = child(supervisor, "a")
        begin = autojump_clock.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() - begin == pytest.approx(3)
        assert await ref.terminated() == Killed()


async def test_shutdown_of_zero_kills_at_once(autojump_clock: MockClock) -> None:
    """A child with ``shutdown=0`` is killed at once, without ``stopping()``."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", shutdown=0)]))
        ref = child(supervisor, "a")
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() == pytest.approx(begin)
        assert await ref.terminated() == Killed()
        assert world.take() == [("start", "a")]


async def test_infinite_shutdown(autojump_clock: MockClock) -> None:
    """If the ``shutdown`` time of a child is infinite, its supervisor waits until the child has stopped."""

    async def slow(_: Member) -> None:
        await trio.sleep(10_000)

    async with open_system() as system:
        world = World()
        world.on_stop["a"] = slow
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", shutdown=math.inf)]))
        ref = child(supervisor, "a")
        begin = autojump_clock.current_time()
        await supervisor.stop()
        assert trio.current_time() - begin == pytest.approx(10_000)
        assert await ref.terminated() == Shutdown()


async def test_dynamic_children_stop_in_parallel(autojump_clock: MockClock) -> None:
    """When a DYNAMIC supervisor stops, its children stop at the same time."""

    async def slow(_: Member) -> None:
        await trio.sleep(2)

    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC))
        for number in range(20):
            world.on_stop[f"c{number}"] = slow
            await supervisor.start_child(world.member(f"c{number}"))
        begin = autojump_clock.current_time()
        await supervisor.stop()
        assert trio.current_time() - begin == pytest.approx(2)
        assert system.statistics().actors == 0
