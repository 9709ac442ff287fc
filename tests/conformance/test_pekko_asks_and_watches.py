"""Ask, watching, timers and stops, after Pekko's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, crash, hang

from actors import (
    UNHANDLED,
    Actor,
    ActorRef,
    ActorTerminated,
    AskTimeout,
    DeathPact,
    ExitReason,
    Failure,
    Restart,
    Shutdown,
    Terminated,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_ask_to_an_ended_actor_fails_at_once(autojump_clock: MockClock) -> None:
    """An ask to an actor that has ended raises ActorTerminated at once."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.stop()
        begin = autojump_clock.current_time()
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask("hello", timeout=100)
        assert trio.current_time() == pytest.approx(begin)
        assert caught.value.reason == Shutdown()


async def test_ask_fails_when_its_target_ends(autojump_clock: MockClock) -> None:
    """When an actor ends, the ask that it handles and the asks in its mailbox raise ActorTerminated at once."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        errors: list[ActorTerminated] = []

        async def ask(message: object) -> None:
            with pytest.raises(ActorTerminated) as caught:
                await ref.ask(message, timeout=100)
            errors.append(caught.value)

        nursery.start_soon(ask, hang)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "behind it")
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()
        ref.kill()
        await trio.testing.wait_all_tasks_blocked()
        assert len(errors) == 2
        assert trio.current_time() == pytest.approx(begin)


async def test_late_reply_is_a_dead_letter(autojump_clock: MockClock) -> None:
    """If an ask has timed out and its handler still returns a value, this value is a dead letter of kind LATE_REPLY."""

    async def sleep_shielded(_: Member) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return "late"

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with system.dead_letters() as letters:
            with pytest.raises(AskTimeout):
                await ref.ask(sleep_shielded, timeout=1)
            letter = await anext(letters)
        assert (letter.message, letter.path, letter.why) == ("late", ref.path, Undelivered.LATE_REPLY)
        assert await ref.ask("next") == "next"
        assert autojump_clock.autojump_threshold == 0


class Watcher(Actor):
    """An actor that watches the refs that it receives. If ``strict``, it returns UNHANDLED for a Terminated message."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.news: list[Terminated] = []

    async def receive(self, message: object) -> object:
        if isinstance(message, ActorRef):
            self.context.watch(message)
        elif isinstance(message, tuple):
            self.context.unwatch(message[0])
        elif isinstance(message, Terminated):
            if self.strict:
                return UNHANDLED
            self.news.append(message)
        else:
            return tuple(self.news)
        return None


async def test_unhandled_terminated_is_a_death_pact() -> None:
    """If a watcher returns UNHANDLED for a Terminated message, the watcher fails with DeathPact."""
    async with open_system() as system:
        watcher = await system.spawn(lambda: Watcher(strict=True))
        target = await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await target.stop()
        reason = await watcher.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, DeathPact)


async def test_watching_twice_notifies_once() -> None:
    """If an actor watches another actor twice, it gets only one Terminated message when that actor ends."""
    async with open_system() as system:
        watcher, target = await system.spawn(Watcher), await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await watcher.ask(target)
        await target.stop()
        assert await watcher.ask("news") == (Terminated(target, Shutdown()),)


async def test_unwatch_drops_pending_notifications() -> None:
    """After ``unwatch`` no Terminated message is delivered, not even if it already waited to be handled."""
    async with open_system() as system:
        watcher, target = await system.spawn(Watcher), await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await watcher.ask((target,))
        await target.stop()
        assert await watcher.ask("news") == ()

        dead = target

        class Unwatching(Watcher):
            async def started(self) -> None:
                self.context.watch(dead)
                self.context.unwatch(dead)

        unwatching = await system.spawn(Unwatching)
        assert await unwatching.ask("news") == ()


async def test_restart_and_watches() -> None:
    """If a watched actor is restarted, its watcher gets no Terminated message.

    If the watcher is restarted, its watches are gone.
    """
    async with open_system() as system:
        world = World()
        watcher = await system.spawn(Watcher)
        target = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)
        await watcher.ask(target)
        await crash(target)
        assert await watcher.ask("news") == ()
        assert target.statistics().watchers == 1

        async def watch(member: Member) -> None:
            member.context.watch(watcher)

        await target.ask(watch)
        assert watcher.statistics().watchers == 1
        await crash(target)
        assert watcher.statistics().watchers == 0


async def test_restart_drops_timers(autojump_clock: MockClock) -> None:
    """After a restart, an actor gets no message of an earlier timer, even if that timer was already due."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)

        async def set_timers(member: Member) -> None:
            member.context.timers.once("later", "old once", 5)
            member.context.timers.once("now", "old due", 0)
            member.context.timers.every("again", "old every", 1)
            # "now" and "again" become due while the actor handles this message, and then fails on it.
            await trio.sleep(2)
            raise ValueError("crash")

        await crash(ref, None)
        await ref.tell(set_timers)
        await trio.sleep(20)
        assert world.received == []
        assert ref.statistics().timers == 0
        assert ref.statistics().restarts == 2
        assert autojump_clock.autojump_threshold == 0


async def test_cancelled_timer_is_not_delivered(autojump_clock: MockClock) -> None:
    """If a timer is cancelled or replaced, its message is not delivered, even if the timer is already due."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)

        async def cancel_and_replace(member: Member) -> None:
            timers = member.context.timers
            timers.once("a", "cancelled", 1)
            timers.once("b", "replaced", 1)
            await trio.sleep(2)
            assert timers.cancel("a")
            assert not timers.cancel("a")
            timers.once("b", "kept", 1)
            assert "b" in timers

        await ref.tell(cancel_and_replace)
        await trio.sleep(10)
        assert world.received == ["kept"]
        assert autojump_clock.autojump_threshold == 0


async def test_slow_actor_skips_beats(autojump_clock: MockClock) -> None:
    """If an actor is too slow for a repeating timer, it gets one message for all ticks that it missed."""
    async with open_system() as system:
        ticks: list[float] = []

        class Slow(Actor):
            async def started(self) -> None:
                self.context.timers.every("tick", "tick", 1)

            async def receive(self, message: object) -> object:
                assert message == "tick"
                ticks.append(trio.current_time())
                await trio.sleep(2.5)
                return None

        begin = autojump_clock.current_time()
        ref = await system.spawn(Slow)
        await trio.sleep(10)
        await ref.stop()
        # Beats at 1, 2, 3, …; the beats that are due while one is handled for 2.5 s are merged into one.
        assert [tick - begin for tick in ticks] == pytest.approx([1, 3.5, 6, 8.5])


async def test_stop_waits_for_stopping(autojump_clock: MockClock) -> None:
    """A call of ``stop`` returns only after the actor's ``stopping()`` has returned."""
    async with open_system() as system:
        world = World()

        async def slow(_: Member) -> None:
            await trio.sleep(3)

        world.on_stop["a"] = slow
        ref = await system.spawn(Member, "a", world)
        begin = autojump_clock.current_time()
        reason: ExitReason = await ref.stop()
        assert reason == Shutdown()
        assert trio.current_time() - begin == pytest.approx(3)
