"""The messages in a mailbox during restarts and stops of its actor, after Kameo's tests."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from _probes import Member, World, crash, hang

from actors import ActorTerminated, Killed, Restart, Shutdown, Undelivered, open_system


async def test_message_order_across_a_restart() -> None:
    """An actor handles its messages in the order in which they were sent, even if it is restarted meanwhile."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)
        for message in (1, 2, ValueError("crash"), 3, 4):
            await ref.tell(message)
        await ref.ask(5)
        assert world.received == [1, 2, 3, 4, 5]
        assert world.starts["a"] == 2


async def test_senders_waiting_during_a_restart() -> None:
    """If senders wait for room in the mailbox while the actor restarts, they get room in the order of their arrival."""
    async with open_system() as system:
        world = World()
        gate = trio.Event()

        async def slow_start(_: Member) -> None:
            await gate.wait()

        ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT, mailbox_size=1)
        world.on_start["a"] = slow_start
        await crash(ref)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ref.tell, number)
                await trio.testing.wait_all_tasks_blocked()
            assert ref.statistics().mailbox.senders_waiting == 4
            gate.set()
        await ref.ask("last")
        assert world.received == [0, 1, 2, 3, 4, "last"]


async def test_undelivered_messages_are_dead_letters_in_order() -> None:
    """The messages of a killed actor become dead letters in order: first the current one (FAILED), then all others.

    The others have the cause TERMINATED.
    """
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            await ref.tell(number)
        with system.dead_letters() as letters:
            ref.kill()
            await ref.terminated()
            taken = [await anext(letters) for _ in range(4)]
        assert [(letter.message, letter.why) for letter in taken] == [
            (hang, Undelivered.FAILED),
            (0, Undelivered.TERMINATED),
            (1, Undelivered.TERMINATED),
            (2, Undelivered.TERMINATED),
        ]
        assert {letter.path for letter in taken} == {ref.path}


async def test_draining_stop_refuses_new_messages() -> None:
    """During a draining stop, an actor handles the messages in its mailbox and refuses new ones."""
    async with open_system() as system:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        ref = await system.spawn(Member, "a", world)
        await ref.tell(wait)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        async with trio.open_nursery() as nursery:
            answers: list[object] = []

            async def ask() -> None:
                answers.append(await ref.ask(2))

            async def stop() -> None:
                answers.append(await ref.stop(drain=True))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(stop)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ActorTerminated, match="stopping"):
                await ref.tell(3)
            assert ref.statistics().state == "stopping"
            gate.set()
        assert world.received == [1, 2]
        assert answers == [2, Shutdown()]
        assert system.statistics().dead_letters == 0


async def test_stop_without_drain_ends_a_drain() -> None:
    """If a stop without draining comes during a draining stop, the messages left in the mailbox are not handled."""
    async with open_system() as system:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        ref = await system.spawn(Member, "a", world)
        await ref.tell(wait)
        await ref.tell(1)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            async def stop(drain: object) -> None:
                assert await ref.stop(drain=bool(drain)) == Shutdown()

            for drain in (True, False):
                nursery.start_soon(stop, drain)
                await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert world.received == []
        assert system.statistics().dead_letters == 1


async def test_drain_ends_at_its_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """If a draining stop exceeds its timeout, the actor is cancelled, and the messages left become dead letters."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)

        async def slow(_: Member) -> None:
            await trio.sleep(2)

        for _ in range(3):
            await ref.tell(slow)
        await ref.tell("never")
        begin = autojump_clock.current_time()
        assert await ref.stop(drain=True, timeout=5) == Killed()
        assert trio.current_time() - begin == pytest.approx(5)
        assert world.received == []
        assert system.statistics().dead_letters == 2
