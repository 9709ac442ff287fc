"""OTP's rules for supervisors, after its ``supervisor_SUITE``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, StepCounter, World, child, crash, hang, hang_shielded, supervise_below_another

from actors import (
    AutoShutdown,
    Backoff,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    Failure,
    Killed,
    NameTaken,
    Restart,
    RestartLimit,
    Shutdown,
    SpecError,
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


def significant_member(world: World, name: str, restart: Restart = TRANSIENT) -> ChildSpec:
    """Return the spec of a significant child."""
    return world.member(name, restart, significant=True)


@pytest.mark.parametrize("ending", ["normal", "shutdown"])
async def test_auto_shutdown_any(ending: str) -> None:
    """With ``AutoShutdown.ANY``, the end of one significant child ends the supervisor, with the reason Shutdown()."""
    async with open_system() as system:
        world = World()
        children = [world.member("a"), significant_member(world, "s"), significant_member(world, "t")]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ANY))
        await child(supervisor, "s").tell(ending)
        assert await supervisor.terminated() == Shutdown()
        assert system.statistics().actors == 0


async def test_auto_shutdown_all() -> None:
    """With ``AutoShutdown.ALL``, the supervisor ends when its last significant child has ended."""
    async with open_system() as system:
        world = World()
        children = [world.member("a"), significant_member(world, "s"), significant_member(world, "t", TEMPORARY)]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ALL))
        await child(supervisor, "s").tell("normal")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.alive
        await child(supervisor, "t").tell(ValueError("a temporary child ends however it ends"))
        assert await supervisor.terminated() == Shutdown()


async def test_restarted_or_terminated_significant_child() -> None:
    """If a significant child is restarted, or is ended by ``terminate_child``, its supervisor does not end."""
    async with open_system() as system:
        world = World()
        children = [significant_member(world, "s"), significant_member(world, "t")]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ANY))
        await crash(child(supervisor, "s"))
        await supervisor.terminate_child("t")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.alive
        assert world.starts["s"] == 2


async def test_permanent_supervisor_restarts_after_auto_shutdown() -> None:
    """A permanent supervisor is restarted after its automatic shutdown."""
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(children=[significant_member(world, "s")], auto_shutdown=AutoShutdown.ANY)
        outer = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]), "outer")
        leaf = system.find("/outer/inner/s")
        assert leaf is not None
        await leaf.tell("normal")
        await trio.testing.wait_all_tasks_blocked()
        assert world.starts["s"] == 2
        assert outer.statistics().children_restarted == 1


async def test_child_calls_by_id() -> None:
    """A child can be started, terminated, restarted and deleted by its id.

    A call that is impossible in the present state of the child, such as deleting a running child, raises an error.
    """
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec())
        await supervisor.start_child(world.member("a"))
        with pytest.raises(NameTaken):
            await supervisor.start_child(world.member("a"))
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRunning):
            supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        await supervisor.terminate_child("a")
        with pytest.raises(NameTaken):
            await supervisor.start_child(world.member("a"))
        await supervisor.restart_child("a")
        await supervisor.terminate_child("a")
        supervisor.delete_child("a")
        for unknown in (supervisor.restart_child("a"), supervisor.terminate_child("a")):
            with pytest.raises(ChildNotFound):
                await unknown
        with pytest.raises(ChildNotFound):
            supervisor.delete_child("a")


async def test_failed_restart_child_keeps_the_spec() -> None:
    """If ``restart_child`` fails, it raises the error, and the spec of the child is kept."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a")]))
        await supervisor.terminate_child("a")
        world.fail_start("a", 1)
        with pytest.raises(OSError, match="cannot start"):
            await supervisor.restart_child("a")
        assert supervisor.counts().specs == 1
        assert await (await supervisor.restart_child("a")).ask("up") == "up"


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda w: SupervisorSpec(strategy="one_for_none", children=[w.member("a")]), "strategy"),
        (lambda w: SupervisorSpec(children=[w.member("a"), w.member("a")]), "two of the id 'a'"),
        (lambda _: SupervisorSpec(max_restarts=-1), "max_restarts"),
        (lambda _: SupervisorSpec(max_seconds=-1), "max_seconds"),
        (lambda _: SupervisorSpec(max_seconds=math.nan), "max_seconds"),
        (lambda _: SupervisorSpec(max_seconds=0), "max_seconds"),
        (lambda _: SupervisorSpec(backoff=Backoff(2, 1)), "backoff"),
        (lambda w: w.member("a", backoff=Backoff(-1, 1)), "minimum of a backoff"),
        (lambda _: SupervisorSpec(auto_shutdown="some"), "auto_shutdown"),
        (lambda _: SupervisorSpec(max_children=3), "max_children"),
        (lambda w: SupervisorSpec(children=[significant_member(w, "s")]), "auto_shutdown"),
        (lambda w: significant_member(w, "s", PERMANENT), "significant"),
        (lambda w: w.member("a", shutdown=-1), "shutdown"),
        (lambda w: w.member("a/b"), "id"),
        (lambda w: w.member(""), "id"),
        (lambda w: w.member("a", "always"), "restart"),
        (lambda _: ChildSpec("a", 3), "factory"),  # type: ignore[arg-type]  # the test passes a wrong value
        (lambda w: w.member("a", mailbox=3), "mailbox must be a MailboxSpec"),
        (lambda w: w.member("a", backoff=3), "backoff must be a Backoff"),
        (lambda w: w.member("a", significant="no"), "significant must be True or False"),
        (lambda _: SupervisorSpec(backoff=3), "backoff must be a Backoff"),  # type: ignore[arg-type]  # as above
        (lambda _: SupervisorSpec(children=[3]), "children must be ChildSpecs"),  # type: ignore[list-item]  # as above
    ],
)
def test_bad_spec_is_refused_by_name(build: object, field: str) -> None:
    """A spec with an invalid field raises SpecError with the name of this field."""
    assert callable(build)
    with pytest.raises(SpecError, match=field):
        build(World())


async def test_cost_of_many_children_is_linear() -> None:
    """To start and stop ten times as many children takes only about ten times as many task steps."""

    async def steps(count: int) -> int:
        instrument = StepCounter()
        async with open_system() as system:
            world = World()
            supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC))
            trio.lowlevel.add_instrument(instrument)
            for number in range(count):
                await supervisor.start_child(world.member(f"c{number}", TEMPORARY))
            for number in range(0, count, 2):
                await supervisor.terminate_child(f"c{number}")
            await supervisor.stop()
            trio.lowlevel.remove_instrument(instrument)
        return instrument.count

    few, many = await steps(100), await steps(1000)
    assert many < few * 10 * 1.1


async def test_supervisor_that_gives_up_during_start() -> None:
    """If a supervisor exceeds its restart limit while it starts, ``supervise`` raises RestartLimit."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        world.on_start["b"] = hang
        spec = SupervisorSpec(children=[world.member("a"), world.member("b")], max_restarts=0)

        async def start() -> None:
            with pytest.raises(RestartLimit):
                await system.supervise(spec, "top")

        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        ref = system.find("/top/a")
        assert ref is not None
        await crash(ref)
        assert system.statistics().actors == 0


async def test_failed_start_child_leaves_no_entry() -> None:
    """If ``start_child`` fails, no entry of its child is left."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec())
        world.fail_start("a", 1)
        with pytest.raises(OSError, match="cannot start"):
            await supervisor.start_child(world.member("a"))
        assert supervisor.children() == ()
        await supervisor.start_child(world.member("a"))
