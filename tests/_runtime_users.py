"""The users of random runs: each of their actions is one call to the system or to an actor.

Sleeps take no time: the run has a ``MockClock``.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import trio
from _runtime_handlers import ask
from _runtime_records import STOP_SLACK, ChildGroup, Placement
from _runtime_replies import ask_in_parts
from _runtime_trees import child_spec, supervisor_spec
from _runtime_wild import RandomActor

from actors import (
    ActorSystem,
    ActorTerminated,
    AutoShutdown,
    ChildSpec,
    OnDemandRef,
    Restart,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    on_demand,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from _runtime_world import World


async def use_randomly(system: ActorSystem, world: World) -> None:
    """Do twenty random actions with the system, as its user."""
    actions = [*ACTIONS, *[ask_one_in_parts] * 4, *[use_on_demand] * 3] if world.has_replies else ACTIONS
    for _ in range(20):
        action = world.random.choice(actions)
        world.note(action.__name__)
        with world.tolerant():
            await action(system, world)
        check_pictures(system, world)


def check_pictures(system: ActorSystem, world: World) -> None:
    """Read the tree, the statistics and all counts, and check that no actor has outlived its parent."""
    world.ledger.check_now(system, world.refs)
    for supervisor in world.supervisors:
        with contextlib.suppress(ActorTerminated):
            supervisor.counts()


async def spawn_one(system: ActorSystem, world: World) -> None:
    """Spawn a random actor at the top of the tree."""
    restart = world.random.choice([Restart.TEMPORARY, Restart.TEMPORARY, Restart.TRANSIENT])
    placement, shutdown = Placement(world.root, restart), world.random.choice([0, 1, 5])
    world.add(await system.spawn(RandomActor, world, 0, placement, restart=restart, shutdown=shutdown))


async def supervise_some(system: ActorSystem, world: World) -> None:
    """Start a random supervisor, at the top of the tree or below another supervisor."""
    if world.chance(0.2):
        world.add(await system.supervise(supervisor_spec(world)))
        return
    # Below another supervisor it may give up without ending the system.
    above = await system.supervise(SupervisorSpec())
    world.add(above)
    world.add(await above.start_child(ChildSpec("below", supervisor_spec(world), Restart.TEMPORARY)))


async def tell_one(_: ActorSystem, world: World) -> None:
    """Send a message to a random actor, and wait at most five seconds for room."""
    with trio.move_on_after(5):
        ref = world.pick_actor()
        with world.ledger.sending(world.ledger.new_letter(ref)) as letter:
            await ref.tell(letter)


async def ask_one(_: ActorSystem, world: World) -> None:
    """Ask a random actor, and record the answer or the error."""
    await ask(world, world.pick_actor(), world.random.choice([0, 0.1, 2]))


async def ask_one_in_parts(_: ActorSystem, world: World) -> None:
    """Ask a random actor for a reply in parts, and record the answer or the error."""
    await ask_in_parts(world, world.pick_actor())


async def stop_one(_: ActorSystem, world: World) -> None:
    """Stop a random actor, and check that the stop returns in time."""
    ref = world.pick_actor()
    world.ledger.stopped.add(ref)
    drain, seconds, begun = world.chance(0.5), world.random.choice([None, 0, 1, 9]), trio.current_time()
    world.on_end_known(ref, await ref.stop(drain=drain, timeout=seconds))
    late = trio.current_time() - begun - (math.inf if seconds is None else seconds)
    world.ledger.check(late <= STOP_SLACK, f"the stop of {ref.path} came {late} s late")


async def stop_and_go_on(_: ActorSystem, world: World) -> None:
    """Begin to stop a random actor, and cancel this call after a short time."""
    ref = world.pick_actor()
    with trio.move_on_after(world.random.choice([0, 0.05, 0.5])):
        world.ledger.stopped.add(ref)
        world.on_end_known(ref, await ref.stop(drain=world.chance(0.5)))


async def kill_one(_: ActorSystem, world: World) -> None:
    """Kill a random actor."""
    ref = world.pick_actor()
    world.ledger.on_kill(ref)
    ref.kill()


async def tell_several(_: ActorSystem, world: World) -> None:
    """Send a message to three random actors at the same moment, so that several may fail together."""
    for _turn in range(3):
        with world.tolerant():
            ref = world.pick_actor()
            with world.ledger.sending(world.ledger.new_letter(ref)) as letter:
                ref.tell_nowait(letter)


async def change_children(_: ActorSystem, world: World) -> None:
    """Make a random call about a random child of a supervisor."""
    supervisor = world.choose(world.supervisors)
    key = world.choose(supervisor.children()).id
    match world.random.randrange(4):
        case 0:
            await supervisor.terminate_child(key)
        case 1:
            await supervisor.restart_child(key)
        case 2:
            supervisor.delete_child(key)
        case _:
            await call_all_at_once(world, supervisor, key)


async def call_all_at_once(world: World, supervisor: SupervisorRef, key: str) -> None:
    """Make three random calls about one child of a supervisor at the same time."""

    async def delete() -> None:
        supervisor.delete_child(key)

    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: supervisor.terminate_child(key),
        lambda: supervisor.restart_child(key),
        lambda: supervisor.start_child(spec_of_new_child(world, supervisor, key, 2)),
        delete,
    ]

    async def tolerate(call: Callable[[], Awaitable[Any]]) -> None:
        with world.tolerant():
            await call()

    async with trio.open_nursery() as nursery:
        for call in world.random.sample(calls, 3):
            nursery.start_soon(tolerate, call)


async def add_child(_: ActorSystem, world: World) -> None:
    """Start one more child of a random supervisor."""
    supervisor = world.choose(world.supervisors)
    spec = spec_of_new_child(world, supervisor, f"x{world.random.randrange(5)}", 1)
    world.add(await supervisor.start_child(spec))


def spec_of_new_child(world: World, supervisor: SupervisorRef, name: str, depth: int) -> ChildSpec:
    """Return the spec of one more child."""
    group = world.ledger.group_of(supervisor, supervisor.statistics().strategy)
    return child_spec(world, name, depth, AutoShutdown.NEVER, group)


async def spawn_and_give_up(system: ActorSystem, world: World) -> None:
    """Begin to spawn a random actor, and cancel this call after a short time."""
    with trio.move_on_after(world.random.choice([0, 0.05, 0.5])):
        world.add(await system.spawn(RandomActor, world, 0, Placement(world.root, Restart.TEMPORARY)))


async def pass_time(_: ActorSystem, world: World) -> None:
    """Sleep for a random time."""
    await trio.sleep(world.random.choice([0, 0.1, 1]))


ACTIONS: list[Callable[[ActorSystem, World], Awaitable[None]]] = [
    *[tell_one] * 12,
    *[ask_one] * 6,
    *[tell_several] * 5,
    *[change_children] * 4,
    *[add_child] * 2,
    *[pass_time] * 5,
    *[stop_one] * 2,
    *[stop_and_go_on] * 3,
    *[kill_one] * 2,
    spawn_one,
    supervise_some,
    spawn_and_give_up,
]


async def use_on_demand(system: ActorSystem, world: World) -> None:
    """Ask a group on demand for a random child, perhaps giving up, and tell the child something."""
    groups = [ref for ref in world.supervisors if isinstance(ref, OnDemandRef)]
    if not groups:
        record = ChildGroup(Strategy.DYNAMIC, is_single=False, is_complete=False)
        make = lambda _: RandomActor(world, 2, Placement(record, Restart.TRANSIENT))  # noqa: E731  -- a factory
        world.add(await system.spawn(on_demand(make, max_restarts=100, max_children=3)))
        return
    with trio.move_on_after(world.random.choice([0.05, 5])):
        ref = await world.choose(groups).get_or_spawn(f"n{world.random.randrange(4)}")
        world.add(ref)
        with world.ledger.sending(world.ledger.new_letter(ref)) as letter:
            await ref.tell(letter)
