"""Replies that come later, or from another actor: abandoned asks, and forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, hang
from _runtime_relays import Relay, forward, two

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
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


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
