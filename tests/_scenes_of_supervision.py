"""Scenarios of supervision: children, their restarts, and groups of them. They need an ``autojump_clock``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio
from _probes import Member, Pointed
from _scene_steps import pass_points, start_slowly

from actors import (
    Backoff,
    ExitReason,
    OnDemandRef,
    Restart,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    on_demand,
)

if TYPE_CHECKING:
    from _probes import World

    from actors import ActorSystem


async def children_and_tasks(system: ActorSystem, world: World) -> None:
    """Make an actor with a task, a timer, a child and a watch fail, so that it is restarted."""

    async def use_everything(member: Member) -> None:
        member.nursery.start_soon(trio.sleep_forever)
        member.context.timers.every("t", "t", 1)
        other = await member.context.spawn(Pointed, "child", world)
        member.context.watch(other)

    ref = await system.spawn(Pointed, "a", world, restart=Restart.TRANSIENT)
    await ref.ask(use_everything)
    await ref.tell(ValueError("crash"))
    await ref.ask(use_everything)


async def supervise_a_group(system: ActorSystem, world: World) -> None:
    """Make a member of a ONE_FOR_ALL group fail; the members have a slow start."""
    world.on_start["b"] = start_slowly
    children = [world.member(name) for name in "abc"]
    supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=children))
    ref = supervisor.child("b")
    if ref is not None:
        await ref.tell(ValueError("crash"))
    await trio.sleep(1)
    await supervisor.stop()


async def restart_with_backoff(system: ActorSystem, world: World) -> None:
    """Make a child fail that has a delay (backoff) before its restart."""
    supervisor = await system.supervise(SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 2)))
    ref = supervisor.child("a")
    if ref is not None:
        await ref.tell(ValueError("crash"))
        await ref.ask("up")


async def restart_within_its_own_limit(system: ActorSystem, world: World) -> None:
    """Make an actor with a limit and a backoff of its own fail, and then once more than the limit allows."""

    async def spawn_child(member: Member) -> None:
        spawn, options = member.context.spawn, {"name": "b", "world": world}
        ref = await spawn(
            Pointed, kwargs=options, restart=Restart.PERMANENT, max_restarts=1, max_seconds=9, backoff=Backoff(1, 2)
        )
        await ref.tell(ValueError("crash"))
        await ref.tell(ValueError("crash"))

    ref = await system.spawn(Pointed, "a", world, restart=Restart.TRANSIENT, max_restarts=3)
    await ref.ask(spawn_child)
    await trio.sleep(5)


class Hooked(Pointed):
    """A Pointed actor with hooks for a restart."""

    async def before_restart(self, reason: ExitReason) -> None:
        assert reason is not None
        await self.pass_point("before_restart")

    async def after_restart(self, reason: ExitReason) -> None:
        assert reason is not None
        await self.pass_point("after_restart")


async def restart_with_hooks(system: ActorSystem, world: World) -> None:
    """Make a member of a group with hooks fail, and stop the group while a hook runs."""
    world.kind = Hooked
    spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member(name) for name in "ab"])
    supervisor = await system.supervise(spec)
    for _ in range(2):
        ref = supervisor.child("b")
        if ref is not None:
            await ref.tell(ValueError("crash"))
            await ref.ask("again")
    await supervisor.stop()


async def add_and_remove_children(system: ActorSystem, world: World) -> None:
    """Start, terminate, restart and delete a child."""
    supervisor = await system.supervise(SupervisorSpec())
    await supervisor.start_child(world.member("a"))
    await supervisor.terminate_child("a")
    await supervisor.restart_child("a")
    await supervisor.terminate_child("a")
    supervisor.delete_child("a")


async def many_children_by_key(system: ActorSystem, world: World) -> None:
    """Start many children of a DYNAMIC supervisor at the same time."""
    supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC))
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(supervisor.start_child, world.member(str(number)))
    await supervisor.stop()


async def supervise_below_an_actor(system: ActorSystem, world: World) -> None:
    """Start a REST_FOR_ONE supervisor below an actor, and make its middle child fail."""

    async def supervise(member: Member) -> None:
        spec = SupervisorSpec(Strategy.REST_FOR_ONE, [world.member(name) for name in "bcd"])
        supervisor = await member.context.supervise(spec, "below")
        middle = supervisor.child("c")
        if middle is not None:
            await middle.tell(pass_points)
            await middle.tell(ValueError("crash"))

    ref = await system.spawn(Pointed, "a", world, restart=Restart.TRANSIENT)
    await ref.ask(supervise)
    await trio.sleep(1)
    found = system.find(f"{ref.path}/below")
    if isinstance(found, SupervisorRef):
        assert len(found.children()) == found.counts().specs
        found.statistics()
    await ref.ask("normal")
    await ref.terminated()


async def start_on_demand(system: ActorSystem, world: World) -> None:
    """Ask a group for actors by name: at the same time, after a failed start, and while one of them stops."""
    world.on_start["a"] = start_slowly
    world.fail_start("b", 1)
    group = await system.spawn(on_demand(lambda name: Pointed(name, world)), restart=Restart.TRANSIENT)
    assert isinstance(group, OnDemandRef)

    async def use(name: str) -> None:
        with contextlib.suppress(OSError):
            ref = await group.get_or_spawn(name)
            await ref.ask(pass_points)

    async with trio.open_nursery() as nursery:
        for name in "aab":
            nursery.start_soon(use, name)
    await use("b")
    ref = group.child("a")
    if ref is not None:
        await ref.stop()
    await use("a")
