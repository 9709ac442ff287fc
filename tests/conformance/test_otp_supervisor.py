"""What OTP's supervisor_SUITE holds a supervisor to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, Steps, World, child, crash, hang, hang_shielded, supervise_below_another

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
async def test_restart_type_decides_what_follows_each_ending(restart: Restart, ending: object, follows: str) -> None:
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
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member(name) for name in "abc"]))
        assert world.take() == [("start", "a"), ("start", "b"), ("start", "c")]
        await supervisor.stop()
        assert world.take() == [("stop", "c"), ("stop", "b"), ("stop", "a")]


async def test_a_child_that_cannot_start_undoes_the_start() -> None:
    async with open_system() as system:
        world = World()
        world.fail_start("b", 1, OSError("no"))
        with pytest.raises(OSError, match="no"):
            await system.supervise(SupervisorSpec(children=[world.member("a"), world.member("b")]))
        assert world.take() == [("start", "a"), ("stop", "a")]
        assert system.statistics().actors == 0


async def test_one_for_one_restarts_only_the_one() -> None:
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member(name) for name in "abc"]))
        await crash(child(supervisor, "b"))
        assert world.starts == {"a": 1, "b": 2, "c": 1}


async def test_failed_restarts_count_and_escalate() -> None:
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


async def test_an_escalation_restarts_the_supervisor_from_its_spec() -> None:
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(children=[world.member("a"), world.member("b")], max_restarts=0)
        outer = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]))
        supervisor = child(outer, "inner")
        added = world.member("added")
        await supervisor.start_child(added)  # type: ignore[attr-defined]  # it is a supervisor's
        a = child(supervisor, "a")  # type: ignore[arg-type]  # it is a supervisor's
        world.take()
        await crash(a)
        stops = [("stop", "a"), ("stop", "added"), ("stop", "b")]
        assert world.take() == [*stops, ("start", "a"), ("start", "b")]
        assert child(outer, "inner") is supervisor
        assert supervisor.statistics().restarts == 1
        assert not a.alive


async def test_the_window_slides(autojump_clock: MockClock) -> None:
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


async def test_intensity_is_counted_over_all_children() -> None:
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member(name) for name in "abc"], max_restarts=2)
        supervisor = await supervise_below_another(system, spec)
        refs = [child(supervisor, name) for name in "abc"]
        for ref in refs:
            await crash(ref)
        assert not supervisor.alive


async def test_no_restart_is_allowed_with_an_intensity_of_0() -> None:
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], max_restarts=0)
        supervisor = await supervise_below_another(system, spec)
        await crash(child(supervisor, "a"))
        assert not supervisor.alive
        assert world.starts["a"] == 1


async def test_a_supervisor_answers_while_a_restart_hangs() -> None:
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
async def test_a_supervisor_answers_while_restarts_fail_without_end(strategy: Strategy) -> None:
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


async def test_a_child_that_does_not_stop_in_time_is_killed(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        world = World()
        world.on_stop["a"] = hang
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a", shutdown=3)]))
        ref = child(supervisor, "a")
        begin = autojump_clock.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() - begin == pytest.approx(3)
        assert await ref.terminated() == Killed()


async def test_a_brutal_kill_waits_for_nothing(autojump_clock: MockClock) -> None:
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


async def test_an_infinite_shutdown_waits_as_long_as_it_takes(autojump_clock: MockClock) -> None:
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


async def test_a_dynamic_supervisor_stops_its_children_in_parallel(autojump_clock: MockClock) -> None:
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


def significant(world: World, name: str, restart: Restart = TRANSIENT) -> ChildSpec:
    return world.member(name, restart, significant=True)


@pytest.mark.parametrize("ending", ["normal", "shutdown"])
async def test_any_significant_child_that_ends_ends_its_supervisor(ending: str) -> None:
    async with open_system() as system:
        world = World()
        children = [world.member("a"), significant(world, "s"), significant(world, "t")]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ANY))
        await child(supervisor, "s").tell(ending)
        assert await supervisor.terminated() == Shutdown()
        assert system.statistics().actors == 0


async def test_all_significant_children_have_to_end() -> None:
    async with open_system() as system:
        world = World()
        children = [world.member("a"), significant(world, "s"), significant(world, "t", TEMPORARY)]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ALL))
        await child(supervisor, "s").tell("normal")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.alive
        await child(supervisor, "t").tell(ValueError("a temporary child ends however it ends"))
        assert await supervisor.terminated() == Shutdown()


async def test_a_significant_child_that_is_restarted_or_dismissed_ends_nobody() -> None:
    async with open_system() as system:
        world = World()
        children = [significant(world, "s"), significant(world, "t")]
        supervisor = await system.supervise(SupervisorSpec(children=children, auto_shutdown=AutoShutdown.ANY))
        await crash(child(supervisor, "s"))
        await supervisor.terminate_child("t")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.alive
        assert world.starts["s"] == 2


async def test_an_automatic_shutdown_brings_a_permanent_supervisor_back() -> None:
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(children=[significant(world, "s")], auto_shutdown=AutoShutdown.ANY)
        outer = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]), "outer")
        leaf = system.find("/outer/inner/s")
        assert leaf is not None
        await leaf.tell("normal")
        await trio.testing.wait_all_tasks_blocked()
        assert world.starts["s"] == 2
        assert outer.statistics().children_restarted == 1


async def test_children_are_added_restarted_and_deleted_by_id() -> None:
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


async def test_a_restart_by_hand_that_fails_keeps_the_spec() -> None:
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
        (lambda w: SupervisorSpec(children=[significant(w, "s")]), "auto_shutdown"),
        (lambda w: significant(w, "s", PERMANENT), "significant"),
        (lambda w: w.member("a", shutdown=-1), "shutdown"),
        (lambda w: w.member("a/b"), "id"),
        (lambda w: w.member(""), "id"),
        (lambda w: w.member("a", "always"), "restart"),
        (lambda _: ChildSpec("a", 3), "factory"),  # type: ignore[arg-type]  # that is the fault
        (lambda w: w.member("a", mailbox=3), "mailbox must be a MailboxSpec"),
        (lambda w: w.member("a", backoff=3), "backoff must be a Backoff"),
        (lambda w: w.member("a", significant="no"), "significant must be True or False"),
        (lambda _: SupervisorSpec(backoff=3), "backoff must be a Backoff"),  # type: ignore[arg-type]  # as above
        (lambda _: SupervisorSpec(children=[3]), "children must be ChildSpecs"),  # type: ignore[list-item]  # as above
    ],
)
def test_a_spec_that_cannot_be_run_is_refused_by_name(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(SpecError, match=field):
        build(World())


async def test_many_children_cost_the_same_each() -> None:
    async def steps(count: int) -> int:
        instrument = Steps()
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


async def test_a_supervisor_that_gives_up_while_it_starts_fails_its_start() -> None:
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


async def test_a_child_added_by_hand_that_cannot_start_is_not_kept() -> None:
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec())
        world.fail_start("a", 1)
        with pytest.raises(OSError, match="cannot start"):
            await supervisor.start_child(world.member("a"))
        assert supervisor.children() == ()
        await supervisor.start_child(world.member("a"))
