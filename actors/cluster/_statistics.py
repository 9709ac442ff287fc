"""The statistics of a node, and of its router."""

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
    """Number of commands, and of other questions, that were sent to other nodes."""
    resent: int = 0
    """Number of times that one of them was sent again, because no answer had come."""
    unreachable: int = 0
    """Number of them that were given up without an answer. Commands are then refused as ``owner_unreachable``."""
    pushes: int = 0
    """Number of messages with events of other nodes."""
    gaps: int = 0
    """Number of times that messages to this node were lost, or may be because it connected to its channel anew."""
    resyncs: int = 0
    """Number of times that the events of a session of another node had to be read from the log."""
    dropped: int = 0
    """Number of messages to other nodes that were lost before they left this node."""
    signals_dropped: int = 0
    """Number of signals for clients of other nodes that were dropped before they left this node: too many waited."""
    restored: int = 0
    """Number of events that were written again because the engine, once restarted, had lost them."""
    epochs_renewed: int = 0
    """Number of sessions that got a new epoch because the engine was restarted, and may have lost events."""
    flushes: int = 0
    """Number of commits: each is one command with the events of several sessions."""
    commands: int = 0
    """Number of commands that were sent to the engine."""
    reconnects: int = 0
    """Number of connections to the engine that were made again."""
    oom: int = 0
    """Number of attempts to commit that the engine refused because its memory was full."""


@attrs.frozen
class RouterStatistics:
    """Statistics of the part of a node that talks to other nodes."""

    owned: int
    """Number of users that this node owns."""
    mirrors: int
    """Number of sessions of other nodes that this node mirrors."""
    watchers: int
    """Number of sessions of this node that other nodes mirror, counted for each of these nodes."""
    forwarded: int
    """Number of questions, such as commands, that were sent to other nodes."""
    resent: int
    """Number of times that a question was sent again, because no answer had come."""
    unreachable: int
    """Number of questions that were given up without an answer."""
    pushes: int
    """Number of messages with events that came from other nodes."""
    gaps: int
    """Number of times that messages to this node were lost, or may be because it connected to its channel anew."""
    resyncs: int
    """Number of times that a mirror had to read missing events from the log."""
    dropped: int
    """Number of messages to other nodes that were lost before they left this node."""
    signals_dropped: int
    """Number of signals to other nodes that were dropped, because too many of their session waited."""
