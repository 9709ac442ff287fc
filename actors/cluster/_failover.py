"""The failover: the open runs of dead nodes are closed by the nodes that are left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from actors.cluster._interrupted import closing_batch, has_open_runs, interrupted_items
from actors.cluster._share import batched, share
from actors.cluster.interfaces import NodeState
from actors.errors import LogError
from actors.events.types import Status
from actors.failures import log_failure, log_line
from actors.loop.boundary import contained
from actors.runs._meter import Meter
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.cluster._claims import Claims
    from actors.cluster._heart import Heart
    from actors.cluster.interfaces import Owners
    from actors.eventlog.base import EventLog, StreamKey

logger = logging.getLogger("greenroom.cluster")

LOT = 50
"""Maximum number of users that are taken over at the same time. More would only wait for the engine."""

SWEEP_LEASES = 8
"""Interval between two searches for open runs without an owner, in leases, if no node comes or goes.

It finds the runs of a user whose share fell to a node that died during its own failover.
"""

MARGIN_BYTES = 1024
"""Number of bytes by which an event that closes an interrupted run is allowed to exceed ``max_event_bytes``."""


class Failover:
    """The task that closes the open runs of dead nodes.

    Each node takes its share of the users. It claims a user, closes the open runs from the state of the streams alone,
    and releases the user. *A session that was made for it would read its log for nothing, and stay in memory.*
    """

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        owners: Owners,
        claims: Claims,
        heart: Heart,
        log: EventLog,
        *,
        per_second: int,
        lease: float,
        max_event_bytes: int,
        revive: Callable[[StreamKey], Awaitable[object]],
    ) -> None:
        """Describe the failover.

        Args:
            owners: The owners of the users.
            claims: The users of this node.
            heart: The beats of this node.
            log: The log.
            per_second: Maximum number of users per second.
            lease: The lease, in seconds.
            max_event_bytes: Maximum bytes of the data of one event.
            revive: Function that makes the session of a user that this node owns, if it is not in memory. The start of
                the session closes its open runs.
        """
        self._owners = owners
        self._claims = claims
        self._heart = heart
        self._log = log
        self._per_second = per_second
        self._interval = SWEEP_LEASES * lease
        self._max_event_bytes = max_event_bytes + MARGIN_BYTES
        self._revive = revive
        self._due = trio.Event()
        self.meter = Meter()
        """The counts of ended runs. The node of a server has those of its sessions."""
        self.taken_over = 0
        """Number of users that were taken over: their open runs were closed."""
        self.on_closed: list[Callable[[StreamKey], None]] = []
        """Functions that are called with a stream to which the events were added that close its runs."""
        heart.on_nodes.append(self.wake)
        claims.on_inherited.append(self.wake)

    def wake(self) -> None:
        """Search for open runs without an owner soon."""
        self._due.set()

    async def run(self) -> None:
        """Search whenever a node comes or goes, and at long intervals, until cancelled."""
        while True:
            with trio.move_on_after(self._interval):
                await self._due.wait()
            self._due = trio.Event()
            if self._heart.state is NodeState.LIVE and not self._claims.closed:
                try:
                    await self.sweep()
                except LogError as error:
                    log_line(logger, logging.WARNING, "the runs of dead nodes could not be closed yet: %s", error)
                    await trio.sleep(self._interval / (4 * SWEEP_LEASES))
                    self.wake()

    async def sweep(self) -> None:
        """Close all open runs without a living owner that fall to this node, and those of its own users."""
        users: dict[str, list[StreamKey]] = {}
        for partition in range(self._owners.partitions):
            for key in await self._owners.open_of(partition):
                users.setdefault(key.user, []).append(key)
        mine = [user for user in sorted(users) if self._is_mine(user)]
        orphans: list[str] = []
        for lot in batched(mine, LOT):
            async with trio.open_nursery() as nursery:
                for user in lot:
                    nursery.start_soon(self._look_at, user, orphans)
        for lot in batched(orphans, LOT):
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                for user in lot:
                    nursery.start_soon(self._take_over, user, users[user])
            await trio.sleep_until(begun + len(lot) / self._per_second)

    async def _look_at(self, user: str, orphans: list[str]) -> None:
        """Add the user to ``orphans`` if no other living node owns the user. That is only a first look."""
        if user not in self._claims.owned:
            token = await self._owners.owner_of(user)
            if token is not None and token.incarnation is not None and self._heart.is_registered(token.incarnation):
                return
        orphans.append(user)

    def _is_mine(self, user: str) -> bool:
        nodes = self._heart.nodes
        return user in self._claims.owned or (bool(nodes) and share(user, nodes) == self._heart.incarnation.node)

    async def _take_over(self, user: str, keys: list[StreamKey]) -> None:
        if self._claims.closed:
            return
        try:
            if user in self._claims.owned:
                for key in keys:
                    await self._revive(key)
                return
            async with self._claims.taken(user) as mine:
                if mine:
                    closed = [await self._close(key) for key in keys]
                    self.taken_over += any(closed)
        # The other users must not wait because of one whose log is damaged, or who is just claimed by another node.
        except Exception as error:  # noqa: BLE001 - as above
            if not self._claims.closed:  # a node that ends can get no users, and loses those that it has
                log_failure(logger, "the open runs of user %s could not be closed", user, error=error)

    async def _close(self, key: StreamKey) -> bool:
        head = await self._log.head(key)
        if head is None or not has_open_runs(head):
            return False
        # This renews the epoch if the engine has lost events of the stream.
        head = await self._log.make(key)
        batch = closing_batch(key, head, now_ms(), self._max_event_bytes)
        if batch is not None:
            await self._log.append([batch])
            for event, name, seconds in interrupted_items(head):
                self.meter.ended(event, name, Status.INTERRUPTED, seconds)
            for callback in tuple(self.on_closed):
                contained("a function that is told about closed runs", callback, key)
        return batch is not None
