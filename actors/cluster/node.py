"""The node of this process: its beats, its users, and the failover of dead nodes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from actors.cluster._claims import Claims
from actors.cluster._failover import Failover
from actors.cluster._heart import Heart
from actors.cluster._settings import ClusterSettings, default_node_name
from actors.cluster._statistics import ClusterStatistics
from actors.cluster._times import boot_time
from actors.cluster.interfaces import NodeState
from actors.errors import LogUnavailable
from actors.runtime._actor import Actor
from actors.runtime._lifecycle import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from actors.cluster.interfaces import Bus, Incarnation, Members, NodeInfo, Owners, Token
    from actors.eventlog.base import EventLog, StreamKey


_UNREADY = {
    NodeState.JOINING: "the node has not joined the cluster yet",
    NodeState.SUSPENDED: "the node is cut off from the server of its log",
    NodeState.STOPPED: "the node has left the cluster",
}
"""The reasons, by the state of a node, for which it should get no new clients."""


class ClusterNode:
    """The node of this process. It implements :class:`~actors.cluster.interfaces.Node`.

    Functions that are told about changes are added to the lists of :attr:`heart` and :attr:`claims`.
    """

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        owners: Owners,
        members: Members,
        bus: Bus,
        log: EventLog,
        settings: ClusterSettings | None = None,
        *,
        revive: Callable[[StreamKey], Awaitable[object]],
        max_event_bytes: int = 1024 * 1024,
        repair: Callable[[], Awaitable[None]] | None = None,
        info: Callable[[], str] = str,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """Describe the node. It does nothing before :meth:`run`.

        Args:
            owners: The owners of the users.
            members: The registered nodes.
            bus: The messages between the nodes.
            log: The log, on the same engine.
            settings: The limits and times.
            revive: Function that makes the session of a user that this node owns, if it is not in memory.
            max_event_bytes: Maximum bytes of the data of one event.
            repair: Function that puts back what a restarted engine has lost. None if there is nothing to put back.
            info: Function that returns a text for people, which each beat carries.
            clock: The clock of the node, in seconds. Only tests have another one.
        """
        settings = settings or ClusterSettings()
        self.name = settings.node_name or default_node_name()
        self.heart = Heart(self.name, members, bus, settings.times, info=info, clock=clock)
        self.claims = Claims(owners, self.heart)
        self.failover = Failover(
            owners,
            self.claims,
            self.heart,
            log,
            per_second=settings.failover_per_second,
            lease=settings.lease_seconds,
            max_event_bytes=max_event_bytes,
            revive=revive,
        )
        self._repair = repair
        self._restarted = trio.Event()
        self.heart.on_restart.append(self._on_restart)

    @property
    def incarnation(self) -> Incarnation:
        """The present incarnation. After a burial the node has a new one."""
        return self.heart.incarnation

    @property
    def state(self) -> NodeState:
        """The state of the node at this moment."""
        return self.heart.state

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """The registered nodes by name, as the last answered beat showed them."""
        return self.heart.nodes

    @property
    def unready(self) -> str:
        """The reason why this node should get no new clients now; "" if it is live, and hears the other nodes."""
        if self.state is not NodeState.LIVE:
            return _UNREADY[self.state]
        return "the node does not hear the other nodes" if self.heart.deaf else ""

    async def look(self) -> None:
        """Beat now. See :meth:`actors.cluster.interfaces.Node.look`."""
        await self.heart.look()

    @property
    def owned(self) -> Mapping[str, Token]:
        """The tokens of all users that this node owns, by user."""
        return self.claims.owned

    def owns(self, user: str) -> bool:
        """Return whether this node owns the user. See :meth:`actors.cluster.interfaces.Node.owns`."""
        return self.claims.owns(user)

    async def own(self, user: str, not_mine: Token | None = None) -> Token | None:
        """Claim a user if that is allowed. See :meth:`actors.cluster.interfaces.Node.own`."""
        return await self.claims.own(user, not_mine)

    async def release(self, user: str) -> None:
        """Give up a user. See :meth:`actors.cluster.interfaces.Node.release`."""
        await self.claims.release(user)

    def close(self) -> None:
        """Claim no more users. See :meth:`actors.cluster.interfaces.Node.close`."""
        self.claims.closed = True

    def lose(self, user: str, token: Token) -> None:
        """Forget a user that another node has claimed. See :meth:`actors.cluster.interfaces.Node.lose`."""
        self.claims.lose(user, token)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the cluster until cancelled. Report the start when the node has joined.

        Raises:
            ConfigError: Another process uses the name of this node.

        Cancellation: the node is removed from the cluster.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self.heart.run)
            nursery.start_soon(self.failover.run)
            if self._repair is not None:
                nursery.start_soon(self._repair_on_restarts, self._repair)
            task_status.started()

    def _on_restart(self) -> None:
        self._restarted.set()

    async def _repair_on_restarts(self, repair: Callable[[], Awaitable[None]]) -> None:
        """Put back events that a restarted engine has lost, before another node claims the users."""
        while True:
            await self._restarted.wait()
            self._restarted = trio.Event()
            if await self.heart.until_live():
                with suppress(LogUnavailable):  # each append tries it, too
                    await repair()

    def statistics(self) -> ClusterStatistics:
        """Return the state of the node and its counters, without those of its router and its log."""
        heart, claims = self.heart, self.claims
        return ClusterStatistics(
            node=self.name,
            state=self.state,
            until=heart.until - heart.clock(),
            deaf=heart.deaf,
            nodes=len(heart.nodes),
            owned=len(claims.owned),
            claims=claims.counters.claims,
            claims_lost=claims.counters.lost,
            fenced=claims.counters.fenced,
            buried=heart.counters.buried,
            burials=heart.counters.burials,
            taken_over=self.failover.taken_over,
        )


class NodeKeeper(Actor):
    """The actor that keeps the node in the cluster. The log must be open before it starts.

    If it fails, its supervisor starts it again, and the node goes on with a new incarnation.

    Args:
        node: The node.
        committed: Function that waits until the events of all sessions so far are in the log.
    """

    def __init__(self, node: ClusterNode, committed: Callable[[], Awaitable[None]]) -> None:
        self._node = node
        self._committed = committed

    async def started(self) -> None:
        """Join the cluster."""
        await self.nursery.start(self._node.run)

    async def stopping(self, reason: object) -> None:
        """Wait for the commits of the sessions, all of which have ended, before the node leaves the cluster.

        *A node that has left may not append: if the log was slow, the end of a run was refused.*
        """
        if not isinstance(reason, Failure):
            await self._committed()
