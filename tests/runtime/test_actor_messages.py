"""Tell, ask, deferred replies and watches of one actor."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from _probes import Probe, hang

from actors import (
    ActorTerminated,
    AskTimeout,
    MailboxFull,
    MessageUnhandled,
    Shutdown,
    Terminated,
    open_system,
)


async def test_messages_are_handled_in_order() -> None:
    """An actor handles messages in the order in which they were sent."""
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)
        for number in range(200):
            await ref.tell(number)
        await ref.stop(drain=True)
        assert journal[1:-1] == list(range(200))


async def test_ask_returns_the_result_of_receive() -> None:
    """``ask`` returns the value that ``receive()`` returns."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        assert await ref.ask("hello", timeout=1) == "hello"


async def test_tell_waits_while_mailbox_is_full() -> None:
    """When the mailbox is full, ``tell`` waits for room and ``tell_nowait`` raises MailboxFull."""
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal, mailbox_size=2)
        gate = trio.Event()

        async def wait(_: Probe) -> None:
            await gate.wait()

        await ref.tell(wait)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        await ref.tell(2)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.tell, 3)
            await trio.testing.wait_all_tasks_blocked()
            assert ref.statistics().mailbox.senders_waiting == 1
            gate.set()
        assert await ref.ask(4) == 4
        assert journal == ["started", 1, 2, 3, 4]


async def test_waiting_tell_raises_when_actor_ends() -> None:
    """If a ``tell`` waits for room in the mailbox and the actor ends, the ``tell`` raises ActorTerminated."""
    async with open_system() as system:
        ref = await system.spawn(Probe, mailbox_size=1)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        async with trio.open_nursery() as nursery:

            async def sender() -> None:
                with pytest.raises(ActorTerminated):
                    await ref.tell(2)

            nursery.start_soon(sender)
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()


async def test_tell_and_ask_to_an_ended_actor_raise() -> None:
    """``tell``, ``tell_nowait`` and ``ask`` to an ended actor raise ActorTerminated.

    The error of ``ask`` has the actor's exit reason.
    """
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.stop()
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask(1)
        assert caught.value.reason == Shutdown()
        with pytest.raises(ActorTerminated):
            await ref.tell(1)
        with pytest.raises(ActorTerminated):
            ref.tell_nowait(1)


async def test_timed_out_ask_cancels_its_work(autojump_clock: trio.testing.MockClock) -> None:
    """When an ``ask`` times out, the actor's work on it is cancelled, and the actor handles the next message."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        ended: list[str] = []

        async def work(_: Probe) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("cancelled")

        with pytest.raises(AskTimeout):
            await ref.ask(work, timeout=1)
        assert await ref.ask("next") == "next"
        assert ended == ["cancelled"]
        assert autojump_clock.autojump_threshold == 0


async def test_ask_with_an_unknown_message_raises() -> None:
    """If ``receive()`` returns UNHANDLED for an ask, the ask raises MessageUnhandled and becomes a dead letter."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        with pytest.raises(MessageUnhandled):
            await ref.ask("unknown")
        assert system.statistics().dead_letters == 1


async def test_asking_or_stopping_oneself_raises() -> None:
    """An actor that asks itself, or waits for its own stop, gets a RuntimeError instead of a deadlock."""
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def ask_self(probe: Probe) -> None:
            with pytest.raises(RuntimeError, match="itself"):
                await probe.ref.ask(1)
            with pytest.raises(RuntimeError, match="own end"):
                await probe.ref.stop()

        await ref.ask(ask_self)


async def test_watch_delivers_one_terminated() -> None:
    """A watcher gets one Terminated message when the watched actor ends, or at once if that actor has already ended."""
    async with open_system() as system:
        journal: list[object] = []
        watcher = await system.spawn(Probe, journal)
        target = await system.spawn(Probe)

        async def watch(probe: Probe) -> None:
            probe.context.watch(target)

        await watcher.ask(watch)
        await target.stop()
        assert await watcher.ask("flush") == "flush"
        await watcher.ask(watch)
        assert await watcher.ask("flush") == "flush"
        news = Terminated(target, Shutdown())
        assert journal == ["started", news, "flush", news, "flush"]


async def test_deferred_reply() -> None:
    """An actor that defers its reply can handle other messages before it answers the ask."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        go = trio.Event()

        async def later(probe: Probe) -> None:
            reply = probe.context.defer()

            async def send() -> None:
                await go.wait()
                reply.send("late")

            probe.nursery.start_soon(send)

        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert await ref.ask(later) == "late"

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert await ref.ask("not blocked") == "not blocked"
            go.set()


async def test_abandoned_ask_is_no_dead_letter(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of an ask gives up before the actor handles the ask, the ask does not become a dead letter."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        go = trio.Event()

        async def wait(_: Probe) -> None:
            await go.wait()

        await ref.tell(wait)
        with pytest.raises(AskTimeout):
            await ref.ask("given up", timeout=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert system.statistics().dead_letters == 0
        assert autojump_clock.autojump_threshold == 0


async def test_deferred_reply_to_a_tell_is_dropped() -> None:
    """If an actor defers the reply to a message sent by ``tell``, no caller waits: the reply becomes a dead letter."""
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def defer(probe: Probe) -> None:
            reply = probe.context.defer()
            assert not reply.wanted
            reply.send("to nobody")

        await ref.tell(defer)
        await ref.ask("flush")
        assert system.statistics().dead_letters == 1
