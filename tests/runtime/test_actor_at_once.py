"""Messages that an actor handles in the task of the sender: when that happens, and what a failure costs."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from sessions.borders import FAILURES

from actors import Actor, ActorSystem, Failure, open_system
from actors.runtime._incarnation import Incarnation, life_of

if TYPE_CHECKING:
    from collections.abc import Callable

SENDER: ContextVar[str] = ContextVar("SENDER", default="nobody")


class Clerk(Actor):
    """An actor that notes its messages, in order."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.senders: list[str] = []
        self.gate = trio.Event()

    async def started(self) -> None:
        self.life: Incarnation = life_of(self)

    async def receive(self, message: object) -> object:
        if message == "wait":
            await self.gate.wait()
        self.note(message)
        return None

    def note(self, message: object) -> None:
        self.notes.append(message)
        self.senders.append(SENDER.get())

    def send(self, message: object) -> bool:
        """Let the actor handle a message at once, or tell it. Return whether it was handled at once."""
        handled = self.life.handle_at_once(self.note, message)
        if not handled:
            self.ref.tell_nowait(message)
        return handled


async def hired(system: ActorSystem) -> Clerk:
    """Spawn a clerk, and return the instance."""
    clerk = Clerk()
    await system.spawn(lambda: clerk)
    await trio.testing.wait_all_tasks_blocked()
    return clerk


async def test_waiting_actor_handles_a_message_at_once() -> None:
    """An actor that waits handles a message before the call returns, with its own context variables, and counts it."""
    async with open_system() as system:
        clerk = await hired(system)
        SENDER.set("a client")
        assert clerk.send("one")
        assert (clerk.notes, clerk.senders) == (["one"], ["nobody"])
        statistics = clerk.ref.statistics()
        assert (statistics.handled, statistics.mailbox.accepted) == (1, 1)


async def test_messages_keep_their_order() -> None:
    """While the actor handles a message, or messages wait for it, a message is not handled at once: it comes last."""
    async with open_system() as system:
        clerk = await hired(system)
        clerk.ref.tell_nowait("first")
        assert not clerk.send("wait")
        await trio.testing.wait_all_tasks_blocked()
        assert not clerk.send("third")
        clerk.gate.set()
        assert not clerk.send("fourth")
        await trio.testing.wait_all_tasks_blocked()
        assert clerk.send("fifth")
        assert clerk.notes == ["first", "wait", "third", "fourth", "fifth"]


async def test_message_within_a_message_waits() -> None:
    """A message that is sent while another is handled at once is handled after it, from the mailbox."""
    async with open_system() as system:
        clerk = await hired(system)
        sent: list[bool] = []

        def note(message: object) -> None:
            sent.append(clerk.send("inner"))
            clerk.note(message)

        assert clerk.life.handle_at_once(note, "outer")
        await trio.testing.wait_all_tasks_blocked()
        assert (sent, clerk.notes) == ([False], ["outer", "inner"])


async def test_no_message_is_handled_at_once_elsewhere() -> None:
    """In a thread, outside of a task, deep in the stack and after the end of the actor, nothing is handled at once."""
    async with open_system() as system:
        clerk = await hired(system)

        def handled() -> bool:
            return clerk.life.handle_at_once(clerk.note, "one")

        def deep(calls: int) -> bool:
            return deep(calls - 1) if calls else handled()

        outside: list[bool] = []

        class Between(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                outside.append(handled())

        trio.lowlevel.add_instrument(between := Between())
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(between)
        assert set(outside) == {False}
        assert (await trio.to_thread.run_sync(handled), deep(600)) == (False, False)
        assert handled()
        await clerk.ref.stop()
        assert (handled(), clerk.notes) == (False, ["one"])


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failure_at_once_ends_only_the_actor(failure: Callable[..., None]) -> None:
    """If the handling of a message raises anything, the actor fails and the message is lost. The sender goes on."""
    async with open_system() as system:
        clerk = await hired(system)
        with system.dead_letters() as letters:
            assert clerk.life.handle_at_once(failure, "one")
            assert isinstance(await clerk.ref.terminated(), Failure)
            assert (await anext(letters)).message == "one"
        assert clerk.ref.statistics().failed == 1


async def test_scope_left_open_at_once_ends_only_the_actor() -> None:
    """If the handling of a message leaves a cancel scope open, the sender's task leaves it, and the actor fails."""
    async with open_system() as system:
        clerk = await hired(system)
        scopes = [trio.CancelScope(), trio.CancelScope()]

        def leave_open(_: object) -> None:
            for scope in scopes:
                scope.__enter__()

        with trio.CancelScope() as around:
            assert copy_context().run(clerk.life.handle_at_once, leave_open, "one")
            scopes[0].cancel()
            await trio.lowlevel.checkpoint()
        assert not around.cancelled_caught
        assert isinstance(await clerk.ref.terminated(), Failure)
