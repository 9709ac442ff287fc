"""Backoff, stash, ask, restarts, watching and timers, after Pekko's tests."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, supervise_below_another

from actors import (
    UNHANDLED,
    Actor,
    ActorRef,
    ActorTerminated,
    AskTimeout,
    Backoff,
    DeathPact,
    ExitReason,
    Failure,
    MailboxFull,
    MailboxSpec,
    Overflow,
    Restart,
    RestartLimit,
    Shutdown,
    StashFull,
    SupervisorSpec,
    Terminated,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_backoff_doubles_with_each_restart(autojump_clock: MockClock) -> None:
    """The delay before a restart doubles with each failure."""
    async with open_system() as system:
        world = World()
        starts: list[float] = []

        async def note(_: Member) -> None:
            starts.append(trio.current_time())

        world.on_start["a"] = note
        spec = SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 30))
        ref = child(await system.supervise(spec), "a")
        for pause in (1, 2, 4):
            await crash(ref)
            await trio.sleep(pause)
            await trio.testing.wait_all_tasks_blocked()
        assert [later - earlier for earlier, later in pairwise(starts)] == pytest.approx([1, 2, 4])
        assert autojump_clock.autojump_threshold == 0


async def test_backoff_resets_after_a_healthy_time(autojump_clock: MockClock) -> None:
    """The delay before a restart is the minimum again after the child has run for ``healthy_after`` seconds."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 9))
        ref = child(await system.supervise(spec), "a")
        for healthy, expected in ((0, 1), (0, 2), (4.9, 4), (5.1, 1), (0, 2)):
            await trio.sleep(healthy)
            begin = autojump_clock.current_time()
            await crash(ref)
            await ref.ask("up")
            assert trio.current_time() - begin == pytest.approx(expected)


async def test_backoff_never_exceeds_its_maximum(autojump_clock: MockClock) -> None:
    """The delay before a restart never exceeds the maximum."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 3), max_restarts=100)
        ref = child(await system.supervise(spec), "a")
        for expected in (1, 2, 3, 3):
            begin = autojump_clock.current_time()
            await crash(ref)
            await ref.ask("up")
            assert trio.current_time() - begin == pytest.approx(expected)


async def test_messages_wait_during_a_backoff(autojump_clock: MockClock) -> None:
    """Messages that arrive during the delay before a restart are handled after the restart."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("a")], backoff=Backoff(10, 10)))
        ref = child(supervisor, "a")
        await crash(ref)
        for number in range(3):
            await ref.tell(number)
        assert ref.statistics().state == "restarting"
        assert world.received == []
        await trio.sleep(10)
        await ref.ask("up")
        assert world.received == [0, 1, 2, "up"]
        assert autojump_clock.autojump_threshold == 0


async def test_sender_waits_during_a_backoff(autojump_clock: MockClock) -> None:
    """If the mailbox is full while the actor waits for its restart, a sender waits for room until after the restart."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(lambda: Member("a", world), restart=Restart.PERMANENT, mailbox_size=1)
        world.fail_start("a", 2)
        supervisor = await system.supervise(SupervisorSpec(children=[world.member("b")], backoff=Backoff(5, 5)))
        waiting = child(supervisor, "b")
        await crash(waiting)
        for number in range(64):
            waiting.tell_nowait(number)
        begin = autojump_clock.current_time()
        await waiting.tell("one more")
        assert trio.current_time() - begin == pytest.approx(5)
        assert ref.alive


@pytest.mark.parametrize(
    ("overflow", "handled"), [(Overflow.REJECT, [0, 1]), (Overflow.DROP_NEW, [0, 1]), (Overflow.DROP_OLDEST, [2, 3])]
)
async def test_overflow_during_a_backoff(overflow: Overflow, handled: list[int], autojump_clock: MockClock) -> None:
    """If the mailbox becomes full while the actor waits for its restart, only the overflow policy drops messages."""
    async with open_system() as system:
        world = World()
        spec = world.member("a", mailbox=MailboxSpec(size=2, overflow=overflow))
        supervisor = await system.supervise(SupervisorSpec(children=[spec], backoff=Backoff(5, 5)))
        ref = child(supervisor, "a")
        await crash(ref)
        lost = 0
        with system.dead_letters() as letters:
            for number in range(4):
                with contextlib.suppress(MailboxFull):
                    await ref.tell(number)
                    continue
                lost += 1
            dropped = [(await anext(letters)).message for _ in range(letters.statistics().depth)]
        await trio.sleep(6)
        assert world.received == handled
        assert lost + len(dropped) == 2
        assert (lost == 2) == (overflow is Overflow.REJECT)
        assert {*handled, *dropped} == ({0, 1} if lost else {0, 1, 2, 3})
        assert autojump_clock.autojump_threshold == 0


async def test_failures_with_backoff_exceed_the_limit(autojump_clock: MockClock) -> None:
    """Failures count for the restart limit even if the supervisor waits before each restart."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 1), max_restarts=2, max_seconds=60)
        supervisor = await supervise_below_another(system, spec)
        ref = child(supervisor, "a")
        for _ in range(3):
            await crash(ref)
            await trio.sleep(1)
        reason = await supervisor.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert autojump_clock.autojump_threshold == 0


async def test_full_stash_raises() -> None:
    """If the stash is full, ``stash`` raises StashFull, and the actor can still handle the current message."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(lambda: Member("a", world), stash_size=1)
        outcomes: list[str] = []

        async def stash(member: Member) -> None:
            try:
                member.context.stash()
                outcomes.append("stashed")
            except StashFull:
                outcomes.append("full")

        await ref.tell(stash)
        await ref.tell(stash)
        await ref.ask("flush")
        assert outcomes == ["stashed", "full"]
        assert ref.statistics().stashed == 1


async def test_unstash_order() -> None:
    """Unstashed messages and asks are handled in their old order, before the messages in the mailbox."""

    class Gate(Actor):
        def __init__(self) -> None:
            self.open = False
            self.seen: list[object] = []

        async def receive(self, message: object) -> object:
            if message == "open":
                self.open = True
                self.context.unstash()
            elif message == "seen":
                return tuple(self.seen)
            elif not self.open:
                self.context.stash()
            else:
                self.seen.append(message)
                return message
            return None

    async with open_system() as system:
        ref = await system.spawn(Gate)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await ref.ask("asked"))

        async with trio.open_nursery() as nursery:
            await ref.tell(1)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            for message in (2, "open", 3):
                await ref.tell(message)
        assert await ref.ask("seen") == (1, "asked", 2, 3)
        assert answers == ["asked"]


async def test_restart_unstashes() -> None:
    """After a restart, stashed messages are handled before the messages in the mailbox."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(lambda: Member("a", world), restart=Restart.PERMANENT)

        class Later:
            def __init__(self) -> None:
                self.times = 0

            async def __call__(self, member: Member) -> None:
                self.times += 1
                if self.times == 1:
                    member.context.stash()
                else:
                    world.received.append("from the stash")

        await ref.tell(Later())
        await ref.tell(ValueError("crash"))
        await ref.tell("after")
        await ref.ask("flush")
        assert world.received == ["from the stash", "after", "flush"]


async def test_restart_waits_for_children() -> None:
    """When an actor is restarted, it starts again only after all its earlier children have stopped."""
    async with open_system() as system:
        world = World()

        async def slow(_: Member) -> None:
            await trio.testing.wait_all_tasks_blocked()

        async def spawn_child(member: Member) -> None:
            await member.context.spawn(Member, "child", world, name="child")

        world.on_start["parent"] = spawn_child
        world.on_stop["child"] = slow
        ref = await system.spawn(Member, "parent", world, restart=Restart.PERMANENT)
        world.take()
        await crash(ref)
        await ref.ask("up")
        expected = [("stop", "child"), ("stop", "parent"), ("start", "child"), ("start", "parent")]
        assert world.take() == expected


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
