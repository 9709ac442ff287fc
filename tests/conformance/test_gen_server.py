"""The possible outcomes of an ask: the same as those of OTP's ``gen_server:call``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import (
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    Failure,
    Killed,
    MailboxFull,
    MessageUnhandled,
    Normal,
    Overflow,
    Reply,
    Restart,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_reply_may_be_none() -> None:
    """``ask`` returns the value that ``receive()`` returns, even if that value is None."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())

        async def nothing(_: Member) -> None:
            return None

        assert await ref.ask("x") == "x"
        assert await ref.ask(nothing) is None


async def test_ask_to_an_ended_actor() -> None:
    """An ask to an actor that has ended raises ActorTerminated, as a call in Erlang fails with ``noproc``."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.stop()
        with pytest.raises(ActorTerminated):
            await ref.ask("x")


async def test_target_fails_on_the_ask() -> None:
    """If an actor fails on an ask and is not restarted, the ask raises ActorTerminated with the failure."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        error = ValueError("bad request")
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask(error)
        assert caught.value.reason == Failure(error)


async def test_target_fails_and_restarts() -> None:
    """If an actor fails on an ask and is restarted, the ask raises ActorRestarted."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), restart=Restart.PERMANENT)
        with pytest.raises(ActorRestarted):
            await ref.ask(ValueError("bad request"))
        assert await ref.ask("x") == "x"


async def test_target_stops_before_the_ask() -> None:
    """If an actor stops before it handles an ask, the ask raises ActorTerminated with the reason of the stop."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())

        async def ask() -> None:
            with pytest.raises(ActorTerminated) as caught:
                await ref.ask("x")
            assert caught.value.reason == Normal()

        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        await ref.tell(wait)
        await ref.tell("normal")
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()


async def test_stopping_target_answers_the_current_ask() -> None:
    """If an actor stops itself while it handles an ask, it still answers this ask."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        assert await ref.ask("normal") == "normal"
        assert await ref.terminated() == Normal()


async def test_timeout_frees_the_caller(autojump_clock: MockClock) -> None:
    """An ask that times out raises AskTimeout, a subclass of TimeoutError. The caller can then ask again."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        begin = autojump_clock.current_time()
        with pytest.raises(TimeoutError) as caught:
            await ref.ask(hang, timeout=3)
        assert isinstance(caught.value, AskTimeout)
        assert trio.current_time() - begin == pytest.approx(3)
        assert await ref.ask("x", timeout=3) == "x"


async def test_abandoned_ask_is_not_handled(autojump_clock: MockClock) -> None:
    """If an ask times out while it waits in the mailbox, it is not handled, and does not become a dead letter."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        ref = await system.spawn(Member, "a", world)
        nursery.start_soon(ref.ask, wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await ref.ask("given up", timeout=1)
        gate.set()
        await ref.ask("x")
        assert "given up" not in world.received
        assert system.statistics().dead_letters == 0
        assert autojump_clock.autojump_threshold == 0


async def test_timeout_includes_the_wait_for_room(autojump_clock: MockClock) -> None:
    """The timeout of an ask includes the time that the ask waits for room in a full mailbox."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, mailbox_size=1)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell("fills it")
        with pytest.raises(AskTimeout):
            await ref.ask("x", timeout=1)
        assert ref.statistics().mailbox.senders_waiting == 0
        assert autojump_clock.autojump_threshold == 0


async def test_cancelled_ask_cancels_its_handler() -> None:
    """If an ask is cancelled, the actor's work on it is cancelled too. The actor continues without a restart."""
    async with open_system() as system:
        ended = trio.Event()

        async def work(_: Member) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        ref = await system.spawn(Member, "a", World())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, work)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await ended.wait()
        assert await ref.ask("x") == "x"
        assert ref.statistics().restarts == 0


async def test_unknown_ask() -> None:
    """If an actor does not know the message of an ask, the ask raises MessageUnhandled and becomes a dead letter.

    The actor continues.
    """
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with system.dead_letters() as letters:
            with pytest.raises(MessageUnhandled):
                await ref.ask("unknown")
            assert (await anext(letters)).why is Undelivered.UNHANDLED
        assert await ref.ask("x") == "x"


async def test_deferred_ask_fails_with_its_incarnation() -> None:
    """If an actor ends or is restarted before it sends a deferred reply, the ask that waits for the reply raises."""
    kept: list[Reply] = []

    async def defer(member: Member) -> None:
        kept.append(member.context.defer())

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World(), restart=Restart.PERMANENT)

        async def ask(error: type[Exception]) -> None:
            with pytest.raises(error):
                await ref.ask(defer)

        nursery.start_soon(ask, ActorRestarted)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(ValueError("crash"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, ActorTerminated)
        await trio.testing.wait_all_tasks_blocked()
        await ref.stop()


async def test_deferred_reply_with_an_error() -> None:
    """``Reply.fail`` makes the caller's ask raise the given error. A second answer to the ask becomes a dead letter."""

    async def refuse(member: Member) -> None:
        reply = member.context.defer()
        assert reply.wanted
        reply.fail(LookupError("no such thing"))
        assert not reply.wanted
        reply.send("too late")

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with pytest.raises(LookupError, match="no such thing"):
            await ref.ask(refuse)
        assert system.statistics().dead_letters == 1
        assert await ref.ask("x") == "x"


@pytest.mark.parametrize("overflow", [Overflow.REJECT, Overflow.DROP_NEW, Overflow.DROP_OLDEST])
async def test_dropped_ask_raises_mailbox_full(overflow: Overflow) -> None:
    """If a full mailbox rejects or drops the message of an ask, the ask raises MailboxFull at once."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        ref = await system.spawn(Member, "a", world, mailbox_size=1, overflow=overflow)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()

        async def ask() -> None:
            with pytest.raises(MailboxFull):
                await ref.ask("refused")

        if overflow is Overflow.DROP_OLDEST:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell("newer")
        else:
            await ref.tell("older")
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert ref.statistics().mailbox.depth == 1
        ref.kill()


async def test_asking_itself_is_refused() -> None:
    """If an actor asks itself, it gets an error at once instead of a deadlock."""

    async def ask_itself(member: Member) -> object:
        return await member.ref.ask("x")

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask(ask_itself)
        assert isinstance(caught.value.reason, Failure)
        assert "asks itself" in str(caught.value.reason.exception)


@pytest.mark.parametrize("restart", list(Restart))
async def test_target_killed_while_it_handles_the_ask(restart: Restart) -> None:
    """If an actor is killed while it handles an ask, the ask raises ActorTerminated.

    If the actor is restarted after the kill, the ask raises ActorRestarted instead.
    """
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World(), restart=restart)

        async def ask() -> None:
            error = ActorTerminated if restart is Restart.TEMPORARY else ActorRestarted
            with pytest.raises(error) as caught:
                await ref.ask(hang)
            if isinstance(caught.value, ActorTerminated):
                assert caught.value.reason == Killed()

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()


async def test_target_stopped_while_it_handles_the_ask(autojump_clock: MockClock) -> None:
    """If an actor is stopped and does not finish the current ask in time, the ask raises ActorTerminated."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())

        async def ask() -> None:
            with pytest.raises(ActorTerminated) as caught:
                await ref.ask(hang)
            assert caught.value.reason == Killed()

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert await ref.stop(timeout=3) == Killed()
        assert autojump_clock.current_time() == pytest.approx(3)
