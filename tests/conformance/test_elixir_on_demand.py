"""Actors that start on demand, after Elixir's DynamicSupervisor with Registry, OTP's simple_one_for_one and Orleans."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from _probes import Member, World, crash

from actors import ActorRef, NameTaken, Restart, on_demand, open_system


async def test_one_process_of_a_key() -> None:
    """Registry with unique keys: of several concurrent starts one registers, and all callers get its process."""
    world, refs = World(), set[ActorRef[Any, Any]]()
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world)))

        async def get() -> None:
            refs.add(await group.get_or_spawn("key"))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(get)
        assert (len(refs), world.starts) == (1, {"key": 1})


async def test_name_of_a_running_child() -> None:
    """``start_child`` of a registered name: {error, {already_started, Pid}}. ``get_or_spawn`` returns that child."""
    world = World()
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world)))
        ref = await group.get_or_spawn("a")
        try:
            await group.start_child(world.member("a"))
        except NameTaken:
            assert await group.get_or_spawn("a") is ref
        else:
            raise AssertionError


async def test_entry_ends_with_its_process() -> None:
    """Registry: the entry of a process that ends is removed, and the key is free."""
    world = World()
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world), restart=Restart.TEMPORARY))
        ref = await group.get_or_spawn("a")
        await crash(ref)
        assert group.child("a") is None
        assert await group.get_or_spawn("a") is not ref


async def test_restarted_child_keeps_its_key() -> None:
    """A transient child that failed is restarted under its key; here its handle stays the same, too."""
    world = World()
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world)))
        ref = await group.get_or_spawn("a")
        await crash(ref)
        assert await group.get_or_spawn("a") is ref
        assert world.starts == {"a": 2}


async def test_children_stop_in_parallel() -> None:
    """simple_one_for_one: the supervisor ends its children all at once, in no order."""
    world, stopping = World(), list[str]()
    together = trio.Event()

    async def meet(member: Member) -> None:
        stopping.append(member.name)
        if len(stopping) == 3:
            together.set()
        await together.wait()

    world.on_stop.update(dict.fromkeys("abc", meet))
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world)))
        for name in "abc":
            await group.get_or_spawn(name)
        await group.stop()
    assert sorted(stopping) == ["a", "b", "c"]


async def test_deactivated_actor_is_activated_again() -> None:
    """Orleans: a grain that deactivates itself is activated by the next call, as a new instance."""
    world = World()
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, world)))
        for times in range(1, 4):
            ref = await group.get_or_spawn("grain")
            await ref.tell("normal")
            await ref.terminated()
            assert world.starts == {"grain": times}
