"""Failed actors: the exit reason keeps the text of the traceback, and frees the local variables of its frames."""

from __future__ import annotations

import gc
import traceback
import weakref
from typing import TYPE_CHECKING

import trio
import trio.testing
from _probes import Member, World

from actors import Actor, Failure, open_system
from actors.runtime._frames import let_go_of_frames

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors import ActorRef


class Message:
    """A message to which weak references are possible."""


class FailsOnMessages(Actor):
    """An actor that fails on every message, with a group of exceptions that have a cause."""

    async def receive(self, message: object) -> None:
        try:
            self.look_at(message)
        except LookupError as error:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail, message)
                raise ValueError("with a cause") from error

    def look_at(self, message: object) -> None:
        raise LookupError("not found")

    async def fail(self, message: object) -> None:
        raise OSError("in a task")


async def test_failure_frees_instance_and_message() -> None:
    """After a failure, the actor's instance and message are freed without the garbage collector.

    The text of the traceback is kept in the exit reason.
    """
    instances: weakref.WeakSet[Actor] = weakref.WeakSet()
    messages: weakref.WeakSet[Message] = weakref.WeakSet()

    def make() -> Actor:
        actor = FailsOnMessages()
        instances.add(actor)
        return actor

    async def fail(ref: ActorRef) -> None:
        message = Message()
        messages.add(message)
        await ref.tell(message)

    async with open_system() as system:
        gc.collect()
        gc.disable()
        try:
            ref = await system.spawn(make)
            await fail(ref)
            reason = await ref.terminated()
            await trio.testing.wait_all_tasks_blocked()
            assert (len(instances), len(messages)) == (0, 0)
        finally:
            gc.enable()
        assert isinstance(reason, Failure)
        text = "".join(traceback.format_exception(reason.exception))
        for part in ("with a cause", "in a task", "not found", "in look_at", "in fail", 'raise OSError("in a task")'):
            assert part in text


async def test_failure_does_not_clear_frames_in_use() -> None:
    """If an actor fails with an error that a waiting task has caught, that task keeps its local variables."""
    world = World()

    async def careful(_: Member) -> object:
        kept = "what it kept"
        try:
            raise LookupError("first")  # noqa: TRY301  -- caught where it is raised
        except LookupError as error:
            await fragile.tell(error)
            await fragile.terminated()
        return kept

    async with open_system() as system:
        fragile = await system.spawn(Member, "fragile", world)
        ref = await system.spawn(Member, "careful", world)
        assert await ref.ask(careful) == "what it kept"


def test_only_finished_frames_are_cleared() -> None:
    """Local variables are cleared only in frames of finished code, not of suspended generators or running code.

    This also holds if the exceptions cause each other in a cycle.
    """

    def generator() -> Generator[BaseException, None, str]:
        kept = "kept"
        try:
            raise LookupError("caught")  # noqa: TRY301  -- caught where it is raised
        except LookupError as error:
            yield error
        return kept

    def fail(value: object) -> None:
        raise ValueError("failed")

    waiting = generator()
    error = next(waiting)
    held = Message()
    reference = weakref.ref(held)
    try:
        fail(held)
    except ValueError as failure:
        failure.__cause__, error.__context__ = error, failure
        del held
        assert reference() is not None
        let_go_of_frames(failure)
        assert reference() is None
    try:
        next(waiting)
    except StopIteration as end:
        assert end.value == "kept"  # noqa: PT017  -- a generator ends by raising
