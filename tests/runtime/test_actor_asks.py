"""Asks that their callers gave up, and replies that get lost: both free their memory, and no caller waits for ever."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World
from hypothesis import given
from hypothesis import strategies as st

from actors import (
    ActorTerminated,
    AskTimeout,
    DeadLetter,
    MailboxSpec,
    Overflow,
    Reply,
    ReplyDropped,
    Restart,
    Shutdown,
    Undelivered,
    open_system,
)
from actors.runtime._mailbox import Mailbox
from actors.runtime._request import PendingAsk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorRef


class Call:
    """A message object that holds a function to call (``work``), and to which weak references are possible."""

    def __init__(self, work: Callable[[Member], Awaitable[object]]) -> None:
        self.work = work

    async def __call__(self, member: Member) -> object:
        return await self.work(member)


async def ask_and_give_up(ref: ActorRef, message: object) -> weakref.ref[object]:
    """Ask an actor with a timeout of one second, and return a weak reference to the message."""
    with pytest.raises(AskTimeout):
        await ref.ask(message, timeout=1)
    await trio.lowlevel.checkpoint()  # trio keeps the value that woke a task until its next checkpoint
    return weakref.ref(message)


async def stash(member: Member) -> None:
    member.context.stash()


async def busy(_: Member) -> None:
    await trio.sleep(100)


class MailboxOwner:
    """A mailbox owner that records the items that the mailbox drops."""

    path = "/owner"

    def __init__(self) -> None:
        self.dropped: list[object] = []

    def discard(self, item: object, why: Undelivered) -> None:
        del why
        assert isinstance(item, PendingAsk)
        assert not item.done
        self.dropped.append(item)


STEPS = st.lists(st.one_of(st.sampled_from(["put", "take", "back"]), st.integers(0, 10)), max_size=60)


@given(st.integers(1, 5), st.sampled_from([Overflow.REJECT, Overflow.DROP_OLDEST]), STEPS)
def test_mailbox_holds_only_wanted_asks(size: int, overflow: Overflow, steps: list[str | int]) -> None:
    """If callers give up asks in the mailbox, its order, depth and room are as if these asks had not been sent.

    The callers may give up at any time.
    """
    owner = MailboxOwner()
    mailbox, model, dropped = Mailbox(owner, MailboxSpec(size=size, overflow=overflow)), list[PendingAsk](), 0
    for step in steps:
        if step == "put":
            request = PendingAsk("message", mailbox)
            if overflow is Overflow.DROP_OLDEST:
                mailbox.put_nowait(request)
                while len(model) >= size:
                    model.pop(0)
                    dropped += 1
                model.append(request)
            elif mailbox.offer(request):
                assert len(model) < size
                model.append(request)
            else:
                assert len(model) >= size
        elif step == "take" and model:
            assert mailbox.take() is model.pop(0)
        elif step == "back":
            model.insert(0, PendingAsk("put back"))
            mailbox.put_back([model[0]])
        elif isinstance(step, int) and step < len(model):
            request = model.pop(step)
            request.abandon()
            assert request.message is None
        assert mailbox.statistics().depth == len(model)
        assert len(mailbox.items) <= 2 * len(model)
    assert [mailbox.take() for _ in model] == model
    assert not mailbox.items
    assert len(owner.dropped) == dropped


async def test_abandoned_asks_take_no_room(autojump_clock: trio.testing.MockClock) -> None:
    """If the callers of asks give up, these asks leave the mailbox, and other messages can use their room."""
    del autojump_clock
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=2)
        await ref.tell(busy)
        await trio.testing.wait_all_tasks_blocked()
        notes = [await ask_and_give_up(ref, Call(busy)) for _ in range(2)]
        assert [note() for note in notes] == [None, None]
        assert ref.statistics().mailbox.depth == 0
        ref.tell_nowait("one")
        ref.tell_nowait("two")
        assert ref.statistics().mailbox.depth == 2
        ref.kill()


async def test_abandoned_ask_makes_room_for_a_sender(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of an ask in a full mailbox gives up, a sender that waits for room gets this room at once."""
    del autojump_clock
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World(), mailbox_size=1)
        await ref.tell(busy)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask_and_give_up, ref, Call(busy))
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(2):
            await ref.tell("second")
        ref.kill()


async def test_stash_frees_abandoned_asks(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of a stashed ask gives up, the ask leaves the stash, and does not count for ``stash_size``."""
    del autojump_clock
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), stash_size=2)
        await ref.tell(stash)
        for _ in range(5):
            note = await ask_and_give_up(ref, Call(stash))
            assert note() is None
            assert ref.statistics().stashed == 1
        assert ref.alive


async def test_unstashed_ask_can_be_abandoned(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of an ask gives up after the ask was unstashed, the ask is removed from the mailbox."""
    del autojump_clock

    async def unstash_and_wait(member: Member) -> None:
        member.context.unstash()
        await trio.sleep(10)

    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        ref = await system.spawn(Member, "a", world, mailbox_size=1)
        nursery.start_soon(ask_and_give_up, ref, stash)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(unstash_and_wait)
        await trio.sleep(5)
        assert ref.statistics().mailbox.depth == 0
        assert await ref.ask("next") == "next"
        assert world.received == ["next"]


async def test_abandoned_deferred_ask(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of a deferred ask gives up, the message is freed, and a later answer becomes a dead letter."""
    del autojump_clock
    replies: list[Reply] = []

    async def defer(member: Member) -> None:
        replies.append(member.context.defer())

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        note = await ask_and_give_up(ref, Call(defer))
        assert note() is None
        assert not replies[0].wanted
        with system.dead_letters() as letters:
            replies[0].send("too late")
            assert await anext(letters) == DeadLetter("too late", ref.path, Undelivered.LATE_REPLY)


async def test_lost_reply_raises_at_once() -> None:
    """An ask raises ReplyDropped as soon as its last Reply object is freed without an answer.

    As long as another Reply object of the ask exists, freeing one Reply has no effect.
    """
    replies: list[Reply] = []

    async def lose(member: Member) -> None:
        member.context.defer()

    async def lose_one(member: Member) -> None:
        member.context.defer()
        replies.append(member.context.defer())

    async def answer(_: Member) -> None:
        replies[0].send("found")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        with trio.fail_after(60), pytest.raises(ReplyDropped, match="/member-1 lost"):
            await ref.ask(lose)

        async def ask() -> None:
            assert await ref.ask(lose_one) == "found"

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(answer)
        await trio.testing.wait_all_tasks_blocked()
        replies.clear()


async def test_reply_freed_in_another_thread() -> None:
    """An ask raises ReplyDropped even if its Reply is freed in another thread, for example by the garbage collector."""
    held: list[Reply] = []

    async def defer(member: Member) -> None:
        held.append(member.context.defer())

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())

        async def ask() -> None:
            with pytest.raises(ReplyDropped):
                await ref.ask(defer)

        with trio.fail_after(60):
            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                await trio.to_thread.run_sync(held.clear)
        nursery.cancel_scope.cancel()


def defer_for(seconds: float) -> Callable[[Member], Awaitable[object]]:
    """Return an ask's message that a task in the actor's nursery answers with "done" later."""

    async def defer(member: Member) -> None:
        reply = member.context.defer()

        async def work() -> None:
            await trio.sleep(seconds)
            reply.send("done")

        member.nursery.start_soon(work)

    return defer


@pytest.mark.parametrize(("seconds", "answered"), [(60, True), (5, False)])
async def test_draining_stop_waits_for_deferred_replies(
    seconds: float, answered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A stop that drains the mailbox also waits for deferred replies. At its deadline it cancels the work for them."""
    del autojump_clock
    outcomes: list[object] = []

    async def ask(ref: ActorRef) -> None:
        try:
            outcomes.append(await ref.ask(defer_for(10)))
        except ActorTerminated as error:
            outcomes.append(error.reason)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        nursery.start_soon(ask, ref)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        reason = await ref.stop(drain=True, timeout=seconds)
        assert trio.current_time() - start == (10 if answered else 5)
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == (["done"] if answered else [reason])
        assert (reason == Shutdown()) is answered


async def test_draining_stop_ignores_abandoned_asks(autojump_clock: trio.testing.MockClock) -> None:
    """A stop that drains the mailbox no longer waits for deferred replies if all their callers give up.

    It also stops waiting if a stop without draining comes.
    """
    del autojump_clock

    async def ask(ref: ActorRef) -> None:
        with pytest.raises((AskTimeout, ActorTerminated)):
            await ref.ask(defer_for(50), timeout=1)

    async def stop(ref: ActorRef) -> None:
        assert await ref.stop(drain=True, timeout=60) == Shutdown()

    async with open_system() as system, trio.open_nursery() as nursery:
        for hurry in (False, True):
            ref = await system.spawn(Member, "a", World())
            nursery.start_soon(ask, ref)
            await trio.testing.wait_all_tasks_blocked()
            start = trio.current_time()
            nursery.start_soon(stop, ref)
            await trio.testing.wait_all_tasks_blocked()
            reason = await (ref.stop() if hurry else ref.terminated())
            assert reason == Shutdown()
            assert trio.current_time() - start == (0 if hurry else 1)


async def test_none_is_a_message() -> None:
    """None can be sent as a message. If the actor fails on it, it becomes a dead letter like any message."""

    class FailsOnNone(Member):
        async def receive(self, message: object) -> object:
            if message is None:
                raise LookupError("nothing")
            return await super().receive(message)

    async with open_system() as system:
        ref = await system.spawn(FailsOnNone, "a", World(), restart=Restart.PERMANENT)
        with system.dead_letters() as letters:
            await ref.tell(None)
            assert (await anext(letters)).why is Undelivered.FAILED
        assert ref.statistics().failed == 1
