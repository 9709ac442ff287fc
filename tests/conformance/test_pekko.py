"""What Pekko's tests hold backoff, stash, ask, restarts and death watch to."""

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


async def test_backoff_doubles_from_1_s_to_2_s(autojump_clock: MockClock) -> None:
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


async def test_backoff_begins_again_after_a_time_of_health(autojump_clock: MockClock) -> None:
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
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 3), max_restarts=100)
        ref = child(await system.supervise(spec), "a")
        for expected in (1, 2, 3, 3):
            begin = autojump_clock.current_time()
            await crash(ref)
            await ref.ask("up")
            assert trio.current_time() - begin == pytest.approx(expected)


async def test_messages_wait_in_the_mailbox_during_a_backoff(autojump_clock: MockClock) -> None:
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


async def test_a_sender_waits_while_the_mailbox_is_full_during_a_backoff(autojump_clock: MockClock) -> None:
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
async def test_a_mailbox_that_is_full_during_a_backoff_does_what_its_policy_says_and_no_less(
    overflow: Overflow, handled: list[int], autojump_clock: MockClock
) -> None:
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


async def test_repeated_failures_within_the_limit_end_the_supervisor(autojump_clock: MockClock) -> None:
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


async def test_a_full_stash_raises_and_the_message_is_still_in_hand() -> None:
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


async def test_what_was_stashed_comes_first_and_in_order() -> None:
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


async def test_a_restart_puts_the_stash_back_before_the_mailbox() -> None:
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


async def test_children_have_stopped_before_the_new_incarnation_starts() -> None:
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


async def test_asking_a_terminated_actor_fails_at_once(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.stop()
        begin = autojump_clock.current_time()
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask("hello", timeout=100)
        assert trio.current_time() == pytest.approx(begin)
        assert caught.value.reason == Shutdown()


async def test_an_ask_fails_at_once_when_its_target_ends(autojump_clock: MockClock) -> None:
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


async def test_a_late_reply_is_a_dead_letter(autojump_clock: MockClock) -> None:
    async def stubborn(_: Member) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return "late"

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with system.dead_letters() as letters:
            with pytest.raises(AskTimeout):
                await ref.ask(stubborn, timeout=1)
            letter = await anext(letters)
        assert (letter.message, letter.path, letter.why) == ("late", ref.path, Undelivered.LATE_REPLY)
        assert await ref.ask("next") == "next"
        assert autojump_clock.autojump_threshold == 0


class Watcher(Actor):
    """Watches what it is told; knows no Terminated when it is ``strict``."""

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


async def test_a_watcher_that_does_not_handle_the_end_dies_of_it() -> None:
    async with open_system() as system:
        watcher = await system.spawn(lambda: Watcher(strict=True))
        target = await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await target.stop()
        reason = await watcher.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, DeathPact)


async def test_an_end_is_told_once_however_often_it_was_watched() -> None:
    async with open_system() as system:
        watcher, target = await system.spawn(Watcher), await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await watcher.ask(target)
        await target.stop()
        assert await watcher.ask("news") == (Terminated(target, Shutdown()),)


async def test_nothing_is_told_after_unwatch_not_even_what_waits() -> None:
    async with open_system() as system:
        watcher, target = await system.spawn(Watcher), await system.spawn(Member, "a", World())
        await watcher.ask(target)
        await watcher.ask((target,))
        await target.stop()
        assert await watcher.ask("news") == ()

        dead = target

        class Fickle(Watcher):
            async def started(self) -> None:
                self.context.watch(dead)
                self.context.unwatch(dead)

        fickle = await system.spawn(Fickle)
        assert await fickle.ask("news") == ()


async def test_a_restart_is_no_end_and_its_watches_go_with_the_incarnation() -> None:
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


async def test_timers_of_the_old_incarnation_never_reach_the_new_one(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)

        async def set_timers(member: Member) -> None:
            member.context.timers.once("later", "old once", 5)
            member.context.timers.once("now", "old due", 0)
            member.context.timers.every("again", "old every", 1)
            # "now" and "again" become due while this message is in hand, which then fails.
            await trio.sleep(2)
            raise ValueError("crash")

        await crash(ref, None)
        await ref.tell(set_timers)
        await trio.sleep(20)
        assert world.received == []
        assert ref.statistics().timers == 0
        assert ref.statistics().restarts == 2
        assert autojump_clock.autojump_threshold == 0


async def test_a_cancelled_timer_does_not_come_even_if_it_is_due(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)

        async def change_its_mind(member: Member) -> None:
            timers = member.context.timers
            timers.once("a", "cancelled", 1)
            timers.once("b", "replaced", 1)
            await trio.sleep(2)
            assert timers.cancel("a")
            assert not timers.cancel("a")
            timers.once("b", "kept", 1)
            assert "b" in timers

        await ref.tell(change_its_mind)
        await trio.sleep(10)
        assert world.received == ["kept"]
        assert autojump_clock.autojump_threshold == 0


async def test_a_slow_actor_skips_beats_of_a_periodic_timer(autojump_clock: MockClock) -> None:
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
        # Beats at 1, 2, 3, …; while one is handled for 2.5 s those that fall due are one.
        assert [tick - begin for tick in ticks] == pytest.approx([1, 3.5, 6, 8.5])


async def test_a_shutdown_waits_for_stopping(autojump_clock: MockClock) -> None:
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
