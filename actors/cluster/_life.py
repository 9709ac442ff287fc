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

A burial is final, also if the engine is restarted with an older copy of its data that does not know of it:

- Each node remembers the incarnations that have gone. If one is registered again, the node removes it before it beats.
- A suspended node that finds the engine restarted may be one of these. It stays suspended until each other one has sent
  two beats: a node sends its second one only after it has removed what must be removed.
- A live node that is not registered was not buried: its silence was too short. The engine was restarted without its
  data, and the node registers the same incarnation again.
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
_PROOFS = 2
"""Number of beats after which a node has removed the nodes that a restarted engine has wrongly brought back."""
MOST_GONE = 1_000
"""Maximum number of incarnations that are remembered after their end."""


class Turn(enum.Enum):
    """A change in the life of a node that the answer to a beat brought."""

    NONE = enum.auto()
    """Nothing but time."""
    JOINED = enum.auto()
    """The node is registered now."""
    RESUMED = enum.auto()
    """The node was suspended, and is live again."""
    FORGOTTEN = enum.auto()
    """The engine lost its data while the node was live. The node registers the same incarnation with its next beat."""
    BURIED = enum.auto()
    """Another node buried this one, or may have done so. All users that it owned are lost to it."""


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
        self.blocker: NodeInfo | None = None
        """The node that has the name of this one and must be removed first, while this node wants to join."""
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
        self.must_register = True
        """Whether the next beat must register the node."""
        self.risen: dict[Incarnation, None] = {}
        """Incarnations that have gone, and are registered again. They must be removed before the next beat."""
        self._gone: dict[Incarnation, None] = {}
        self.generation = ""
        """The generation of the engine at the newest look."""
        self._doubts: dict[str, NodeInfo] = {}
        """The other nodes by name, each as it was when this node began to wait for its beats."""

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
        restarted = self.generation not in ("", answer.generation)
        self._remember(answer, restarted=restarted)
        turn = self._turn(answer, sent, received, restarted=restarted)
        self.joined, self.must_register, self.blocker, self._moves = True, False, None, 0
        if not self._doubts:
            self.until = max(self.until, sent + self._times.sure)
        self.looked_at = sent
        self.nodes = {node.incarnation.node: node for node in answer.nodes}
        others = [node for node in answer.nodes if node.incarnation.node != self.incarnation.node]
        return turn, self._watcher.look(others, sent, received)

    def _turn(self, answer: BeatAnswer, sent: float, received: float, *, restarted: bool) -> Turn:
        if not self.joined:
            return Turn.JOINED
        if received < self.until:
            return Turn.NONE
        others = {node.incarnation.node: node for node in answer.nodes if node.incarnation != self.incarnation}
        if restarted:
            self._doubts = others
        self._doubts = {name: then for name, then in self._doubts.items() if _in_doubt(then, others.get(name))}
        # An answer that took longer than the time for which it would be sure does not help a suspended node.
        return Turn.RESUMED if not self._doubts and received < sent + self._times.sure else Turn.NONE

    def _remember(self, answer: BeatAnswer, *, restarted: bool) -> None:
        """Note which incarnations have gone, and which of those are there again."""
        self.generation = answer.generation
        now = {node.incarnation for node in answer.nodes}
        self.risen.update(dict.fromkeys(now & self._gone.keys()))
        if not restarted:  # otherwise the missing nodes may register again
            for node in tuple(self.nodes.values()):
                if node.incarnation not in now:
                    self.buried(node.incarnation)

    def buried(self, incarnation: Incarnation) -> None:
        """Note that an incarnation has gone, and can never come back."""
        self._gone[incarnation] = None
        self.risen.pop(incarnation, None)
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        found = self.nodes.get(incarnation.node)
        if found is not None and found.incarnation == incarnation:
            del self.nodes[incarnation.node]

    def missed(self) -> None:
        """Handle a beat that was not answered. Its sender can neither judge other nodes nor be sure of itself."""
        self._watcher.missed()
        self.blocker, self._moves = None, 0

    def stop(self) -> None:
        """End the life of the node."""
        self._stopped = True

    def _refused(self, answer: BeatAnswer, sent: float, received: float) -> tuple[Turn, tuple[NodeInfo, ...]]:
        if self.joined:
            if not answer.nodes and received < self.until and answer.generation != self.generation:
                self.must_register = True
                return Turn.FORGOTTEN, ()
            self.buried(self.incarnation)
            self.incarnation, self.joined, self.until, self.nodes = self._make(), False, -math.inf, {}
            self.must_register, self._doubts = True, {}
            self._watcher.missed()
            return Turn.BURIED, ()
        self.risen.update(dict.fromkeys(node.incarnation for node in answer.nodes if node.incarnation in self._gone))
        # The name is in use: by an earlier life of this node, which is silent and gets buried, or by another process.
        for node in answer.nodes:
            self._moves += self.blocker is not None and self.blocker.seen != node.seen
            # Once is not enough: an engine that came back with an older copy shows another beat too.
            if self._moves >= _MOVES:
                text = f"node_name {self.incarnation.node} is in use by another process: give each process its own name"
                raise ConfigError(text)
            self.blocker = node
        return Turn.NONE, self._watcher.look(answer.nodes, sent, received)


def _in_doubt(then: NodeInfo, now: NodeInfo | None) -> bool:
    """Return whether a node may still have to remove incarnations that a restarted engine has brought back."""
    return now is not None and now.incarnation == then.incarnation and now.beat < then.beat + _PROOFS
