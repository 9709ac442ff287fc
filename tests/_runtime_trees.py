"""The supervision trees of random runs: the specs of supervisors and their children."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from _runtime_records import LAST_PLACE, ChildGroup, Placement
from _runtime_wild import RandomActor

from actors import AutoShutdown, Backoff, ChildSpec, MailboxSpec, Overflow, Restart, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from _runtime_world import World


def child_spec(  # noqa: PLR0913, PLR0917  -- the properties of a child
    world: World, name: str, depth: int, automatic: AutoShutdown, group: ChildGroup, place: float = LAST_PLACE
) -> ChildSpec:
    """Return a random spec of a child, which is an actor or a supervisor."""
    draw = world.random.choice
    restart = draw([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
    is_supervisor = depth < 2 and world.chance(0.2)
    group.is_complete = group.is_complete and not is_supervisor
    factory = supervisor_spec(world, depth + 1, is_single=False) if is_supervisor else None
    shutdown = draw([None, 0, 1, 5])
    significant = automatic is not AutoShutdown.NEVER and restart is not Restart.PERMANENT and world.chance(0.5)
    backoff = draw([None, None, Backoff(0.1, 2, 0.2)])
    mailbox = MailboxSpec(size=draw([1, 8, 64]), overflow=draw(list(Overflow)))
    own = world.draw_own_limit(restart)
    placement = Placement(group, restart, place, limit=world.limit_of(*own))
    make = factory or functools.partial(RandomActor, world, 2, placement)
    return ChildSpec(name, make, restart, shutdown, significant, backoff, mailbox, *own)


def supervisor_spec(world: World, depth: int = 0, *, is_single: bool = True) -> SupervisorSpec:
    """Return a random spec of a supervisor."""
    draw = world.random.choice
    automatic = draw([AutoShutdown.NEVER, AutoShutdown.NEVER, AutoShutdown.ANY, AutoShutdown.ALL])
    group = world.ledger.new_group()
    group.is_single = is_single
    children = [
        child_spec(world, f"c{number}", depth, automatic, group, number) for number in range(world.random.randrange(5))
    ]
    group.strategy = draw(list(Strategy))
    group.max_restarts, group.max_seconds = draw([0, 1, 3, 100]), draw([1, 5])
    return SupervisorSpec(
        group.strategy,
        children,
        max_restarts=group.max_restarts,
        max_seconds=group.max_seconds,
        auto_shutdown=automatic,
    )
