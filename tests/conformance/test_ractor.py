"""Priorities, after Ractor's tests: kill, then stop, then lifecycle messages (Terminated), then ordinary messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import Killed, Restart, Shutdown, Terminated, open_system


async def keep_busy(ref: object, world: World) -> trio.Event:
    """Make the actor wait while it handles a message. Return the event that ends this wait."""
    assert hasattr(ref, "tell")
    gate = trio.Event()

    async def wait(_: Member) -> None:
        await gate.wait()

    await ref.tell(wait)
    await trio.testing.wait_all_tasks_blocked()
    world.received.clear()
    return gate


async def test_lifecycle_goes_before_data() -> None:
    """A Terminated message is handled before ordinary messages, even if these were sent earlier."""
    async with open_system() as system:
        world = World()
        ref, target = await system.spawn(Member, "a", world), await system.spawn(Member, "b", World())

        async def watch(member: Member) -> None:
            member.context.watch(target)

        await ref.ask(watch)
        gate = await keep_busy(ref, world)
        await ref.tell("data")
        await target.stop()
        gate.set()
        await ref.ask("last")
        assert world.received == [Terminated(target, Shutdown()), "data", "last"]


async def test_stop_goes_before_lifecycle_and_data() -> None:
    """A stop without draining takes effect before all waiting messages, even before Terminated messages.

    The waiting messages are not handled.
    """
    async with open_system() as system:
        world = World()
        ref, target = await system.spawn(Member, "a", world), await system.spawn(Member, "b", World())

        async def watch(member: Member) -> None:
            member.context.watch(target)

        await ref.ask(watch)
        gate = await keep_busy(ref, world)
        await ref.tell("data")
        await target.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert world.received == []


async def test_kill_goes_before_stop() -> None:
    """If an actor is killed while it stops, it ends at once, without ``stopping()``."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)
        await keep_busy(ref, world)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()
        assert await ref.terminated() == Killed()
        assert ("stop", "a") not in world.take()


async def test_stop_passes_a_full_mailbox() -> None:
    """A stop takes effect before the messages in the mailbox, even if the mailbox is full."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, mailbox_size=1)
        gate = await keep_busy(ref, world)
        await ref.tell("data")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert await ref.terminated() == Shutdown()
        assert world.received == []


async def test_kill_during_stopping() -> None:
    """If an actor hangs in ``stopping()``, a kill ends it at once."""
    async with open_system() as system, trio.open_nursery() as nursery:
        world = World()
        world.on_stop["a"] = hang
        stopping = await system.spawn(Member, "a", world)
        nursery.start_soon(stopping.stop)
        await trio.testing.wait_all_tasks_blocked()
        stopping.kill()
        assert await stopping.terminated() == Killed()


async def test_killed_actor_restarts_and_stopped_one_does_not() -> None:
    """A permanent actor is restarted after a kill, but not after a stop."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)
        ref.kill()
        assert await ref.ask("up") == "up"
        assert world.starts["a"] == 2
        await ref.stop()
        assert world.starts["a"] == 2
        assert not ref.alive


async def test_killed_actor_handles_no_more_messages() -> None:
    """After a kill, an actor handles no further message, even if it had almost finished the current one."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)
        gate = await keep_busy(ref, world)
        for number in range(5):
            await ref.tell(number)
        gate.set()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert len(world.received) <= 1  # the message that was being handled
        assert system.statistics().dead_letters >= 5


async def test_kill_ends_shielded_cleanup(autojump_clock: trio.testing.MockClock) -> None:
    """If a killed actor shields its cleanup, the cleanup is ended one second later."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())

        async def sleep_shielded_at_the_end(_: Member) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

        await ref.tell(sleep_shielded_at_the_end)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert trio.current_time() - begin == pytest.approx(1)


async def test_children_are_killed_with_their_parent() -> None:
    """When an actor is killed, its children end with Killed() too."""
    async with open_system() as system:
        world = World()

        async def spawn_child(member: Member) -> object:
            return await member.context.spawn(Member, "child", world)

        parent = await system.spawn(Member, "parent", world)
        ref = await parent.ask(spawn_child)
        parent.kill()
        assert await parent.terminated() == Killed()
        assert system.statistics().actors == 0
        assert hasattr(ref, "terminated")
        assert await ref.terminated() == Killed()


@pytest.mark.parametrize("messages", [1, 64, 65, 1000])
async def test_busy_actor_yields(messages: int) -> None:
    """A busy actor handles at most 64 messages before it lets other tasks run."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, mailbox_size=2000)
        for number in range(messages):
            ref.tell_nowait(number)
        seen: list[int] = []
        for _ in range(40):
            await trio.lowlevel.checkpoint()
            seen.append(len(world.received))
        assert seen[-1] == messages
        # 64 a turn; and the scheduler may give it two turns between two of ours, never three.
        assert all(later - earlier <= 128 for earlier, later in pairwise([0, *seen]))


async def test_many_lifecycle_messages_yield() -> None:
    """An actor with many Terminated messages handles at most 64 of them before it lets other tasks run."""
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)
        dead = [await system.spawn(Member, "b", World()) for _ in range(1000)]
        for target in dead:
            target.kill()

        async def watch(member: Member) -> None:
            for target in dead:
                member.context.watch(target)

        await ref.tell(watch)
        seen: list[int] = []
        for _ in range(40):
            await trio.lowlevel.checkpoint()
            seen.append(len(world.received))
        assert seen[-1] == 1000
        assert all(later - earlier <= 128 for earlier, later in pairwise([0, *seen]))
