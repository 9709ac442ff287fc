"""Significant children, calls by a child's id, and bad specs, after OTP's tests of ``supervisor``."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from _probes import StepCounter, World, child, crash, hang

from actors import (
    AutoShutdown,
    Backoff,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    NameTaken,
    Restart,
    RestartLimit,
    Shutdown,
    SpecError,
    Strategy,
    SupervisorSpec,
    open_system,
)


def significant_member(world: World, name: str, restart: Restart = Restart.TRANSIENT) -> ChildSpec:
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
        children = [
            world.member("a"),
            significant_member(world, "s"),
            significant_member(world, "t", Restart.TEMPORARY),
        ]
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
        (lambda w: significant_member(w, "s", Restart.PERMANENT), "significant"),
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
                await supervisor.start_child(world.member(f"c{number}", Restart.TEMPORARY))
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
