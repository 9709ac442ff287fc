"""A chaos test: the clients work, harms come and overlap, and at the end all that is known is collected."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import chain
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio
from _scale import scaled
from chaos.harms import LOSSES, RESTARTS, Harm, Kind, draw
from chaos.histories import Story
from chaos.pace import Lateness
from chaos.users import MOMENT, Crowd
from delivery.agents import Paced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _links import Link
    from chaos.histories import Stored
    from chaos.stage import Node, Stage

    from actors import StreamKey

USERS = scaled(2, 200)
ARRIVALS = 20
"""Number of clients that come at once, before the first harm."""
LONG = 24
"""Maximum length of a harm in quarters of a lease. Within 6 of them the other nodes bury a node, if they can."""
WORK = Paced(3, scaled(0.1, 6.0))
"""The work of each run. All processes share the machine of the test, and the nodes must have time for their beats."""


@attrs.define(eq=False)
class Play:
    """The story of a chaos test, and how long it took until all clients worked again after the last harm."""

    story: Story
    recovery: float
    """Seconds from the end of the last harm until the last client got the answer to a command that it sent later."""
    rest: float
    """Seconds until every run had ended besides, and every client had all events."""
    half: float
    """Seconds until half of the clients had got the answer. Far below :attr:`recovery`, a few clients were stuck."""
    late: float
    """The part of :attr:`recovery` in which the process of the test could not act, because the machine was busy."""


async def play(ready: Stage, seed: int, kinds: Sequence[Kind], count: int) -> Play:
    """Do harms while clients work, wait until all is well again, and return what is known.

    ``seed`` gives the order of the harms and the names of the users. Each of the kinds comes before one comes again.
    """
    rng = Random(seed)
    harms = draw(rng, kinds, count, len(ready.nodes))
    crowd = Crowd(rng, ready.nodes, [f"user{seed}x{number}" for number in range(USERS)], WORK)
    lateness = Lateness()
    async with trio.open_nursery() as nursery:
        for number, tab in enumerate(crowd.tabs, 1):
            nursery.start_soon(tab.run)
            if number % ARRIVALS == 0:
                await crowd.until_seen(ARRIVALS)
        await harmed(ready, crowd, harms)
        healed = trio.current_time()
        nursery.start_soon(lateness.watch)
        crowd.stop()
        half = await crowd.until_finished(len(crowd.tabs) // 2) - healed
        recovery = await crowd.until_finished(len(crowd.tabs)) - healed
        late = lateness.seconds
        while not (crowd.is_idle() and at_rest(crowd, stored := await stored_of(ready, crowd))):
            with trio.move_on_after(MOMENT):
                await crowd.changed.park()
        rest = trio.current_time() - healed
        nursery.cancel_scope.cancel()
    done = {harm.kind for harm in harms}
    records = [
        [entry for entry in entries if entry.user in crowd.users]
        for entries in chain.from_iterable(node.record() for node in ready.nodes)
    ]
    clients = [tab.history for tab in crowd.tabs]
    story = Story(clients, stored, records, bool(done & RESTARTS), bool(done & LOSSES))
    return Play(story, recovery, rest, half, late)


async def stored_of(ready: Stage, crowd: Crowd) -> dict[StreamKey, Stored]:
    """Return the sessions of these users in the log."""
    return {key: stored for key, stored in (await ready.stored()).items() if key.user in crowd.users}


def at_rest(crowd: Crowd, stored: Mapping[StreamKey, Stored]) -> bool:
    """Return whether all clients have all events of the log, and no run is open."""
    kinds = [event.type for each in stored.values() for event in each.events]
    return not crowd.behind(stored) and kinds.count("agent_started") == kinds.count("agent_completed")


async def harmed(ready: Stage, crowd: Crowd, harms: Sequence[Harm]) -> None:
    """Do the harms. Return when all of them are over."""
    locks = {part: trio.Lock() for harm in harms for part in harm.suffering}

    async def one(harm: Harm, task_status: trio.TaskStatus[None]) -> None:
        async with AsyncExitStack() as stack:
            for part in sorted(harm.suffering):
                await stack.enter_async_context(locks[part])
            task_status.started()
            await do(ready, harm)

    remaining = list(harms)
    while remaining:
        async with trio.open_nursery() as nursery:
            overlaps = True
            while remaining and overlaps:
                harm = remaining.pop(0)
                await crowd.until_seen(harm.events)
                await nursery.start(one, harm)
                overlaps = harm.overlaps


async def do(ready: Stage, harm: Harm) -> None:
    """Do one harm, and return when it is over."""
    node = ready.nodes[harm.node]
    match harm.kind:
        case Kind.KILL:
            await node.kill()
            await ready.start(node)
        case Kind.PAUSE:
            node.pause()
            await last(ready, harm)
            node.go_on()
        case Kind.CLOCK:
            node.set_clock(harm.step)
            await ready.pass_by(harm.beats)
        case Kind.LATE:
            await come_late(ready, node)
        case Kind.RESTART | Kind.OLDER | Kind.EMPTY | Kind.FLUSH:
            await harm_valkey(ready, harm)
        case Kind.CLIENT_CUT | Kind.CLIENT_STALL | Kind.CLIENT_HOLE:
            break_link(node.to_node, harm)
            await ready.pass_by(harm.beats or 4)
            node.to_node.heal()
        case _:
            break_link(node.to_valkey, harm)
            await last(ready, harm)
            node.to_valkey.heal()


async def last(ready: Stage, harm: Harm) -> None:
    """Wait for the length of a harm that keeps a node from beating."""
    if harm.beats:
        await ready.pass_by(harm.beats)
    else:
        await removed(ready, ready.nodes[harm.node])


async def removed(ready: Stage, node: Node) -> None:
    """Wait until a node is removed, or for a long time: perhaps all others suffer, too."""
    with trio.move_on_after(LONG * ready.lease / 4):
        await ready.until_removed(node)


def break_link(link: Link, harm: Harm) -> None:
    """Begin the harm of a link."""
    match harm.kind:
        case Kind.CUT | Kind.CLIENT_CUT:
            link.cut()
        case Kind.STALL | Kind.CLIENT_STALL:
            link.stall(*harm.directions)
        case _:
            link.hole(*harm.directions)


async def come_late(ready: Stage, node: Node) -> None:
    """Keep the bytes of a node until it is removed from the cluster. Then let them through, and the node too."""
    node.to_valkey.stall("up")
    node.pause()
    await removed(ready, node)
    node.to_valkey.heal()
    await ready.pass_by(1)
    node.go_on()


async def harm_valkey(ready: Stage, harm: Harm) -> None:
    """Restart Valkey, or remove its data, and wait until the nodes can use it again."""
    match harm.kind:
        case Kind.RESTART:
            ready.valkey.restart()
        case Kind.OLDER:
            copy = ready.valkey.copy_data()
            await ready.pass_by(harm.beats or 4)
            ready.valkey.restart_with(copy)
        case Kind.EMPTY:
            ready.valkey.restart_empty()
        case _:
            ready.valkey.ask("FLUSHALL")
    await ready.until_up()
    await ready.pass_by(2)
