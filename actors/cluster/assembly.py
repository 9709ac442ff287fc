"""The parts of a node, tied together: sessions, a log in Valkey, the node and its router."""

from __future__ import annotations

import logging
from importlib import metadata
from typing import TYPE_CHECKING

import attrs

from actors.cluster._custody import NodeCustody
from actors.cluster._router import Router
from actors.cluster._settings import ClusterSettings
from actors.cluster.looking import info_text, lease_text, other_leases
from actors.cluster.node import NodeKeeper
from actors.cluster.on_valkey import valkey_node
from actors.cluster.publishing import ValkeyPublisher
from actors.failures import log_line
from actors.runtime._actor import Actor
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.cluster._statistics import ClusterStatistics
    from actors.cluster.interfaces import Incarnation
    from actors.cluster.node import ClusterNode
    from actors.eventlog.base import StreamKey
    from actors.eventlog.valkey import ValkeyLog
    from actors.sessions._registry import Sessions


logger = logging.getLogger("greenroom.cluster")


@attrs.frozen
class Membership:
    """The part of a process that makes it a node of a cluster."""

    node: ClusterNode
    router: Router
    _log: ValkeyLog

    def statistics(self) -> ClusterStatistics:
        """Return the state of the node, and the counters of the node, its router, and its log."""
        log, links = self._log, self._log.valkey.statistics()
        return attrs.evolve(
            self.node.statistics(),
            **attrs.asdict(self.router.statistics()),
            restored=log.restored,
            epochs_renewed=log.epochs_renewed,
            flushes=log.statistics().commits,
            commands=links.commands,
            reconnects=links.reconnects,
            oom=log.full,
        )


class RouterKeeper(Actor):
    """The actor that talks to the other nodes."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def started(self) -> None:
        """Start to talk to the other nodes."""
        self.nursery.start_soon(self._router.run)


def join(sessions: Sessions, log: ValkeyLog, settings: ClusterSettings | None = None) -> Membership:
    """Make sessions the sessions of one node of a cluster, which shares its log in Valkey with the other nodes.

    Call this before the actors of the sessions start: the actors of the node are then among them.
    """
    settings = settings or ClusterSettings()

    async def revive(key: StreamKey) -> None:
        await router.open(key)

    def info() -> str:
        return info_text(
            {"lease": lease_text(settings.lease_seconds), "users": len(node.claims.owned), "version": version}
        )

    def compare_leases() -> None:
        others = other_leases(node.nodes.values(), settings.lease_seconds)
        for incarnation, lease in others.items():
            if incarnation not in warned:
                text = "node %s has lease_seconds %s, and this node %g: give all servers on one log the same"
                log_line(logger, logging.WARNING, text, incarnation.node, lease, settings.lease_seconds)
        warned[:] = others

    warned: list[Incarnation] = []
    version = metadata.version("greenroom")
    node, bus = valkey_node(log, settings, revive=revive, max_event_bytes=sessions.settings.max_event_bytes, info=info)
    router = Router(
        sessions,
        sessions.here.log,
        node,
        bus,
        forward_seconds=settings.forward_seconds,
        patience_seconds=settings.patience_seconds,
        publisher=ValkeyPublisher(log),
    )
    sessions.place = router
    sessions.place_children = _children(sessions, node, router)
    node.heart.on_state.append(lambda _: router.on_node())
    node.heart.on_nodes += (router.on_node, compare_leases)
    node.heart.on_buried.append(router.on_node)
    _tie(sessions, node, router)
    return Membership(node, router, log)


def _children(sessions: Sessions, node: ClusterNode, router: Router) -> tuple[ChildSpec, ...]:
    """Return the specs of the actors of a node."""
    # A slow log has as long for the last commits as the sessions have for their runs.
    seconds = sessions.settings.drain_seconds + 10
    return (
        ChildSpec("node", lambda: NodeKeeper(node, sessions.committed), Restart.PERMANENT, seconds),
        ChildSpec("router", lambda: RouterKeeper(router), Restart.PERMANENT),
    )


def _tie(sessions: Sessions, node: ClusterNode, router: Router) -> None:
    """Have sessions and router follow the users that come to the node and leave it."""

    def on_lost(users: Sequence[str]) -> None:
        for user in users:
            router.on_lost(user)

    custody = NodeCustody(router.owned, node, node.claims)
    # All nodes share the clock of the log's server: a node whose own clock is wrong deletes nothing too early.
    ages = sessions.revocations.ages = sessions.cleaner.ages
    node.heart.on_time.append(ages.compare)
    sessions.cleaner.custody = sessions.consumers.custody = sessions.user_retention.custody = custody
    node.claims.on_claimed.append(router.on_claimed)
    node.claims.on_lost.append(on_lost)
    node.failover.on_closed.append(sessions.consumers.note)
    node.failover.meter = sessions.survey.meter
