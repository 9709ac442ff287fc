"""Replies that come later, from another actor, or from many: abandoned asks, forwards, gather, and their deadlines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import (
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    DeadLetter,
    MailboxFull,
    MessageUnhandled,
    Overflow,
    Reply,
    Restart,
    SpecError,
    Undelivered,
    gather,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from actors import ActorRef, ActorSystem

    Work = Callable[[Member], Awaitable[object]]


def forward(ref: ActorRef, *message: object, then: Work | None = None) -> Work:
    """Return a message on which a Member forwards this message (or another one), and perhaps does something else."""

    async def work(member: Member) -> object:
        await member.context.forward(ref, *message)
        return "ignored" if then is None else await then(member)

    return work


class Relay(Member):
    """A Member that forwards the text messages to another actor."""

    def __init__(self, name: str, world: World, target: ActorRef) -> None:
        super().__init__(name, world)
        self.target = target

    async def receive(self, message: object) -> object:
        if isinstance(message, str):
            return await self.context.forward(self.target)
        return await super().receive(message)


async def two(system: ActorSystem, **options: object) -> tuple[ActorRef, ActorRef]:
    """Spawn a Member with these options, and a Relay to it. Return the relay first."""
    world = World()
    target = await system.spawn(lambda: Member("target", world), name="target", **options)  # type: ignore[arg-type]  # options of spawn
    return await system.spawn(Relay, "relay", world, target, name="relay", restart=Restart.PERMANENT), target


# The asker gives up


@pytest.mark.parametrize("answered", [True, False])
async def test_abandoned_tells_how_an_ask_ended(answered: bool, autojump_clock: MockClock) -> None:
    """``reply.abandoned()`` returns True when the caller has given up, and False when there is an answer."""
    del autojump_clock
    seen: list[tuple[bool, float]] = []

    async def defer(member: Member) -> None:
        reply = member.context.defer()

        async def watch() -> None:
            seen.append((await reply.abandoned(), trio.current_time() - start))
            seen.append((await reply.abandoned(), trio.current_time() - start))

        member.nursery.start_soon(watch)
        if answered:
            member.nursery.start_soon(answer_after, reply, 1)

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        start = trio.current_time()
        if answered:
            assert await ref.ask(defer, timeout=2) == "answer"
        else:
            with pytest.raises(AskTimeout):
                await ref.ask(defer, timeout=2)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [(not answered, 1 if answered else 2)] * 2


async def answer_after(reply: Reply[str], seconds: float) -> None:
    await trio.sleep(seconds)
    reply.send("answer")


async def test_reply_to_a_tell_is_abandoned_at_once() -> None:
    """A Reply to a tell is abandoned from the start, because no caller waits."""
    seen: list[bool] = []

    async def defer(member: Member) -> None:
        seen.append(await member.context.defer().abandoned())

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.tell(defer)
        await ref.ask("next")
    assert seen == [True]


# Forwarded messages


async def test_asker_gets_the_reply_of_the_other_actor() -> None:
    """The caller of a forwarded ask gets the other actor's reply. The value that the first one returns is ignored."""
    async with open_system() as system:
        relay, target = await two(system)
        assert await relay.ask("hello") == "hello"
        assert await relay.ask(forward(target, "another")) == "another"
        assert (relay.statistics().handled, target.statistics().handled) == (2, 2)


async def test_tell_is_forwarded() -> None:
    """A forwarded tell is handled by the other actor."""
    async with open_system() as system:
        relay, target = await two(system)
        await relay.tell("hello")
        await relay.tell(forward(target, "another"))
        await relay.stop(drain=True)
        assert await target.ask("last") == "last"
        assert target.statistics().handled == 3


async def test_forward_over_several_actors() -> None:
    """An ask can be forwarded several times, also back to an actor that forwarded it."""
    async with open_system() as system:
        relay, target = await two(system)
        second = await system.spawn(Relay, "second", World(), relay)
        assert await second.ask("hello") == "hello"
        assert await target.ask(forward(target, "again")) == "again"
        assert await target.ask(forward(second, forward(second, "round"))) == "round"


async def test_abandoned_forward_cancels_the_other_actor_only(autojump_clock: MockClock) -> None:
    """If the caller gives up, the work of the other actor is cancelled. The actor that forwarded works on."""
    del autojump_clock
    cancelled: list[float] = []

    async def work(_: Member) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(trio.current_time())
            raise

    async def go_on(member: Member) -> None:
        await trio.sleep(9)
        member.world.received.append("went on")

    async with open_system() as system:
        relay, target = await two(system)
        start = trio.current_time()
        with pytest.raises(AskTimeout):
            await relay.ask(forward(target, work, then=go_on), timeout=2)
        await trio.testing.wait_all_tasks_blocked()
        assert cancelled == [start + 2]
        assert await target.ask("next") == "next"
        assert await relay.ask(forward(target, "next")) == "next"
        assert trio.current_time() == start + 9
        assert (relay.statistics().handled, target.statistics().handled) == (2, 3)


async def test_abandoned_forward_leaves_the_mailbox(autojump_clock: MockClock) -> None:
    """If the caller of a forwarded ask gives up while it is in the other mailbox, it leaves the mailbox."""
    del autojump_clock
    async with open_system() as system:
        relay, target = await two(system)
        await target.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await relay.ask("hello", timeout=2)
        assert target.statistics().mailbox.depth == 0
        target.kill()


async def test_forward_waits_for_room(autojump_clock: MockClock) -> None:
    """A forward waits while the other mailbox is full. If the caller gives up meanwhile, the ask is not passed on."""
    del autojump_clock
    async with open_system() as system, trio.open_nursery() as nursery:
        relay, target = await two(system, mailbox_size=1)

        async def sleep(_: Member) -> None:
            await trio.sleep(5)

        await target.tell(sleep)
        await trio.testing.wait_all_tasks_blocked()
        await target.tell("in the only place")
        with pytest.raises(AskTimeout):
            await relay.ask("given up", timeout=1)
        assert target.statistics().mailbox.senders_waiting == 0
        nursery.start_soon(relay.ask, "waits")
        await trio.testing.wait_all_tasks_blocked()
        assert target.statistics().mailbox.senders_waiting == 1
        assert await target.ask("last") == "last"
        assert target.statistics().handled == 4


async def test_ask_given_up_as_it_is_admitted(autojump_clock: MockClock) -> None:
    """If the caller gives up in the moment in which a waiting forward gets its room, the ask leaves the mailbox."""
    del autojump_clock
    async with open_system() as system, trio.open_nursery() as nursery:
        relay, target = await two(system, mailbox_size=1)
        scope = trio.CancelScope()

        async def give_up(_: Member) -> None:
            await trio.sleep(5)
            # When this message ends, the next one leaves the mailbox, and the forwarded ask is admitted.
            nursery.start_soon(cancel_when_admitted)

        async def cancel_when_admitted() -> None:
            while target.statistics().mailbox.senders_waiting:
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async def ask() -> None:
            with scope:
                await relay.ask("given up")

        await target.tell(give_up)
        await trio.testing.wait_all_tasks_blocked()
        await target.tell(hang)
        nursery.start_soon(ask)
        await trio.sleep(10)
        assert target.statistics().mailbox.depth == 0
        assert target.statistics().mailbox.senders_waiting == 0
        target.kill()


async def test_forward_survives_its_forwarder() -> None:
    """If the actor that forwarded an ask fails afterwards, the ask is not affected, and is no dead letter."""

    async def fail(_: Member) -> None:
        raise LookupError("after the forward")

    async with open_system() as system:
        relay, target = await two(system)
        with system.dead_letters() as letters:
            assert await relay.ask(forward(target, "hello", then=fail)) == "hello"
            assert await relay.ask("next") == "next"
            await relay.stop()
        assert [letter async for letter in letters] == []
        assert relay.statistics().restarts == 1


async def test_deferred_ask_can_be_forwarded() -> None:
    """An ask that was deferred and is then forwarded is not lost with its Reply, or with the actor."""

    async def defer_and_forward(member: Member) -> object:
        member.context.defer()
        return await member.context.forward(target, "hello")

    async with open_system() as system:
        relay, target = await two(system)
        assert await relay.ask(defer_and_forward) == "hello"
        await relay.stop(drain=True)


async def test_errors_of_the_other_actor_reach_the_asker() -> None:
    """The caller of a forwarded ask gets the errors of the other actor, from the moment of the forward on."""
    async with open_system() as system, trio.open_nursery() as nursery:
        relay, target = await two(system, restart=Restart.PERMANENT)
        with pytest.raises(ActorRestarted, match="/target"):
            await relay.ask(forward(target, LookupError("no good")))
        with pytest.raises(MessageUnhandled, match="/target"):
            await relay.ask("unknown")

        async def ask() -> None:
            with pytest.raises(ActorTerminated, match="/target"):
                await relay.ask(forward(target, hang))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await target.stop(timeout=0)


@pytest.mark.parametrize(("state", "error"), [("ended", ActorTerminated), ("full", MailboxFull)])
async def test_failed_forward_can_be_answered(state: str, error: type[Exception]) -> None:
    """If a message cannot be passed on, the actor still has it, and can answer it itself."""

    async with open_system() as system:
        relay, target = await two(system, mailbox_size=1, overflow=Overflow.REJECT)
        if state == "ended":
            await target.stop()
        else:
            await target.tell(hang)
            await trio.testing.wait_all_tasks_blocked()
            await target.tell("in the only place")

        async def answer(member: Member) -> str:
            with pytest.raises(error):
                await member.context.forward(target, "another")
            return "answered here"

        assert await relay.ask(answer) == "answered here"
        target.kill()


async def test_forward_to_a_mailbox_that_drops() -> None:
    """If the other mailbox drops the forwarded ask, its caller gets MailboxFull, and the message is a dead letter."""
    async with open_system() as system:
        relay, target = await two(system, mailbox_size=1, overflow=Overflow.DROP_NEW)
        await target.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await target.tell("in the only place")
        with system.dead_letters() as letters:
            with pytest.raises(MailboxFull, match="/target"):
                await relay.ask("dropped")
            assert await anext(letters) == DeadLetter("dropped", "/target", Undelivered.OVERFLOW)
        target.kill()


async def test_forward_needs_a_message() -> None:
    """A forward outside of ``receive`` raises RuntimeError, and so does one that would wait for itself."""
    world = World()

    async def forward_nothing(member: Member) -> None:
        with pytest.raises(RuntimeError, match="no message in hand"):
            await member.context.forward(member.ref)
        world.received.append("raised")

    async def forward_to_full_self(member: Member) -> str:
        member.ref.tell_nowait("in the only place")
        with pytest.raises(RuntimeError, match="tells itself"):
            await member.context.forward(member.ref)
        return "still here"

    world.on_start["a"] = forward_nothing
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world, mailbox_size=1)
        assert world.received == ["raised"]
        assert await ref.ask(forward_to_full_self) == "still here"


# Deadlines


async def test_deadline_travels_with_an_ask(autojump_clock: MockClock) -> None:
    """``context.deadline`` is the time at which the caller gives up, over asks inside handlers and forwards too."""
    del autojump_clock

    async def remaining(member: Member) -> float:
        return member.context.deadline - trio.current_time()

    async def ask_on(member: Member) -> object:
        await trio.sleep(1)
        return await target.ask(remaining)

    async def ask_from_a_nursery(member: Member) -> object:
        await trio.sleep(1)
        return await gather([(target, remaining)], timeout=100)

    async with open_system() as system:
        relay, target = await two(system)
        assert await target.ask(remaining, timeout=5) == 5
        assert await target.ask(remaining) == math.inf
        with trio.move_on_after(3):
            assert await target.ask(remaining, timeout=5) == 3
            assert await target.ask(remaining) == 3
        assert await relay.ask(ask_on, timeout=5) == 4
        assert await relay.ask(ask_from_a_nursery, timeout=5) == [4]
        assert await relay.ask(ask_on) == math.inf
        assert await relay.ask(forward(target, remaining), timeout=5) == 5


async def test_deadline_of_other_work(autojump_clock: MockClock) -> None:
    """A tell has no deadline. A Reply has that of its ask. A task of the nursery has nothing of the current message."""
    del autojump_clock
    seen: list[float] = []

    async def note(member: Member) -> None:
        seen.append(member.context.deadline)

    async def defer(member: Member) -> None:
        reply: Reply[str] = member.context.defer()

        async def work() -> None:
            await trio.sleep(1)
            seen.append(reply.deadline - trio.current_time())
            seen.append(await target.ask(tell_deadline) - trio.current_time())  # type: ignore[operator]  # a time
            reply.send("done")

        member.nursery.start_soon(work)

    async def tell_deadline(member: Member) -> float:
        return member.context.deadline

    async with open_system() as system:
        relay, target = await two(system)
        await target.tell(note)
        assert await relay.ask(defer, timeout=5) == "done"
        assert seen == [math.inf, 4, math.inf]


async def test_ask_inside_a_handler_ends_at_the_outer_deadline(autojump_clock: MockClock) -> None:
    """An ask without a timeout that is made while an ask is handled ends with that ask, at every depth."""
    del autojump_clock
    ended: list[float] = []

    async def work(_: Member) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - start)

    async def ask_on(_: Member) -> object:
        return await target.ask(work, timeout=100)

    async with open_system() as system:
        relay, target = await two(system)
        start = trio.current_time()
        with pytest.raises(AskTimeout):
            await relay.ask(ask_on, timeout=2)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [2]


# Many asks


async def test_gather_returns_replies_in_order(autojump_clock: MockClock) -> None:
    """``gather`` asks all actors at the same time, and returns the replies in the order of the asks."""
    del autojump_clock

    def reply_after(seconds: float) -> Work:
        async def work(_: Member) -> float:
            await trio.sleep(seconds)
            return seconds

        return work

    async with open_system() as system:
        refs = [await system.spawn(Member, "a", World()) for _ in range(3)]
        start = trio.current_time()
        assert await gather([(ref, reply_after(3 - n)) for n, ref in enumerate(refs)], timeout=3.5) == [3, 2, 1]
        assert trio.current_time() - start == 3
        assert await gather([]) == []


async def test_gather_gives_up_the_others(autojump_clock: MockClock) -> None:
    """The first failure ends a ``gather``, and so does its timeout: the work for the other asks is cancelled."""
    del autojump_clock
    ended: list[float] = []

    async def work(_: Member) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - start)

    async def fail(_: Member) -> None:
        await trio.sleep(1)
        raise LookupError("no good")

    async with open_system() as system:
        a, b = [await system.spawn(Member, n, World(), name=n, restart=Restart.PERMANENT) for n in "ab"]
        start = trio.current_time()
        with pytest.raises(ActorRestarted, match="/b"):
            await gather([(a, work), (b, fail)], timeout=5)
        with pytest.raises(AskTimeout, match="no reply within 5 s from /a"):
            await gather([(a, work), (b, "quick")], timeout=5)
        await b.stop()
        with pytest.raises(ActorTerminated, match="/b"):
            await gather([(a, work), (b, "gone")])
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [1, 6]  # the last was given up before it began
        assert await a.ask("next") == "next"


async def test_gather_checks_its_arguments() -> None:
    """A ``gather`` that would wait for itself, or with a wrong argument, raises before it sends anything."""

    async def ask_itself(member: Member) -> None:
        with pytest.raises(RuntimeError, match="asks itself"):
            await gather([(other, "not sent"), (member.ref, "x")])

    async with open_system() as system:
        ref, other = [await system.spawn(Member, "a", World()) for _ in range(2)]
        assert await ref.ask(ask_itself) is None
        with pytest.raises(SpecError, match="timeout"):
            await gather([(other, "not sent")], timeout=-1)
        with pytest.raises(SpecError, match="ActorRef"):
            await gather([(other, "not sent"), ("no ref", "x")])  # type: ignore[arg-type]  # the test
        assert other.statistics().mailbox.accepted == 0


# Pools


@pytest.mark.parametrize("size", [1, 2])
async def test_forward_to_a_pool(size: int, autojump_clock: MockClock) -> None:
    """An ask can be forwarded to a pool. If its caller gives up, in a mailbox or before, it takes no room there."""
    del autojump_clock

    async def sleep(_: Member) -> None:
        await trio.sleep(5)

    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        workers = await system.spawn(pool(lambda: Member("w", world), size), name="workers", mailbox_size=1)
        relay = await system.spawn(Relay, "relay", world, workers)
        assert await relay.ask("hello") == "hello"
        for _ in range(size):
            await workers.tell(sleep)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await relay.ask("given up in a mailbox", timeout=1)
        assert workers.statistics().mailbox.depth == 0
        for _ in range(size):
            await workers.tell("in the only place")
        with pytest.raises(AskTimeout):
            await relay.ask("given up before it has room", timeout=1)
        now = workers.statistics().mailbox
        assert (now.depth, now.senders_waiting) == (size, 0)
        nursery.start_soon(relay.ask, "waits")
        await trio.testing.wait_all_tasks_blocked()
        assert workers.statistics().mailbox.senders_waiting == 1
        assert await workers.ask("last") == "last"
        assert sorted(map(str, world.received)) == sorted(["hello", "waits", "last", *["in the only place"] * size])


async def test_member_forwards_to_its_pool() -> None:
    """A member of a pool can pass an ask on to the pool: another member handles it."""

    async def pass_on(member: Member) -> object:
        return await member.context.forward(workers, name_of)

    async def name_of(member: Member) -> str:
        return member.ref.name

    async with open_system() as system:
        world = World()
        workers = await system.spawn(pool(lambda: Member("w", world), 2), name="workers")
        with trio.fail_after(60):
            assert {await workers.ask(pass_on) for _ in range(4)} <= {"1", "2"}


async def test_parts_from_a_pool() -> None:
    """A member of a pool can reply in parts."""

    async def stream(member: Member) -> None:
        with member.context.stream() as parts:
            for number in range(3):
                await parts.send(number)

    async with open_system() as system:
        workers = await system.spawn(pool(lambda: Member("w", World()), 2), name="workers")
        for _ in range(3):
            with workers.ask_stream(stream) as parts:
                assert [part async for part in parts] == [0, 1, 2]
