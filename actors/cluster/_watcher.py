"""The observation of other nodes: it decides which nodes are dead. Pure: times and looks come from the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.cluster._times import LOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.cluster._times import NodeTimes
    from actors.cluster.interfaces import NodeInfo


@attrs.define
class _Sight:
    """An unbroken observation of one node at one beat."""

    seen: str
    first: float
    """Time at which the first look came back. The node's beat was older than that."""
    last: float
    """Time at which the newest look came back."""
    looks: int


class Watcher:
    """The decision which nodes to bury.

    A node is buried if its incarnation and its beat did not change for a whole lease, in at least three looks that were
    at most two beats apart. A look is an answered beat of the observer itself. So while the engine or the observer
    stood still no node is judged: an outage of the engine, and a pause of the observer, start all observations anew.
    """

    def __init__(self, times: NodeTimes) -> None:
        self._times = times
        self._sights: dict[str, _Sight] = {}

    def look(self, nodes: Iterable[NodeInfo], sent: float, received: float) -> tuple[NodeInfo, ...]:
        """Record a look at the given nodes, and return those to bury now.

        Args:
            nodes: The nodes to judge, as the answer showed them; not the observer itself.
            sent: Time at which the observer asked, in seconds.
            received: Time at which the answer came, in seconds.
        """
        before, self._sights = self._sights, {}
        dead: list[NodeInfo] = []
        for node in nodes:
            sight = before.get(node.incarnation.node)
            if sight is None or sight.seen != node.seen or received - sight.last > self._times.between_looks:
                sight = _Sight(node.seen, received, received, 0)
            sight.last, sight.looks = received, sight.looks + 1
            self._sights[node.incarnation.node] = sight
            # From the end of the first look to the begin of this one: the node was silent for at least this long.
            if sent - sight.first >= self._times.lease and sight.looks >= LOOKS:
                dead.append(node)
        return tuple(dead)

    def missed(self) -> None:
        """Record that a look failed: the silence of a node says nothing now. Start all observations anew."""
        self._sights.clear()
