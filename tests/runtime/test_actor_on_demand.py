"""What an actor has is made when it is needed; nobody can tell, except by what it costs."""

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

WHO = contextvars.ContextVar("WHO", default="nobody")


class Plain(Actor):
    """An actor without ``started()``: it is up as soon as it was made."""

    async def receive(self, message: object) -> object:
        return await message(self) if callable(message) else message


class Farewell(Plain):
    """One that says goodbye."""

    def __init__(self, said: list[ExitReason], seconds: float = 0) -> None:
        self.said = said
        self.seconds = seconds

    async def stopping(self, reason: ExitReason) -> None:
        self.said.append(reason)
        await trio.sleep(self.seconds)


async def test_a_nursery_first_used_deep_inside_a_message_outlives_that_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
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


async def test_a_task_of_a_late_nursery_that_fails_ends_the_actor() -> None:
    error = OSError("no")

    async def fail() -> None:
        raise error

    async def begin(actor: Plain) -> None:
        actor.nursery.start_soon(fail)

    async with open_system() as system:
        ref = await system.spawn(Plain)
        await ref.tell(begin)
        assert await ref.terminated() == Failure(error)


async def test_giving_up_an_ask_cancels_no_task_and_no_later_message(autojump_clock: trio.testing.MockClock) -> None:
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


async def test_an_ask_given_up_while_it_is_not_waiting_leaves_the_next_ones_alone() -> None:
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


async def test_a_first_instance_that_cannot_be_made_leaves_nothing() -> None:
    def fail() -> Actor:
        raise OSError("no")

    async with open_system() as system:
        with pytest.raises(OSError, match="no"):
            await system.spawn(fail, name="a")
        assert (system.statistics().actors, system.find("/a")) == (0, None)
        assert await (await system.spawn(Plain, name="a")).ask(1) == 1


async def test_what_an_instance_sets_in_its_context_is_seen_by_its_actor_alone() -> None:
    class Named(Plain):
        def __init__(self) -> None:
            WHO.set("actor")

    async def who(_: Plain) -> str:
        return WHO.get()

    async with open_system() as system:
        ref = await system.spawn(Named)
        assert (WHO.get(), await ref.ask(who)) == ("nobody", "actor")


@pytest.mark.parametrize("drain", [False, True])
async def test_an_actor_stopped_before_its_task_has_run_says_goodbye_all_the_same(*, drain: bool) -> None:
    said: list[ExitReason] = []
    async with open_system() as system:
        ref = await system.spawn(Farewell, said)
        assert await ref.stop(drain=drain) == Shutdown()
        assert said == [Shutdown()]


async def test_an_actor_killed_before_its_task_has_run_does_not() -> None:
    said: list[ExitReason] = []
    async with open_system() as system:
        ref = await system.spawn(Farewell, said)
        ref.kill()
        assert await ref.terminated() == Killed()
        assert said == []


async def test_what_was_told_before_a_draining_stop_is_handled_also_by_one_that_never_ran() -> None:
    async with open_system() as system:
        ref = await system.spawn(Plain)
        ref.tell_nowait(1)
        assert await ref.stop(drain=True) == Shutdown()
        assert (ref.statistics().handled, system.statistics().dead_letters) == (1, 0)


async def test_the_time_of_a_stop_begins_with_the_stop_also_for_one_that_waited(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = await system.spawn(Farewell, [], 60)
        await trio.sleep(10)
        assert await ref.stop(timeout=2) == Killed()
    assert autojump_clock.current_time() == 12


async def test_an_answer_is_known_before_the_end_of_the_actor_that_gave_it() -> None:
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


async def test_many_spawns_in_a_row_hold_up_nobody() -> None:
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
async def test_what_an_actor_has_is_freed_with_its_end_and_a_message_when_it_was_handled(*, asked: bool) -> None:
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


async def test_an_empty_name_is_an_error_and_none_is_made_up() -> None:
    async with open_system() as system:
        with pytest.raises(SpecError, match="id must be a text"):
            await system.spawn(Plain, name="")
        with pytest.raises(SpecError, match="id must be a text"):
            await system.supervise(SupervisorSpec(), name="")
        assert (await system.spawn(Plain)).name.startswith("plain-")
