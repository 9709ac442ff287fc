"""Failures: some end only one actor, and others end the ``open_system`` block."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, ClassVar

import pytest
import trio
import trio.testing
from _probes import Member, World, child

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Failure,
    Restart,
    RestartLimit,
    SupervisorRef,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


class FailsWhileShielded(Actor):
    """An actor with a message handler and a task. One of them fails while the other one is shielded."""

    where: ClassVar[str] = ""

    async def receive(self, message: object) -> object:
        if message != "boom":
            return message
        if self.where == "task":
            self.nursery.start_soon(self.hang)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("handler")
        self.nursery.start_soon(self.fail)
        await self.hang()
        return None

    async def hang(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def fail(self) -> None:
        raise ValueError("task")


@pytest.mark.parametrize("where", ["task", "handler"])
async def test_failure_has_the_deadlines_of_a_stop(where: str, autojump_clock: MockClock) -> None:
    """If an actor fails, its shielded work is cancelled one second after its ``shutdown`` time, as in a stop.

    After that, the actor is restarted.
    """
    FailsWhileShielded.where = where
    async with open_system() as system:
        top = await system.supervise(SupervisorSpec(children=[ChildSpec("a", FailsWhileShielded, shutdown=4)]))
        begin = autojump_clock.current_time()
        await child(top, "a").tell("boom")
        assert await child(top, "a").ask("up") == "up"
        assert trio.current_time() - begin == pytest.approx(4 + 1)
        assert child(top, "a").statistics().restarts == 1


async def test_cancelling_own_nursery_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """If an actor cancels its own nursery, it fails with an error that says so, and the failure is logged."""

    async def cancel(member: Member) -> None:
        member.nursery.cancel_scope.cancel()

    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)
        await ref.tell(cancel)
        await ref.tell("next")
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert "cancelled the scope of its own nursery" in str(reason.exception)
        assert "cancelled the scope of its own nursery" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), trio.BrokenResourceError()])
async def test_any_exception_fails_only_its_actor(error: BaseException) -> None:
    """An exception that usually ends a program, such as SystemExit, ends only the actor that raises it."""

    async def fail(_: Member) -> None:
        raise error

    async with open_system() as system:
        world = World()
        sibling = await system.spawn(Member, "sibling", world)
        ref = await system.spawn(Member, "a", world)
        await ref.tell(fail)
        assert await ref.terminated() == Failure(error)
        assert await sibling.ask("up") == "up"


async def test_foreign_cancelled_is_a_failure() -> None:
    """If an actor raises a Cancelled exception that it kept from an earlier cancel scope, the actor fails."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise

    async def fail(_: Member) -> None:
        raise kept[0]

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.tell(fail)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert "where nothing was cancelled" in str(reason.exception)


async def test_root_gives_up_once() -> None:
    """If several top-level actors exceed the restart limit together, only one RestartLimit is raised."""

    async def run() -> None:
        async with open_system() as system:
            world = World()
            refs = [await system.spawn(Member, name, world, restart=Restart.PERMANENT) for name in "abcdefgh"]
            for ref in refs:
                ref.tell_nowait(ValueError("x"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimit):
        await run()


@pytest.mark.parametrize("kind", ["supervisor", "actor"])
async def test_top_level_actor_that_gives_up_ends_the_block(kind: str) -> None:
    """If a top-level actor exceeds its restart limit, all other actors stop.

    The ``open_system`` block then raises RestartLimit.
    """
    world = World()

    async def run(system: ActorSystem) -> None:
        await system.spawn(Member, "other", world)
        if kind == "supervisor":
            top: ActorRef = await system.supervise(SupervisorSpec(children=[world.member("a")], max_restarts=0), "top")
            assert isinstance(top, SupervisorRef)
            kid = child(top, "a")
        else:
            top = await system.spawn(Member, "top", world, name="top")
            spawned: list[ActorRef] = []

            async def spawn(member: Member) -> None:
                spawned.append(await member.context.spawn(Member, "a", world, name="a", restart=Restart.PERMANENT))

            await top.ask(spawn)
            (kid,) = spawned
        for _ in range(4):
            kid.tell_nowait(ValueError("x"))
        await trio.sleep_forever()

    with pytest.raises(RestartLimit, match="/top gave up"):
        async with open_system() as system:
            await run(system)
    assert system.statistics().actors == 0
    assert ("stop", "other") in world.journal


async def test_error_of_the_block_and_restart_limit() -> None:
    """If the ``open_system`` block fails and an actor exceeds its restart limit, a group of both errors is raised."""
    error = OSError("block")

    async def run() -> None:
        async with open_system() as system:
            world = World()
            ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)
            world.fail_start("a", 1000)
            await crash_and_raise_when_cancelled(ref, error)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(RestartLimit)
    assert caught.group_contains(OSError, match="block")


async def crash_and_raise_when_cancelled(ref: ActorRef, error: Exception) -> None:
    """Make the actor fail. Then wait, and raise ``error`` when this task is cancelled."""
    try:
        await ref.tell(ValueError("x"))
        await trio.sleep_forever()
    finally:
        raise error


def test_keyboard_interrupt_ends_the_block() -> None:
    """SIGINT (Ctrl-C) ends the ``open_system`` block with KeyboardInterrupt, even if an actor's task runs just then."""
    world = World()
    seen: list[str] = []

    async def interrupt(name: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(name)
        signal.raise_signal(signal.SIGINT)
        seen.append(f"{name} goes on")
        await trio.sleep_forever()

    async def in_the_nursery(member: Member) -> None:
        member.nursery.start_soon(interrupt, "task")

    async def in_a_nursery_of_its_own(_: Member) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, "inner task")

    async def in_hand(_: Member) -> None:
        await interrupt("message")

    async def run(work: Callable[[Member], Awaitable[None]]) -> None:
        async with open_system() as system:
            ref = await system.spawn(Member, "a", world)
            world.refs.append(ref)
            await ref.tell(work)
            await trio.sleep_forever()

    for work in (in_the_nursery, in_a_nursery_of_its_own, in_hand):
        with pytest.raises(BaseExceptionGroup) as caught:
            trio.run(run, work)
        assert caught.group_contains(KeyboardInterrupt)
    assert seen == [f"{name}{then}" for name in ("task", "inner task", "message") for then in ("", " goes on")]
