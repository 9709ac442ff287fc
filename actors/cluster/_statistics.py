"""The statistics of a node."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.cluster.interfaces import NodeState


@attrs.frozen(kw_only=True)
class ClusterStatistics:
    """The state of a node of a cluster, and its counters since the start of the process."""

    node: str
    """The name of the node."""
    state: NodeState
    """The state of the node."""
    until: float = -math.inf
    """Seconds from now until the node is suspended, if no beat is answered until then; negative if it is suspended."""
    deaf: bool = False
    """Whether the node hears no messages of other nodes at the moment."""
    nodes: int = 0
    """Number of registered nodes."""
    owned: int = 0
    """Number of users that the node owns."""
    mirrors: int = 0
    """Number of sessions of other nodes that this node follows."""
    watchers: int = 0
    """Number of sessions of this node that other nodes follow, counted for each of these nodes."""
    claims: int = 0
    """Number of users that the node has claimed."""
    claims_lost: int = 0
    """Number of claims for which another node was faster."""
    fenced: int = 0
    """Number of users that the node lost while it still wrote their events."""
    buried: int = 0
    """Number of dead nodes that this node has removed."""
    burials: int = 0
    """Number of times that this node was removed by others, or by a loss of data."""
    taken_over: int = 0
    """Number of users of dead nodes that this node has taken over, to close their open runs."""
    forwarded: int = 0
    """Number of commands that were sent to other nodes."""
    resent: int = 0
    """Number of commands that were sent again."""
    unreachable: int = 0
    """Number of commands that were refused as ``owner_unreachable``."""
    pushes: int = 0
    """Number of messages with events of other nodes."""
    gaps: int = 0
    """Number of times that messages of another node were lost."""
    resyncs: int = 0
    """Number of reads of the log that replaced lost messages."""
    restored: int = 0
    """Number of sessions that were written again after the engine had lost their newest events."""
    epochs_renewed: int = 0
    """Number of sessions that got a new epoch because the engine had lost events."""
    flushes: int = 0
    """Number of calls with which events were committed."""
    commands: int = 0
    """Number of commands that were sent to the engine."""
    reconnects: int = 0
    """Number of connections to the engine that were made again."""
    oom: int = 0
    """Number of commits that the engine refused because its memory was full."""
