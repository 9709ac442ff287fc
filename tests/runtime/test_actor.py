"""One actor: its spawn, its failures, its restart and its children."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from _probes import Probe, hang_shielded

from actors import (
    Actor,
    ActorRef,
    ActorRestarted,
    ExitReason,
    Failure,
    Killed,
    NameTaken,
    Restart,
    Shutdown,
    open_system,
)


async def test_spawn_returns_after_started() -> None:
    """``spawn`` returns after ``started()`` has returned."""
    async with open_system() as system:
        journal: list[object] = []
        await system.spawn(Probe, journal)
        assert journal == ["started"]


async def test_failed_start_leaves_no_entry() -> None:
    """If ``started()`` raises, ``spawn`` raises the same error, and the actor's name can be used again."""
    async with open_system() as system:
        error = ValueError("no")
        with pytest.raises(ValueError, match="no") as caught:
            await system.spawn(Probe, None, error, name="x")
        assert caught.value is error
        assert system.statistics().actors == 0
        await system.spawn(Probe, name="x")


async def test_cancelled_spawn_leaves_no_entry(autojump_clock: trio.testing.MockClock) -> None:
    """If ``spawn`` is cancelled during ``started()``, no actor is left, even if ``started()`` is shielded."""
    async with open_system() as system:
        with trio.move_on_after(1) as scope:
            await system.spawn(Probe, None, hang_shielded)
        assert scope.cancelled_caught
        assert system.statistics().actors == 0
        assert autojump_clock.current_time() >= 0


async def test_name_is_unique_among_living_actors() -> None:
    """``spawn`` refuses a name while a living actor has it. When that actor has ended, the name can be used again."""
    async with open_system() as system:
        first = await system.spawn(Probe, name="x")
        with pytest.raises(NameTaken):
            await system.spawn(Probe, name="x")
        await first.stop()
        assert (await system.spawn(Probe, name="x")).path == "/x"


async def test_failed_task_fails_the_actor() -> None:
    """An exception in a task of the actor's nursery ends the actor with that failure."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        error = OSError("disk")

        async def fail() -> None:
            raise error

        async def start(probe: Probe) -> None:
            probe.nursery.start_soon(fail)

        await ref.tell(start)
        assert await ref.terminated() == Failure(error)


async def test_all_failures_are_in_the_reason() -> None:
    """When a message handler and a task of an actor both fail, the exit reason holds both exceptions in a group."""
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def fail_on_cancel() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("second")

        async def start(probe: Probe) -> None:
            probe.nursery.start_soon(fail_on_cancel)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("first")

        await ref.tell(start)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, ExceptionGroup)
        assert [type(error) for error in reason.exception.exceptions] == [ValueError, OSError]


async def test_restart_keeps_ref_and_mailbox() -> None:
    """A restarted actor keeps its ref and its mailbox, and the message on which it failed becomes a dead letter."""
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal, restart=Restart.PERMANENT)
        error = ValueError("bad")
        with system.dead_letters() as letters:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    with pytest.raises(ActorRestarted):
                        await ref.ask(error)

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
            await ref.tell(1)
            assert await ref.ask(2) == 2
            letter = await anext(letters)
        assert letter.message is error
        assert letter.cause is error
        assert journal == ["started", Failure(error), "started", 1, 2]
        assert ref.statistics().restarts == 1


async def test_children_stop_with_their_parent() -> None:
    """The path of a child begins with the path of its parent, and children stop when their parent stops."""
    async with open_system() as system:
        order: list[object] = []
        ref = await system.spawn(Probe)

        async def spawn(probe: Probe) -> list[str]:
            first = await probe.context.spawn(Probe, order, name="a")
            second = await probe.context.spawn(Probe, order, name="b")
            return [first.path, second.path]

        assert await ref.ask(spawn) == [f"{ref.path}/a", f"{ref.path}/b"]
        assert ref.statistics().children == 2
        await ref.stop(timeout=math.inf)
        assert system.statistics().actors == 0
        assert order == ["started", "started", Shutdown(), Shutdown()]


async def test_spawn_in_a_cancelled_scope_makes_no_actor() -> None:
    """In a scope that is already cancelled, ``spawn`` does not call the factory."""
    async with open_system() as system:
        journal: list[object] = []
        made: list[Probe] = []

        def make() -> Probe:
            made.append(Probe(journal))
            return made[-1]

        with trio.CancelScope() as scope:
            scope.cancel()
            await system.spawn(make)
        assert scope.cancelled_caught
        assert (journal, made) == ([], [])


async def test_children_of_a_failed_parent_have_its_shutdown_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If an actor fails, its children have the actor's ``shutdown`` time to stop. After that time they are killed."""

    class HangsInStopping(Actor):
        async def stopping(self, reason: ExitReason) -> None:
            await trio.sleep_forever()

    async with open_system() as system:
        children: list[ActorRef] = []

        async def spawn(probe: Probe) -> None:
            children.append(await probe.context.spawn(HangsInStopping, shutdown=math.inf))
            raise ValueError("crash")

        ref = await system.spawn(Probe, shutdown=2)
        begin = autojump_clock.current_time()
        await ref.tell(spawn)
        assert isinstance(await ref.terminated(), Failure)
        assert trio.current_time() - begin == pytest.approx(2)
        assert await children[0].terminated() == Killed()
        assert system.statistics().actors == 0
