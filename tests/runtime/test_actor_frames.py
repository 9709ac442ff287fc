"""What is kept of an actor that failed: its reason with the text of the traceback, and nothing that it held."""

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
    """One that can be weakly referenced."""


class Fragile(Actor):
    """Fails on every message, with a cause and in a group."""

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


async def test_a_handle_of_a_failed_actor_holds_neither_instance_nor_message() -> None:
    """Both are freed when it has ended, with the collector off, and the traceback still tells where it failed."""
    instances: weakref.WeakSet[Actor] = weakref.WeakSet()
    messages: weakref.WeakSet[Message] = weakref.WeakSet()

    def make() -> Actor:
        actor = Fragile()
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


async def test_code_that_waits_in_its_except_goes_on() -> None:
    """An exception that another task has caught, and holds while it waits, may be the cause of a failure elsewhere."""
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


def test_frames_that_are_not_left_are_not_touched() -> None:
    """Of generators and running code nothing is cleared; an exception may be its own cause."""

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
