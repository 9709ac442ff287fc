"""Scenarios that use every operation of the runtime, for the tests that look for leaks and faults.

They need an ``autojump_clock``, because they sleep.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio
import trio.testing
from _probes import Member, Pointed, Ready, World, hang
from _scene_steps import pass_points, start_slowly
from _scenes_of_messages import (
    forward_asks,
    stream_parts,
    subscribe_and_publish,
    use_a_pool,
    use_a_pool_by_key,
    use_a_router,
)
from _scenes_of_supervision import (
    add_and_remove_children,
    children_and_tasks,
    many_children_by_key,
    restart_with_backoff,
    restart_with_hooks,
    restart_within_its_own_limit,
    start_on_demand,
    supervise_a_group,
    supervise_below_an_actor,
)

from actors import ActorSystem, Restart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def spawn(system: ActorSystem, world: World) -> None:
    """Spawn an actor with a slow start."""
    world.on_start["a"] = start_slowly
    await system.spawn(Pointed, "a", world, restart=Restart.PERMANENT)


async def spawn_that_fails(system: ActorSystem, world: World) -> None:
    """Spawn an actor. Its first start fails."""
    world.fail_start("a", 1)
    with contextlib.suppress(OSError):
        await system.spawn(Pointed, "a", world)


async def ask(system: ActorSystem, world: World) -> None:
    """Ask and tell an actor at the same time, with room for one message in its mailbox."""
    ref = await system.spawn(Pointed, "a", world, mailbox_size=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, pass_points)
        nursery.start_soon(ref.ask, pass_points)
        nursery.start_soon(ref.ask, pass_points, 10)
        nursery.start_soon(ref.tell, pass_points)
    assert ref.statistics().mailbox.senders_waiting == 0


async def tell_to_a_full_mailbox(system: ActorSystem, world: World) -> None:
    """Tell more messages than the mailbox holds."""
    ref = await system.spawn(Pointed, "a", world, mailbox_size=1)
    for _ in range(4):
        await ref.tell(pass_points)
    await ref.ask("last")


async def stop(system: ActorSystem, world: World) -> None:
    """Stop an actor with a slow ``stopping()``."""
    world.on_stop["a"] = pass_points
    ref = await system.spawn(Pointed, "a", world)
    await ref.tell(pass_points)
    await ref.stop()


async def stop_with_draining(system: ActorSystem, world: World) -> None:
    """Stop an actor that has messages left, with draining: it handles these messages first."""
    ref = await system.spawn(Pointed, "a", world)
    await ref.tell(pass_points)
    await ref.tell(pass_points)
    await ref.stop(drain=True)


async def stop_a_hanging_actor(system: ActorSystem, world: World) -> None:
    """Stop an actor that hangs while it handles a message."""
    ref = await system.spawn(Pointed, "a", world)
    await ref.tell(hang)
    await ref.stop(timeout=2)


async def shut_down(system: ActorSystem, world: World) -> None:
    """Shut the system down, with work in a phase of the shutdown."""

    async def work() -> None:
        world.on_point("phase")
        await trio.sleep(1)
        world.on_point("phase")

    await system.spawn(Pointed, "a", world)
    system.on_shutdown("phase", work)
    for report in await system.shutdown():
        for failure in report.failures:
            raise failure


async def kill_and_wait(system: ActorSystem, world: World) -> None:
    """Kill a hanging actor that another actor watches, and wait for its end."""
    ref = await system.spawn(Pointed, "a", world)
    watcher = await system.spawn(Pointed, "w", world)

    async def watch(member: Member) -> None:
        member.context.watch(ref)
        member.context.unwatch(watcher)

    await watcher.ask(watch)
    ref.tell_nowait(hang)
    await trio.lowlevel.checkpoint()
    ref.kill()
    await ref.terminated()
    await watcher.ask("flush")


async def stash_and_defer(system: ActorSystem, world: World) -> None:
    """Stash and unstash messages, defer replies and fail them, and hold a lease."""

    async def put_aside(member: Member) -> None:
        if len(world.received) == 0:
            member.context.stash()

    async def take_back(member: Member) -> None:
        world.received.append("taken back")
        member.context.unstash()

    async def later(member: Member) -> None:
        reply = member.context.defer()

        async def answer() -> None:
            with member.context.lease():
                await pass_points(member)
            if reply.wanted:
                reply.send("answer")

        member.nursery.start_soon(answer)

    async def refuse(member: Member) -> None:
        member.context.defer().fail(LookupError("refused"))

    ref = await system.spawn(Pointed, "a", world, restart=Restart.TRANSIENT)
    with system.dead_letters():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, put_aside, 10)
            nursery.start_soon(ref.ask, take_back, 10)
            nursery.start_soon(ref.ask, later, 10)
        with contextlib.suppress(LookupError):
            await ref.ask(refuse)


async def set_timers(system: ActorSystem, world: World) -> None:
    """Set timers, cancel one of them, and let all others fire."""

    async def start(member: Member) -> None:
        member.context.timers.once("once", pass_points, 1)
        member.context.timers.every("every", pass_points, 1)
        member.context.timers.once("never", pass_points, 1)
        member.context.timers.cancel("never")
        member.context.timers.every("full", pass_points, 1, to=full)
        member.context.timers.once("ended", pass_points, 1, to=ended)
        member.context.idle_after(0.4)

    async def be_idle(member: Member) -> None:
        member.context.stay_idle()
        with member.context.lease():
            await pass_points(member)

    async def be_busy(_: Member) -> None:
        await trio.sleep(1.5)

    ended = await system.spawn(Pointed, "b", world)
    await ended.stop()
    full = await system.spawn(Pointed, "c", world, mailbox_size=1)
    await full.tell(be_busy)
    await full.tell(pass_points)
    ref = await system.spawn(Pointed, "a", world, restart=Restart.PERMANENT)
    await ref.ask(start)
    await trio.sleep(2.5)
    await ref.ask(be_idle)
    await trio.sleep(1)
    await ref.stop()


async def actors_without_started(system: ActorSystem, world: World) -> None:
    """Use actors that have no ``started()``: idle, busy, asked, and stopped before they run."""
    idle, ref = await system.spawn(Ready, "a", world), await system.spawn(Ready, "b", world)
    world.refs += [idle, ref]

    async def start_work(member: Member) -> None:
        with trio.move_on_after(1):
            member.nursery.start_soon(pass_points, member)
            await hang(member)

    await ref.tell(pass_points)
    await ref.ask(start_work)
    with trio.move_on_after(1):
        await ref.ask(hang)
    await ref.ask(pass_points)
    await idle.stop()
    never_ran = await system.spawn(Ready, "c", world)
    world.refs.append(never_ran)
    await never_ran.stop(drain=True)
    await ref.stop(drain=True)


SCENARIOS: list[Callable[[ActorSystem, World], Awaitable[None]]] = [
    spawn,
    spawn_that_fails,
    ask,
    tell_to_a_full_mailbox,
    stop,
    stop_with_draining,
    stop_a_hanging_actor,
    children_and_tasks,
    supervise_a_group,
    restart_with_backoff,
    restart_within_its_own_limit,
    restart_with_hooks,
    add_and_remove_children,
    many_children_by_key,
    shut_down,
    kill_and_wait,
    stash_and_defer,
    set_timers,
    supervise_below_an_actor,
    actors_without_started,
    forward_asks,
    stream_parts,
    subscribe_and_publish,
    use_a_pool,
    use_a_pool_by_key,
    use_a_router,
    start_on_demand,
]


def pointed_world() -> World:
    """Return a world with Pointed members."""
    world = World()
    world.kind = Pointed
    return world


def living_tasks() -> int:
    """Return the number of living tasks in this trio run."""
    return trio.lowlevel.current_statistics().tasks_living


async def wait_until_quiet() -> None:
    """Wait until everything that is under way has ended."""
    await trio.sleep(20)
    await trio.testing.wait_all_tasks_blocked()


async def stop_all(system: ActorSystem) -> None:
    """Stop the actors that are left, and check that their mailboxes are empty."""
    for node in system.tree().children:
        ref = system.find(node.path)
        if ref is not None:
            assert ref.statistics().mailbox.senders_waiting == 0
            assert ref.statistics().mailbox.depth == 0
            await ref.stop()
