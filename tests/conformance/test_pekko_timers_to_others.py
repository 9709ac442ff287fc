"""Timers to other actors, after TimerSpec and the scheduler of Pekko, and the timers of tapio-py."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.sleepers import Sleeper, message, settle

from actors import (
    Actor,
    ActorRef,
    Overflow,
    Restart,
    Routing,
    SpecError,
    Undelivered,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from actors import ActorSystem, ExitReason


# ActorContext.scheduleOnce and the classic scheduler


class Sender(Actor):
    """An actor that calls its messages with itself."""

    async def receive(self, message: Callable[[Sender], object]) -> object:
        return message(self)


async def test_timer_for_another_actor(autojump_clock: MockClock) -> None:
    """ActorContext.scheduleOnce and Erlang's send_after: a message goes to another actor later, once or repeatedly."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got)
        sender = await system.spawn(Sender)
        await sender.ask(lambda each: each.context.timers.once("one", "once", 3, to=ref))
        await sender.ask(lambda each: each.context.timers.every("two", "again", 2, to=ref))
        assert sender.statistics().timers == 2
        await trio.sleep(5)
        assert got == [(2, "again"), (3, "once"), (4, "again")]
        assert sender.statistics().timers == 1
        assert await sender.ask(lambda each: each.context.timers.cancel("one")) is False
        assert await sender.ask(lambda each: each.context.timers.cancel("two")) is True
        await trio.sleep(5)
        assert len(got) == 3
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("end", ["stop", "restart", "kill"])
async def test_timer_ends_with_its_owner(end: str, autojump_clock: MockClock) -> None:
    """Spec "cancel timers when stopped" and "discard timers from old incarnation". In Erlang and Pekko's scheduler a
    message for another actor is sent even if the sender has ended.
    """
    got: list[tuple[float, object]] = []

    def crash(_: Sender) -> None:
        raise ValueError("crash")

    async with open_system() as system:
        ref = await system.spawn(Sleeper, got)
        sender = await system.spawn(Sender, restart=Restart.TRANSIENT)
        await sender.ask(lambda each: each.context.timers.every("beat", "beat", 2, to=ref))
        await trio.sleep(3)
        if end == "stop":
            await sender.stop()
        elif end == "kill":
            sender.kill()
        else:
            await sender.tell(crash)
        await trio.sleep(10)
        assert sender.statistics().timers == 0
    assert got == [(2, "beat")]
    assert autojump_clock.autojump_threshold == 0


async def test_timer_for_an_actor_that_has_ended(autojump_clock: MockClock) -> None:
    """A message for an actor that has ended is a dead letter with that actor's path. The owner of the timer lives."""
    async with open_system() as system:
        ref = await system.spawn(Sleeper, [], name="target")
        sender = await system.spawn(Sender)
        with system.dead_letters() as letters:
            await sender.ask(lambda each: each.context.timers.every("beat", "beat", 2, to=ref))
            await ref.stop()
            await trio.sleep(3)
            [letter] = letters.events
            assert (letter.message, letter.path, letter.why) == ("beat", "/target", Undelivered.TERMINATED)
        assert sender.alive
    assert autojump_clock.autojump_threshold == 0


async def full_sleeper(
    system: ActorSystem,
    got: list[tuple[float, object]],
    wait: Callable[[], Awaitable[object]],
    overflow: Overflow = Overflow.WAIT,
) -> ActorRef:
    """Return an actor that waits by ``wait``, and whose mailbox is full with the message "first"."""

    async def hang(_: Sleeper) -> None:
        await wait()

    ref = await system.spawn(Sleeper, got, mailbox_size=1, overflow=overflow)
    await ref.tell(hang)
    await settle()
    await ref.tell("first")
    return ref


async def test_full_mailbox_does_not_hold_up_the_owner(autojump_clock: MockClock) -> None:
    """One message of a timer waits for room, and later beats are skipped. Other timers and messages go on."""
    got: list[tuple[float, object]] = []
    ticks: list[float] = []

    class Owner(Sender):
        async def receive(self, message: Any) -> object:
            if message == "own":
                ticks.append(trio.current_time())
                return None
            return await super().receive(message)

    async with open_system() as system:
        ref = await full_sleeper(system, got, partial(trio.sleep, 9.5))
        sender = await system.spawn(Owner)
        await sender.ask(lambda each: each.context.timers.every("beat", "beat", 2, to=ref))
        await sender.ask(lambda each: each.context.timers.every("own", "own", 3))
        await trio.sleep(9)
        assert ref.statistics().mailbox.senders_waiting == 1
        assert await sender.ask(lambda _: "at once") == "at once"
        await trio.sleep(1.5)
    assert ticks == [3, 6, 9]
    assert got == [(9.5, "first"), (9.5, "beat"), (10, "beat")]
    assert autojump_clock.autojump_threshold == 0


async def test_message_that_waits_for_room_ends_with_the_timer(autojump_clock: MockClock) -> None:
    """A timer that is cancelled, or whose owner ends, while its message waits for room sends nothing."""
    got: list[tuple[float, object]] = []

    async with open_system() as system:
        ref = await full_sleeper(system, got, partial(trio.sleep, 9))
        sender = await system.spawn(Sender)
        await sender.ask(lambda each: each.context.timers.once("one", "cancelled", 1, to=ref))
        await sender.ask(lambda each: each.context.timers.once("two", "stopped", 1, to=ref))
        await trio.sleep(2)
        assert ref.statistics().mailbox.senders_waiting == 2
        assert await sender.ask(lambda each: each.context.timers.cancel("one"))
        await settle()
        assert ref.statistics().mailbox.senders_waiting == 1
        await sender.stop()
        assert ref.statistics().mailbox.senders_waiting == 0
        await trio.sleep(8)
    assert [each for _, each in got] == ["first"]
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize(
    ("overflow", "handled", "dead"),
    [
        (Overflow.REJECT, ["first"], ["beat"]),
        (Overflow.DROP_NEW, ["first"], ["beat"]),
        (Overflow.DROP_OLDEST, ["beat"], ["first"]),
    ],
)
async def test_overflow_policy_decides(
    overflow: Overflow, handled: list[str], dead: list[str], autojump_clock: MockClock
) -> None:
    """If the policy of a full mailbox is not to wait, it decides, and the lost message is a dead letter (tapio-py)."""
    got: list[tuple[float, object]] = []
    gate = trio.Event()

    async with open_system() as system:
        ref = await full_sleeper(system, got, gate.wait, overflow=overflow)
        sender = await system.spawn(Sender)
        with system.dead_letters() as letters:
            await sender.ask(lambda each: each.context.timers.once("one", "beat", 1, to=ref))
            await trio.sleep(2)
            assert [(each.message, each.why) for each in letters.events] == [
                (each, Undelivered.OVERFLOW) for each in dead
            ]
        gate.set()
        await settle()
        assert (sender.alive, sender.statistics().timers) == (True, 0)
    assert [each for _, each in got] == handled
    assert autojump_clock.autojump_threshold == 0


async def test_key_function_that_raises_does_not_end_the_owner(autojump_clock: MockClock) -> None:
    """A pool whose key function raises loses the message as a dead letter with that cause. The owner lives."""

    def no_key(_: object) -> int:
        raise LookupError("no key")

    async with open_system() as system:
        ref = await system.spawn(pool(Actor, 2, routing=Routing.CONSISTENT_HASH, key=no_key), name="pool")
        sender = await system.spawn(Sender)
        with system.dead_letters() as letters:
            await sender.ask(lambda each: each.context.timers.once("one", "beat", 1, to=ref))
            await trio.sleep(2)
            [letter] = letters.events
            assert (letter.path, letter.why, type(letter.cause)) == ("/pool", Undelivered.FAILED, LookupError)
        assert sender.alive
    assert autojump_clock.autojump_threshold == 0


async def test_timer_of_the_same_key_is_replaced(autojump_clock: MockClock) -> None:
    """Spec "replace timer". A key is one timer, for whichever actor its message is."""
    got: list[tuple[float, object]] = []

    async def set_both(sleeper: Sleeper) -> None:
        sleeper.context.timers.once("key", "to another", 1, to=other)
        sleeper.context.timers.once("key", "to itself", 2)

    async with open_system() as system:
        other: ActorRef[Any, Any] = await system.spawn(Sleeper, got)
        ref = await system.spawn(Sleeper, got)
        await ref.ask(set_both)
        await trio.sleep(3)
    assert got == [(2, "to itself")]
    assert autojump_clock.autojump_threshold == 0


async def test_timer_for_itself_by_its_handle(autojump_clock: MockClock) -> None:
    """With its own handle an actor sends through its mailbox, as in Pekko: such a message counts as activity."""
    got: list[tuple[float, object]] = []
    async with open_system() as system:
        ref = await system.spawn(Sleeper, got, 3, mailbox_size=1)
        await ref.ask(message(lambda sleeper: sleeper.context.timers.every("me", "me", 2, to=sleeper.ref)))
        await trio.sleep(7)
        assert ref.statistics().mailbox.accepted == 4
    assert [each for _, each in got] == ["me"] * 3
    assert autojump_clock.autojump_threshold == 0


async def test_wrong_target_of_a_timer() -> None:
    """A target that is no handle is a SpecError in the call, and sets no timer."""
    errors: list[type[Exception]] = []

    class Wrong(Actor):
        async def started(self) -> None:
            target: Any = "other"
            with pytest.raises(SpecError) as info:
                self.context.timers.once("one", "one", 1, to=target)
            errors.append(info.type)

        async def stopping(self, reason: ExitReason) -> None:
            with pytest.raises(RuntimeError):
                self.context.timers.once("one", "one", 1, to=self.ref)
            with pytest.raises(RuntimeError):
                self.context.idle_after(1)
            errors.append(RuntimeError)

    async with open_system() as system:
        ref = await system.spawn(Wrong)
        assert ref.statistics().timers == 0
        await ref.stop()
    assert errors == [SpecError, RuntimeError]
