"""Supervisors: calls about children by their ids, restarts, and restart limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import supervise_below_another

from actors import (
    Actor,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    Failure,
    MaxChildren,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


class Worker(Actor):
    """An actor that returns each message, or raises it if the message is an exception."""

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        return message


async def test_children_start_in_order() -> None:
    """A supervisor lists its children in the order of its spec, and finds each child by its id."""
    async with open_system() as system:
        spec = SupervisorSpec(children=[ChildSpec("a", Worker), ChildSpec("b", Worker)])
        supervisor = await system.supervise(spec, "top")
        assert [child.id for child in supervisor.children()] == ["a", "b"]
        child = supervisor.child("b")
        assert child is not None
        assert child.path == "/top/b"


async def test_one_for_one_restarts_only_the_failed_child() -> None:
    """With the strategy ONE_FOR_ONE, only the failed child is restarted."""
    async with open_system() as system:
        spec = SupervisorSpec(children=[ChildSpec("a", Worker), ChildSpec("b", Worker)])
        supervisor = await system.supervise(spec)
        a, b = supervisor.child("a"), supervisor.child("b")
        assert a is not None
        assert b is not None
        await a.tell(ValueError("x"))
        assert await a.ask(1) == 1
        assert (a.statistics().restarts, b.statistics().restarts) == (1, 0)


async def test_exceeded_limit_ends_the_supervisor() -> None:
    """If a supervisor needs more than ``max_restarts`` restarts, it fails with RestartLimit.

    The cause of the RestartLimit is the error of the child that failed last.
    """
    async with open_system() as system:
        spec = SupervisorSpec(children=[ChildSpec("a", Worker)], max_restarts=2)
        supervisor = await supervise_below_another(system, spec)
        child = supervisor.child("a")
        assert child is not None
        error = ValueError("x")
        for _ in range(3):
            await child.tell(error)
        reason = await supervisor.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert reason.exception.__cause__ is error
        assert system.statistics().actors == 1


async def test_root_gives_up_by_raising() -> None:
    """If top-level actors fail too often, the ``open_system`` block raises RestartLimit."""

    async def fail_too_often() -> None:
        async with open_system() as system:
            ref = await system.spawn(Worker, restart=Restart.PERMANENT)
            for _ in range(4):
                await ref.tell(ValueError("x"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimit):
        await fail_too_often()


async def fail_soon() -> None:
    """Fail after a second, while the next child starts."""
    await trio.sleep(1)
    raise ValueError("x")


class FailsLater(Actor):
    """An actor that fails one second after its start."""

    async def started(self) -> None:
        self.nursery.start_soon(fail_soon)


class NeverUp(Actor):
    """An actor that never comes up."""

    async def started(self) -> None:
        await trio.sleep_forever()


GIVES_UP = SupervisorSpec(children=[ChildSpec("failing", FailsLater), ChildSpec("slow", NeverUp)], max_restarts=0)


class Supervising(Actor):
    """An actor that starts a supervisor, which exceeds its restart limit during its start."""

    async def receive(self, message: object) -> object:
        if message == "below":
            await self.context.supervise(GIVES_UP, "top")
        async with open_system() as other:
            return await other.supervise(GIVES_UP, "top")


@pytest.mark.parametrize("where", ["below", "elsewhere"])
async def test_restart_limit_of_another_supervisor(where: str, autojump_clock: MockClock) -> None:
    """If an actor raises the RestartLimit of another supervisor, this is a failure like any other exception.

    In one case the other supervisor is a child of the actor. In the other it belongs to another system and has the same
    path as the actor.
    """
    async with open_system() as system:
        worker = await system.spawn(Worker)
        actor = await system.spawn(Supervising, name="top")
        await actor.tell(where)
        reason = await actor.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert reason.exception.path.endswith("/top")
        assert await worker.ask(1) == 1


async def test_terminate_restart_and_delete_a_child() -> None:
    """A child can be terminated, and then restarted with a new ref. It can be deleted only after it has ended."""
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec(children=[ChildSpec("a", Worker)]))
        first = supervisor.child("a")
        assert first is not None
        with pytest.raises(ChildRunning):
            supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        assert await first.terminated() == Shutdown()
        assert supervisor.counts().active == 0
        second = await supervisor.restart_child("a")
        assert second is not first
        await supervisor.terminate_child("a")
        supervisor.delete_child("a")
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("a")


async def test_dynamic_supervisor_with_many_children() -> None:
    """A DYNAMIC supervisor starts and terminates many children at the same time, but no more than ``max_children``."""
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC, max_children=1000))

        async def start(number: int) -> None:
            ref = await supervisor.start_child(ChildSpec(f"k{number}", Worker, Restart.TEMPORARY))
            assert await ref.ask(number) == number

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(start, number)
        with pytest.raises(MaxChildren):
            await supervisor.start_child(ChildSpec("one more", Worker))
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(supervisor.terminate_child, f"k{number}")
        assert supervisor.counts().specs == 500


async def test_failed_start_stops_earlier_children() -> None:
    """If the first start of a child fails, ``supervise`` raises the child's error, and the earlier children stop."""

    class Bad(Worker):
        async def started(self) -> None:
            raise OSError("no")

    async with open_system() as system:
        with pytest.raises(OSError, match="no"):
            await system.supervise(SupervisorSpec(children=[ChildSpec("a", Worker), ChildSpec("b", Bad)]))
        assert system.statistics().actors == 0


async def test_nested_supervisors() -> None:
    """A supervisor can be the child of another supervisor, and stops when the upper one stops."""
    async with open_system() as system:
        inner = SupervisorSpec(children=[ChildSpec("leaf", Worker)])
        outer = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]), "outer")
        assert outer.counts().supervisors == 1
        assert system.statistics().actors == 3
        await outer.stop()
        assert system.statistics().actors == 0


class Exiting(Worker):
    """An actor that raises one error from ``errors`` at each start, as long as there are two or more."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors

    async def started(self) -> None:
        if len(self.errors) > 1:
            raise self.errors.pop()


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("x", [SystemExit()])], ids=repr
)
@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("where", ["factory", "started"])
async def test_restart_that_raises_an_exit(where: str, strategy: Strategy, error: BaseException) -> None:
    """If a child raises SystemExit or KeyboardInterrupt at its restart, this counts as a failed restart.

    The supervisor continues, and restarts the child again.
    """
    errors: list[BaseException] = [ValueError()]

    def make() -> Actor:
        if where == "factory" and len(errors) > 1:
            raise errors.pop()
        return Exiting(errors if where == "started" else [])

    async with open_system() as system:
        spec = SupervisorSpec(strategy, [ChildSpec("a", Worker), ChildSpec("b", make), ChildSpec("c", Worker)])
        supervisor = await system.supervise(spec)
        child = supervisor.child("b")
        assert child is not None
        errors += [error, error]
        await child.tell(ValueError("x"))
        assert await child.ask(1) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert [each.state for each in supervisor.children()] == ["running"] * 3
        assert supervisor.statistics().children_restarted == 3
