"""The life of a node as a state machine. Pure: the caller sends the beats, and passes times and answers.

===========  ===============================================  =========================================================
state        entered                                          what the node does
===========  ===============================================  =========================================================
joining      new incarnation                                  beats with ``join``; owns nothing
live         beat answered; until 3/4 lease after its sending everything
suspended    that time has passed                             starts no commit, claim, run or tool
live again   a beat of the same incarnation answered          goes on: another node cannot have claimed its users
joining      a beat answered that it is buried                gives up all its users, and takes a new incarnation
stopped      by itself                                        nothing
===========  ===============================================  =========================================================
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

from actors.cluster._watcher import Watcher
from actors.cluster.interfaces import NodeState
from actors.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cluster._times import NodeTimes
    from actors.cluster.interfaces import BeatAnswer, Incarnation, NodeInfo


_MOVES = 2
"""Number of beats of another process with this node's name that show that the process lives."""


class Turn(enum.Enum):
    """A change in the life of a node that the answer to a beat brought."""

    NONE = enum.auto()
    """Nothing but time."""
    JOINED = enum.auto()
    """The node is registered now."""
    RESUMED = enum.auto()
    """The node was suspended, and is live again."""
    BURIED = enum.auto()
    """Another node buried this one, or the engine lost its data. All users that it owned are lost to it."""


class NodeLife:
    """The state of the node of this process, and its observation of the other nodes.

    Args:
        times: The times, from the lease.
        make: Function that returns a new incarnation of the node.
    """

    def __init__(self, times: NodeTimes, make: Callable[[], Incarnation]) -> None:
        self._times = times
        self._make = make
        self._watcher = Watcher(times)
        self._blocker: NodeInfo | None = None
        self._moves = 0
        self._stopped = False
        self.incarnation = make()
        """The present incarnation of the node."""
        self.joined = False
        """Whether the present incarnation was registered."""
        self.until = -math.inf
        """Time until which the node is live, in seconds. After it the node is suspended."""
        self.looked_at = -math.inf
        """Time at which the newest look at the other nodes was sent, in seconds."""
        self.nodes: dict[str, NodeInfo] = {}
        """The registered nodes by name, as the newest look showed them."""

    def state(self, now: float) -> NodeState:
        """Return the state of the node at ``now``, in seconds."""
        if self._stopped:
            return NodeState.STOPPED
        if not self.joined:
            return NodeState.JOINING
        return NodeState.LIVE if now < self.until else NodeState.SUSPENDED

    def answered(self, answer: BeatAnswer, sent: float, received: float) -> tuple[Turn, tuple[NodeInfo, ...]]:
        """Handle the answer to a beat of the present incarnation.

        Args:
            answer: The answer.
            sent: Time at which the beat was sent, in seconds.
            received: Time at which the answer came, in seconds.

        Returns:
            The change that the answer brought, and the nodes to bury now.

        Raises:
            ConfigError: Another process uses the name of this node.
        """
        if not answer.registered:
            return self._refused(answer, sent, received)
        # An answer that took longer than the time for which it would be sure does not help a suspended node.
        turn = Turn.NONE
        if not self.joined:
            turn = Turn.JOINED
        elif received >= self.until and received < sent + self._times.sure:
            turn = Turn.RESUMED
        self.joined, self._blocker, self._moves = True, None, 0
        self.until = max(self.until, sent + self._times.sure)
        self.looked_at = sent
        self.nodes = {node.incarnation.node: node for node in answer.nodes}
        others = [node for node in answer.nodes if node.incarnation.node != self.incarnation.node]
        return turn, self._watcher.look(others, sent, received)

    def missed(self) -> None:
        """Handle a beat that was not answered. Its sender can neither judge other nodes nor be sure of itself."""
        self._watcher.missed()
        self._blocker, self._moves = None, 0

    def stop(self) -> None:
        """End the life of the node."""
        self._stopped = True

    def _refused(self, answer: BeatAnswer, sent: float, received: float) -> tuple[Turn, tuple[NodeInfo, ...]]:
        if self.joined:
            self.incarnation, self.joined, self.until, self.nodes = self._make(), False, -math.inf, {}
            self._watcher.missed()
            return Turn.BURIED, ()
        # The name is in use: by an earlier life of this node, which is silent and gets buried, or by another process.
        for node in answer.nodes:
            self._moves += self._blocker is not None and self._blocker.seen != node.seen
            # Once is not enough: an engine that came back with an older copy shows another beat too.
            if self._moves >= _MOVES:
                text = f"node_name {self.incarnation.node} is in use by another process: give each process its own name"
                raise ConfigError(text)
            self._blocker = node
        return Turn.NONE, self._watcher.look(answer.nodes, sent, received)
