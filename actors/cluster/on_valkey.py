"""A node on a log in Valkey: the engines of its interfaces, tied to the log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from actors.cluster._gate import NodeGate
from actors.cluster._interrupted import has_open_items
from actors.cluster._settings import default_node_name
from actors.cluster.interfaces import NO_TOKEN
from actors.cluster.node import ClusterNode
from actors.valkey.bus import ValkeyBus
from actors.valkey.members import ValkeyMembers
from actors.valkey.owners import ValkeyOwners

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.cluster._settings import ClusterSettings
    from actors.eventlog.base import StreamKey
    from actors.eventlog.valkey import ValkeyLog


def valkey_node(
    log: ValkeyLog,
    settings: ClusterSettings,
    *,
    revive: Callable[[StreamKey], Awaitable[object]],
    max_event_bytes: int = 1024 * 1024,
    info: Callable[[], str] = str,
) -> tuple[ClusterNode, ValkeyBus]:
    """Return a node for the users of a log in Valkey, and the bus of the node.

    From then on the log appends with the tokens of the node, writes nothing while the node is not live, and keeps the
    set of the streams with open runs.

    Args:
        log: The log. It must be open before the node runs.
        settings: The limits and times.
        revive: Function that makes the session of a user that this node owns, if it is not in memory.
        max_event_bytes: Maximum bytes of the data of one event.
        info: Function that returns a text for people, which each beat carries.
    """
    settings = attrs.evolve(settings, node_name=settings.node_name or default_node_name())
    owners, members = ValkeyOwners(log.valkey), ValkeyMembers(log.valkey)
    bus = ValkeyBus(log.valkey, settings.node_name, lambda: node.incarnation)
    node = ClusterNode(
        owners,
        members,
        bus,
        log,
        settings,
        revive=revive,
        max_event_bytes=max_event_bytes,
        repair=partial(_repair, log),
        info=info,
    )
    heart = node.heart

    def introduce() -> None:
        log.watchers.sender = str(node.incarnation)

    introduce()
    heart.on_buried.append(introduce)
    log.tokens, log.no_token = node.claims.texts, NO_TOKEN
    log.opens = has_open_items
    log.gate = NodeGate(heart, node.claims)
    return node, bus


async def _repair(log: ValkeyLog) -> None:
    """Put back events that a restarted server has lost, as soon as it can be reached."""
    link = log.valkey.commits
    while not link.up and not link.ended:
        await link.changed()
    await log.repair()
