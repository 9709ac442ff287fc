"""Parts of an actor that are made only when needed: an actor works as if they were there from the start."""

from __future__ import annotations

import contextvars
import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from actors import Actor, Failure, Killed, Shutdown, SpecError, SupervisorSpec, open_system

if TYPE_CHECKING:
    from actors import ExitReason

CONTEXT_OWNER = contextvars.ContextVar("CONTEXT_OWNER", default="nobody")


class Plain(Actor):
    """An actor without ``started()``: it is up as soon as its instance is made."""

    async def receive(self, message: object) -> object:
        return await message(self) if callable(message) else message


class Farewell(Plain):
    """An actor with a ``stopping()`` that records the exit reason and sleeps."""

    def __init__(self, said: list[ExitReason], seconds: float = 0) -> None:
        self.said = said
        self.seconds = seconds

    async def stopping(self, reason: ExitReason) -> None:
        self.said.append(reason)
        await trio.sleep(self.seconds)


async def test_nursery_outlives_the_message_that_opened_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If an actor first uses its nursery while it handles a message, the nursery's tasks continue after this message.

    This holds even if the handler was inside a cancel scope.
    """
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def begin(actor: Plain) -> str:
        with trio.move_on_after(1):
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep, 0.1)
                actor.nursery.start_soon(work, "own")
                await trio.sleep_forever()
        return "left"

    async with open_system() as system:
        ref = await system.spawn(Plain)
        assert await ref.ask(begin) == "left"
        assert (ended, ref.statistics().tasks) == ([], 1)
        assert await ref.ask("still there") == "still there"
        assert await ref.stop() == Shutdown()
        assert ended == ["own"]
    assert autojump_clock.current_time() == 1


async def test_failed_task_of_a_late_nursery() -> None:
    """If an actor first uses its nursery while it handles a message, a failing task in it still ends the actor."""
    error = OSError("no")

    async def fail() -> None:
        raise error

    async def begin(actor: Plain) -> None:
        actor.nursery.start_soon(fail)

    async with open_system() as system:
        ref = await system.spawn(Plain)
        await ref.tell(begin)
        assert await ref.terminated() == Failure(error)


async def test_cancelled_ask_cancels_only_its_handler(autojump_clock: trio.testing.MockClock) -> None:
    """Cancelling an ask cancels the work for this ask, but neither tasks of the actor's nursery nor later messages."""

    async def begin(actor: Plain) -> None:
        actor.nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()

    async with open_system() as system:
        ref = await system.spawn(Plain)
        for tasks in (1, 2, 3):
            with trio.move_on_after(1) as scope:
                await ref.ask(begin)
            assert scope.cancelled_caught
            assert await ref.ask("next") == "next"
            assert (ref.statistics().tasks, ref.statistics().handled) == (tasks, 2 * tasks)
        assert ref.statistics().failed == 0
    assert autojump_clock.current_time() == 3


async def test_ask_cancelled_in_shielded_code() -> None:
    """If an ask is cancelled while its handler is shielded, the messages after it are handled and not cancelled."""

    async def busy(_: Plain) -> str:
        giving_up.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        return "late"

    async with open_system() as system:
        ref = await system.spawn(Plain)
        with system.dead_letters() as letters:
            with trio.CancelScope() as giving_up:
                await ref.ask(busy)
            assert giving_up.cancelled_caught
            assert await ref.ask("next") == "next"
            assert (await anext(letters)).message == "late"
            assert ref.statistics().handled == 2


async def test_failing_factory_leaves_no_entry() -> None:
    """If the factory raises, ``spawn`` raises the same error, and the name can be used again."""

    def fail() -> Actor:
        raise OSError("no")

    async with open_system() as system:
        with pytest.raises(OSError, match="no"):
            await system.spawn(fail, name="a")
        assert (system.statistics().actors, system.find("/a")) == (0, None)
        assert await (await system.spawn(Plain, name="a")).ask(1) == 1


async def test_context_variables_of_an_actor() -> None:
    """If an actor's ``__init__()`` sets a context variable, only this actor sees the new value."""

    class Named(Plain):
        def __init__(self) -> None:
            CONTEXT_OWNER.set("actor")

    async def context_owner(_: Plain) -> str:
        return CONTEXT_OWNER.get()

    async with open_system() as system:
        ref = await system.spawn(Named)
        assert (CONTEXT_OWNER.get(), await ref.ask(context_owner)) == ("nobody", "actor")


@pytest.mark.parametrize("drain", [False, True])
async def test_stop_before_the_first_step(*, drain: bool) -> None:
    """If an actor without ``started()`` is stopped before its task first runs, its ``stopping()`` is still called."""
    said: list[ExitReason] = []
    async with open_system() as system:
        ref = await system.spawn(Farewell, said)
        assert await ref.stop(drain=drain) == Shutdown()
        assert said == [Shutdown()]


async def test_kill_before_the_first_step() -> None:
    """If an actor is killed before its task first runs, its ``stopping()`` is not called."""
    said: list[ExitReason] = []
    async with open_system() as system:
        ref = await system.spawn(Farewell, said)
        ref.kill()
        assert await ref.terminated() == Killed()
        assert said == []


async def test_drain_before_the_first_step() -> None:
    """A stop that drains the mailbox handles the messages sent before, even if the actor's task has not run yet."""
    async with open_system() as system:
        ref = await system.spawn(Plain)
        ref.tell_nowait(1)
        assert await ref.stop(drain=True) == Shutdown()
        assert (ref.statistics().handled, system.statistics().dead_letters) == (1, 0)


async def test_stop_deadline_of_an_idle_actor(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The timeout of a stop begins with the call of ``stop``, even if the actor has not run at all since its start."""
    async with open_system() as system:
        ref = await system.spawn(Farewell, [], 60)
        await trio.sleep(10)
        assert await ref.stop(timeout=2) == Killed()
    assert autojump_clock.current_time() == 12


async def test_answer_arrives_before_the_end() -> None:
    """If an actor answers its last ask before a stop, the caller gets the answer before the actor's end is visible."""
    async with open_system() as system:
        for _ in range(20):
            ref = await system.spawn(Plain)
            seen: list[object] = []

            async def ask(ref: object = ref, seen: list[object] = seen) -> None:
                seen.append(await ref.ask("reply"))  # type: ignore[attr-defined]  # bound above

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                while not ref.statistics().mailbox.accepted:
                    await trio.lowlevel.checkpoint()
                seen.append(await ref.stop(drain=True))
            assert seen == ["reply", Shutdown()]


async def test_many_spawns_let_others_run() -> None:
    """A task that spawns many actors in a row lets other tasks run."""
    async with open_system() as system:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            for _ in range(640):
                await system.spawn(Plain)
            nursery.cancel_scope.cancel()
        assert turns >= 8


@pytest.mark.parametrize("asked", [False, True])
async def test_instance_and_message_are_freed(*, asked: bool) -> None:
    """A message is freed from memory after it is handled. An actor's instance is freed after the actor has ended."""

    class Thing:
        pass

    class Holder(Plain):
        def __init__(self) -> None:
            self.thing = Thing()
            held.append(weakref.ref(self.thing))

    held: list[weakref.ref[Thing]] = []
    async with open_system() as system:
        ref = await system.spawn(Holder)
        if asked:
            message = Thing()
            held.append(weakref.ref(message))
            await ref.ask(message)
            del message
            await trio.testing.wait_all_tasks_blocked()
            assert held[1]() is None
        await ref.stop()
        assert held[0]() is None


async def test_empty_name_is_refused() -> None:
    """``spawn`` refuses an empty name. Without a name, the runtime makes one from the name of the class."""
    async with open_system() as system:
        with pytest.raises(SpecError, match="id must be a text"):
            await system.spawn(Plain, name="")
        with pytest.raises(SpecError, match="id must be a text"):
            await system.supervise(SupervisorSpec(), name="")
        assert (await system.spawn(Plain)).name.startswith("plain-")
