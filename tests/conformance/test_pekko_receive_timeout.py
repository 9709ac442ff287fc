"""Idle time, after ReceiveTimeoutSpec of Pekko."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.sleepers import Sleeper, idle_times, message, settle

from actors import (
    Actor,
    Idle,
    Restart,
    SpecError,
    Terminated,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


# ReceiveTimeoutSpec


async def test_idle_actor_is_told_again_and_again(autojump_clock: MockClock) -> None:
    """Spec "get timeout" and "carry the configured timeout duration". It comes again after each further idle time."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        await system.spawn(Sleeper, got, 5)
        await trio.sleep(16)
    assert got == [(5, Idle(5)), (10, Idle(5)), (15, Idle(5))]
    assert autojump_clock.autojump_threshold == 0


async def test_each_message_begins_a_new_idle_time(autojump_clock: MockClock) -> None:
    """Spec "reschedule timeout after regular receive"."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        for number in range(4):
            await trio.sleep(4)
            await ref.tell(number)
        await trio.sleep(5.5)
    assert idle_times(got) == [21]
    assert autojump_clock.autojump_threshold == 0


async def test_handling_a_message_is_no_idle_time(autojump_clock: MockClock) -> None:
    """The idle time begins at the end of the last message, as in Pekko, and an ask counts as a tell does."""
    got: list[tuple[float, object]] = []

    async def work(_: Sleeper) -> None:
        await trio.sleep(60)

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        await ref.ask(work)
        await ref.tell(work)
        await trio.sleep(66)
    assert idle_times(got) == [125]
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("off", [None, 0, 0.0])
async def test_idle_messages_can_be_switched_off(off: float | None, autojump_clock: MockClock) -> None:
    """Spec "be able to turn off timeout if desired". It can be switched on again."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        await trio.sleep(6)
        await ref.ask(message(lambda sleeper: sleeper.context.idle_after(off)))
        assert ref.statistics().timers == 0
        await trio.sleep(60)
        assert idle_times(got) == [5]
        await ref.ask(message(lambda sleeper: sleeper.context.idle_after(2)))
        assert ref.statistics().timers == 1
        await trio.sleep(3)
    assert idle_times(got) == [5, 68]
    assert autojump_clock.autojump_threshold == 0


async def test_no_idle_messages_unless_asked_for(autojump_clock: MockClock) -> None:
    """Spec "not receive timeout message when not specified"."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got)
        await ref.ask(message(lambda sleeper: sleeper.context.idle_after(None)))
        await trio.sleep(1_000)
        assert ref.statistics().timers == 0
    assert not got
    assert autojump_clock.autojump_threshold == 0


async def test_messages_that_do_not_count(autojump_clock: MockClock) -> None:
    """Spec "get timeout while receiving NotInfluenceReceiveTimeout messages". Here ``receive`` says that one is so."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        for _ in range(6):
            await trio.sleep(2)
            await ref.ask("transparent")
    assert idle_times(got) == [5, 10]
    assert autojump_clock.autojump_threshold == 0


async def test_handler_that_does_not_count_does_not_delay(autojump_clock: MockClock) -> None:
    """An Idle that becomes due while such a message is handled comes right after it, not an idle time later."""
    got: list[tuple[float, object]] = []

    async def health_check(sleeper: Sleeper) -> None:
        sleeper.context.stay_idle()
        await trio.sleep(2)

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        await trio.sleep(4)
        await ref.ask(health_check)
        await trio.sleep(1)
    assert idle_times(got) == [6]
    assert autojump_clock.autojump_threshold == 0


async def test_own_timers_do_not_count(autojump_clock: MockClock) -> None:
    """Spec "… scheduled with Timers". In Pekko a timer's message counts unless it is marked; here it never does."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        await ref.ask(message(lambda sleeper: sleeper.context.timers.every("tick", "tick", 2)))
        await trio.sleep(11)
    assert idle_times(got) == [5, 10]
    assert [time for time, each in got if each == "tick"] == [2, 4, 6, 8, 10]
    assert autojump_clock.autojump_threshold == 0


async def test_idle_time_can_begin_in_any_handler(autojump_clock: MockClock) -> None:
    """Spec "be able to turn on timeout in NotInfluenceReceiveTimeout message handler". The last call counts."""
    got: list[tuple[float, object]] = []

    async def turn_on(sleeper: Sleeper) -> None:
        for seconds in (1, 10, 5):
            sleeper.context.idle_after(seconds)
        sleeper.context.stay_idle()

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got)
        await trio.sleep(3)
        await ref.ask(turn_on)
        await trio.sleep(6)
    assert idle_times(got) == [8]
    assert autojump_clock.autojump_threshold == 0


async def test_restarted_actor_asks_again(autojump_clock: MockClock) -> None:
    """Spec "get the timeout when scheduled immediately on restart". The old incarnation's does not reach the new."""
    got: list[tuple[float, object]] = []
    idle: list[float] = [5, 7]

    class Restarted(Sleeper):
        async def started(self) -> None:
            if idle:
                self.context.idle_after(idle.pop(0))

    async with open_system() as system:
        ref = await system.spawn(Restarted, got, restart=Restart.PERMANENT)
        await trio.sleep(4)
        await ref.tell(ValueError("crash"))
        await trio.sleep(8)
        assert idle_times(got) == [11]
        await ref.tell(ValueError("crash"))
        await settle()
        assert ref.statistics().timers == 0
        await trio.sleep(60)
    assert idle_times(got) == [11]
    assert autojump_clock.autojump_threshold == 0


async def test_stopping_actor_is_not_told(autojump_clock: MockClock) -> None:
    """Spec "Will cancel receive timeout task if stopped". An actor that drains its mailbox is not told either."""
    got: list[tuple[float, object]] = []

    async def answer_later(sleeper: Sleeper) -> object:
        reply = sleeper.context.defer()

        async def answer() -> None:
            await trio.sleep(60)
            reply.send("late")

        sleeper.nursery.start_soon(answer)
        return reply

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Sleeper, got, 5, shutdown=100)
        nursery.start_soon(ref.ask, answer_later)
        await settle()
        await ref.stop(drain=True)
        assert ref.statistics().timers == 0
        await trio.sleep(60)
    assert not got
    assert autojump_clock.autojump_threshold == 0


# Beyond Pekko


async def test_no_message_waits_while_idle_is_handled(autojump_clock: MockClock) -> None:
    """Pekko warns that a message may be enqueued before the ReceiveTimeout is. Here such an Idle is withdrawn."""
    got: list[tuple[float, object]] = []

    class LastMoment(trio.abc.Instrument):
        """Sends a message when the actor has been woken for its Idle, and has not run yet."""

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if task.name == "idle time" and trio.current_time() == 5 and not ref.statistics().mailbox.accepted:
                ref.tell_nowait("just in time")

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        trio.lowlevel.add_instrument(instrument := LastMoment())
        await trio.sleep(12)
        trio.lowlevel.remove_instrument(instrument)
    assert got == [(5, "just in time"), (10, Idle(5))]
    assert autojump_clock.autojump_threshold == 0


async def test_lease_and_deferred_ask_are_no_idle_time(autojump_clock: MockClock) -> None:
    """An actor with a lease, or one that owes an answer, is busy. The idle time begins when that has ended."""
    got: list[tuple[float, object]] = []

    async def work_aside(sleeper: Sleeper) -> object:
        async def work(answer: Callable[[object], None]) -> None:
            with sleeper.context.lease():
                await trio.sleep(20)
            await trio.sleep(4)
            answer("done")

        reply = sleeper.context.defer()
        sleeper.nursery.start_soon(work, reply.send)
        return reply

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        assert await ref.ask(work_aside) == "done"
        await trio.sleep(6)
        assert idle_times(got) == [29]

        async def lease(sleeper: Sleeper) -> None:
            async def hold() -> None:
                with sleeper.context.lease():
                    await trio.sleep(20)

            sleeper.nursery.start_soon(hold)

        await ref.ask(lease)
        await trio.sleep(26)
    assert idle_times(got) == [29, 55]
    assert autojump_clock.autojump_threshold == 0


async def test_events_and_ends_count(autojump_clock: MockClock) -> None:
    """An event, and the end of a watched actor, begin a new idle time, unless the handler says otherwise."""
    got: list[tuple[float, object]] = []

    async def follow(sleeper: Sleeper) -> None:
        sleeper.context.subscribe(str)
        sleeper.context.watch(other)

    async with open_system() as system:
        other = await system.spawn(Actor)
        ref = await system.spawn(Sleeper, got, 5)
        await ref.ask(follow)
        await trio.sleep(4)
        system.events.publish("news")
        await trio.sleep(4)
        await other.stop()
        await trio.sleep(4)
        system.events.publish("transparent")
        await trio.sleep(2)
    assert [type(each) for _, each in got] == [str, Terminated, str, Idle]
    assert idle_times(got) == [13]
    assert autojump_clock.autojump_threshold == 0


async def test_idle_that_is_not_handled(autojump_clock: MockClock) -> None:
    """An Idle for which ``receive`` returns UNHANDLED is a dead letter, and so is one on which the actor fails."""

    class Careless(Actor):
        async def started(self) -> None:
            self.context.idle_after(1)

    class Fragile(Careless):
        async def receive(self, message: object) -> object:
            raise ValueError(message)

    async with open_system() as system:
        with system.dead_letters() as letters:
            await system.spawn(Careless)
            await system.spawn(Fragile)
            await trio.sleep(1.5)
            assert {(each.message, each.why) for each in letters.events} == {
                (Idle(1), Undelivered.UNHANDLED),
                (Idle(1), Undelivered.FAILED),
            }
    assert autojump_clock.autojump_threshold == 0


async def test_message_that_is_handled_at_once_counts(autojump_clock: MockClock) -> None:
    """A message that is handled in the task of its sender, as those of sessions are, begins a new idle time too."""
    from actors.runtime._incarnation import life_of  # noqa: PLC0415  -- internal: sessions call it

    got: list[tuple[float, object]] = []
    kept: list[Sleeper] = []

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 5)
        await ref.ask(message(kept.append))
        await trio.sleep(4)
        assert life_of(kept[0]).handle_at_once(lambda each: got.append((trio.current_time(), each)), "at once")
        await trio.sleep(6)
    assert got == [(4, "at once"), (9, Idle(5))]
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("wrong", [-1, "5", float("nan"), True])
async def test_wrong_idle_time(wrong: Any) -> None:
    """An idle time that is no time is a SpecError, and changes nothing."""

    async def set_wrong(sleeper: Sleeper) -> None:
        with pytest.raises(SpecError, match="seconds"):
            sleeper.context.idle_after(wrong)

    async with open_system() as system:
        ref = await system.spawn(Sleeper, [], 5)
        await ref.ask(set_wrong)
        assert ref.statistics().timers == 1
