"""Backoff, stash and restarts, after Pekko's tests."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, supervise_below_another

from actors import (
    Actor,
    Backoff,
    Failure,
    MailboxFull,
    MailboxSpec,
    Overflow,
    Restart,
    RestartLimit,
    StashFull,
    SupervisorSpec,
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
