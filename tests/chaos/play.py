"""A chaos test: the clients work, the harms come one after another, and at the end all that is known is collected."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import attrs
import trio
from chaos.harms import LOSSES, RESTARTS, Harm, Kind
from chaos.histories import Story
from chaos.users import MOMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.histories import Stored
    from chaos.links import Link
    from chaos.stage import Node, Stage
    from chaos.users import Crowd

    from actors import StreamKey


@attrs.define(eq=False)
class Play:
    """The story of a chaos test, and the time that it took until all clients worked again after the last harm."""

    story: Story
    recovery: float
    """Seconds from the end of the last harm until every client had all events, and each command was answered."""


async def play(stage: Stage, crowd: Crowd, harms: Sequence[Harm]) -> Play:
    """Do the harms while the clients work, wait until all is well again, and return what is known."""
    async with trio.open_nursery() as nursery:
        for tab in crowd.tabs:
            nursery.start_soon(tab.run)
        for harm in harms:
            await crowd.until_seen(harm.events)
            await do(stage, harm)
        healed = trio.current_time()
        crowd.stopped = True
        while not all(tab.finished for tab in crowd.tabs):
            await crowd.changed.park()
        while not at_rest(crowd, stored := await stage.stored()):
            with trio.move_on_after(MOMENT):
                await crowd.changed.park()
        recovery = trio.current_time() - healed
        nursery.cancel_scope.cancel()
    kinds = {harm.kind for harm in harms}
    records = [*chain.from_iterable(node.record() for node in stage.nodes)]
    clients = [tab.history for tab in crowd.tabs]
    return Play(Story(clients, stored, records, bool(kinds & RESTARTS), bool(kinds & LOSSES)), recovery)


def at_rest(crowd: Crowd, stored: Mapping[StreamKey, Stored]) -> bool:
    """Return whether all clients have all events of the log, and no run is open."""
    kinds = [event.type for each in stored.values() for event in each.events]
    return not crowd.behind(stored) and kinds.count("agent_started") == kinds.count("agent_completed")


async def do(stage: Stage, harm: Harm) -> None:
    """Do one harm, and return when it is over."""
    node = stage.nodes[harm.node]
    match harm.kind:
        case Kind.KILL:
            await node.kill()
            await stage.start(node)
        case Kind.PAUSE:
            node.pause()
            await last(stage, harm)
            node.go_on()
        case Kind.LATE:
            await come_late(stage, node)
        case Kind.RESTART | Kind.OLDER | Kind.EMPTY | Kind.FLUSH:
            await harm_valkey(stage, harm)
        case Kind.CLIENT_CUT | Kind.CLIENT_STALL | Kind.CLIENT_HOLE:
            break_link(node.to_node, harm)
            await stage.until_beaten(node, harm.beats or 4)
            node.to_node.heal()
        case _:
            break_link(node.to_valkey, harm)
            await last(stage, harm)
            node.to_valkey.heal()


async def last(stage: Stage, harm: Harm) -> None:
    """Wait for the length of a harm that keeps a node from beating."""
    if harm.beats:
        await stage.until_beaten(stage.nodes[harm.node - 1], harm.beats)
    else:
        await stage.until_removed(stage.nodes[harm.node])


def break_link(link: Link, harm: Harm) -> None:
    """Begin the harm of a link."""
    match harm.kind:
        case Kind.CUT | Kind.CLIENT_CUT:
            link.cut()
        case Kind.STALL | Kind.CLIENT_STALL:
            link.stall(*harm.directions)
        case _:
            link.hole(*harm.directions)


async def come_late(stage: Stage, node: Node) -> None:
    """Keep the bytes of a node until it is removed from the cluster. Then let them through, and the node too."""
    node.to_valkey.stall("up")
    node.pause()
    await stage.until_removed(node)
    node.to_valkey.heal()
    await stage.until_beaten(stage.nodes[stage.nodes.index(node) - 1], 1)
    node.go_on()


async def harm_valkey(stage: Stage, harm: Harm) -> None:
    """Restart Valkey, or remove its data, and wait until the nodes use it again."""
    match harm.kind:
        case Kind.RESTART:
            stage.valkey.restart()
        case Kind.OLDER:
            copy = stage.valkey.copy_data()
            await stage.until_beaten(stage.nodes[harm.node], harm.beats or 4)
            stage.valkey.restart_with(copy)
        case Kind.EMPTY:
            stage.valkey.restart_empty()
        case _:
            stage.valkey.ask("FLUSHALL")
    await stage.until_up()
    await stage.until_beaten(stage.nodes[harm.node], 2)
