"""The consumers of a node follow its users: they read the events of users that come, and let users go that leave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster.interfaces import NodeState

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from actors.cluster.interfaces import Incarnation
    from actors.sessions._consumers import Consumers

SEARCH_SECONDS = 300.0
"""Interval in seconds at which consumers search the whole log, if no node comes or goes.

It finds the events of a user whom a node has given up for another one that did not come.
"""


@attrs.define(eq=False)
class Consuming:
    """The notices to the consumers of a node about its users, and about the other nodes."""

    _consumers: Consumers
    _living: AbstractSet[Incarnation] = frozenset()
    _search_at: float = math.inf

    def on_owned(self, user: str) -> None:
        """Read the unread events of a user that this node owns now."""
        self._consumers.forget_user(user)
        self._consumers.search(user)

    def on_gone(self, user: str) -> None:
        """Read no more events of a user that this node does not own any more."""
        self._consumers.forget_user(user)

    async def let_go(self, user: str) -> bool:
        """Store the positions in a user's sessions. Return False if the user cannot leave this node now."""
        return await self._consumers.let_go(user)

    def follow(self, state: NodeState, living: AbstractSet[Incarnation]) -> None:
        """Search the whole log when this node becomes live, when a node comes or goes, and at long intervals.

        ``living`` has the registered nodes; it does not count while this node is not live. Never wait.
        """
        if state is not NodeState.LIVE:
            self._living = frozenset()
            return
        now = trio.current_time()
        if living != self._living or now >= self._search_at:
            self._living, self._search_at = living, now + SEARCH_SECONDS
            self._consumers.search()
