"""Scenarios of forwarded asks, replies in parts, events, pools and routers. They need an ``autojump_clock``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio
from _probes import Member, Pointed, World, hang
from _scene_steps import pass_points, start_slowly

from actors import (
    ActorSystem,
    Backoff,
    ChildSpec,
    PoolRef,
    Restart,
    SupervisionEvent,
    SupervisorSpec,
    gather,
    pool,
    router,
)

if TYPE_CHECKING:
    from actors import ReplyStream


async def forward_asks(system: ActorSystem, world: World) -> None:
    """Forward asks and tells to an actor with room for one message, and ask several actors at once."""
    target = await system.spawn(Pointed, "t", world, mailbox_size=1)
    ref = await system.spawn(Pointed, "a", world)

    async def forward(member: Member) -> None:
        await member.context.forward(target, pass_points)
        await pass_points(member)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, forward)
        nursery.start_soon(ref.ask, forward, 10)
        nursery.start_soon(target.ask, pass_points)
        nursery.start_soon(ref.tell, forward)
    with trio.move_on_after(1):
        await gather([(ref, forward), (target, pass_points), (target, hang)])
    await gather([(ref, pass_points), (target, pass_points)], timeout=10)


async def send_parts(member: Member, stream: ReplyStream[object]) -> None:
    """Send four parts in the block of the stream, with points between them."""
    with stream:
        for number in range(4):
            await pass_points(member)
            await stream.send(number)


async def stream_parts(system: ActorSystem, world: World) -> None:
    """Send replies in several parts to a slow caller, to a caller that leaves, and to a caller that stays too long."""
    ref = await system.spawn(Pointed, "a", world, restart=Restart.TRANSIENT)

    async def in_receive(member: Member) -> None:
        await send_parts(member, member.context.stream())

    async def in_task(member: Member) -> None:
        stream = member.context.stream()
        member.nursery.start_soon(send_parts, member, stream)
        member.nursery.start_soon(stream.abandoned)

    async def refuse(member: Member) -> None:
        stream = member.context.stream()
        await stream.send("part")
        stream.fail(LookupError("refused"))
        stream.close()

    for message in (in_receive, in_task):
        with ref.ask_stream(message, buffer=1) as parts:
            async for _ in parts:
                await trio.sleep(1)
        with ref.ask_stream(message, buffer=2) as parts:
            await anext(parts)
        async for _ in ref.ask_stream(message):
            break
        await ref.ask(message)
    with contextlib.suppress(LookupError):
        parts = ref.ask_stream(refuse)
        async for _ in parts:
            pass
    parts.close()


async def subscribe_and_publish(system: ActorSystem, world: World) -> None:
    """Subscribe an actor and a stream to events, publish, fail, unsubscribe, and follow the events of supervision."""

    async def follow(member: Member) -> None:
        member.context.subscribe(str, buffer=2)
        member.context.subscribe(object, topic="t")
        member.context.subscribe(bytes)
        member.context.unsubscribe(bytes)

    before = system.events.statistics().subscriptions
    with system.events.subscribe(SupervisionEvent) as news, system.events.subscribe(str, topic="t", buffer=1):
        ref = await system.spawn(Pointed, "a", world, restart=Restart.PERMANENT)
        await ref.ask(follow)
        for number in range(4):
            system.events.publish(f"event {number}")
            system.events.publish(f"event {number}", "t")
        await ref.ask("flush")
        await ref.tell(ValueError("crash"))
        await ref.ask(follow)
        system.events.publish("event")
        with trio.move_on_after(1):
            async for event in news:
                world.on_point(f"news {type(event).__name__}")
        await ref.stop(drain=True)
        assert ref.statistics().subscriptions == 0
    assert system.events.statistics().subscriptions == before


async def use_a_pool(system: ActorSystem, world: World) -> None:
    """Use a pool: tells, asks, a broadcast, a failure, a growth, a replaced member, and a stop that drains."""
    world.on_start["p"] = start_slowly
    spec = pool(lambda: Pointed("p", world), 2, max_size=3, grow_at=1, shrink_after=1)
    ref = await system.spawn(spec, mailbox_size=2, restart=Restart.TRANSIENT)
    assert isinstance(ref, PoolRef)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ref.tell, pass_points)
        nursery.start_soon(ref.ask, pass_points, 10)
        await ref.broadcast(pass_points)
    await ref.tell(ValueError("crash"))
    members = ref.members()
    if members:
        await members[-1].stop()
    await trio.sleep(3)
    await ref.ask(pass_points)
    assert await ref.broadcast(pass_points) <= 3
    await ref.stop(drain=True)


async def use_a_pool_by_key(system: ActorSystem, world: World) -> None:
    """Use a pool that routes by key, below a supervisor, and stop it while messages wait."""
    make = pool(lambda: Pointed("p", world), 2, routing="consistent_hash", key=lambda _: 1, backoff=Backoff(1, 2))
    above = await system.supervise(SupervisorSpec(children=[ChildSpec("pool", make)]))
    ref = above.child("pool")
    if ref is not None:
        await ref.tell(ValueError("crash"))
        await ref.tell(pass_points)
        await ref.ask(pass_points)
        await ref.tell(hang)
        await ref.tell(pass_points)
    await above.stop()


async def use_a_router(system: ActorSystem, world: World) -> None:
    """Use a router: tells, asks, a broadcast, members that fail, end, are added and removed, and a restart."""
    refs = [await system.spawn(Pointed, name, world, mailbox_size=1) for name in "abc"]
    ref = await system.spawn(router(refs[:2], routing="least_waiting"), restart=Restart.TRANSIENT)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ref.tell, pass_points)
        nursery.start_soon(ref.ask, pass_points, 10)
        await ref.broadcast(pass_points)
    await ref.tell(ValueError("crash"))
    ref.add(refs[2])
    await refs[0].stop()
    ref.remove(refs[1])
    ref.kill()
    await ref.ask(pass_points)
    assert len(ref.members()) <= 1
    await ref.stop()
