"""A look at the nodes of a log from outside, by a program that is no node itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import trio

from actors.errors import ConfigError
from actors.valkey.members import ValkeyMembers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actors.cluster.interfaces import Incarnation, NodeInfo
    from actors.eventlog.base import EventLog
    from actors.eventlog.valkey import ValkeyLog

DEFAULT_LEASE = 8.0
"""Lease in seconds of a node that does not tell its own."""
LONGEST_SECONDS = 60.0
"""Maximum time of a look, in seconds. A node with a longer time between its beats counts as beating."""
_BETWEEN_SECONDS = 0.1
"""Interval between two looks at the nodes, in seconds."""


@attrs.frozen
class SeenNode:
    """A registered node, as a program outside of the cluster sees it."""

    name: str
    incarnation: str
    """The life of the node: its name, the time of its start, and 64 random bits."""
    start: int
    """Time of the start of this life, in ms since 1970."""
    beats: int
    """Number of beats of this life."""
    is_beating: bool
    """Whether the node beat while it was looked at. If not, it stands still, or has died and was not removed yet."""
    info: Mapping[str, str]
    """The text of the newest beat: ``lease`` (in seconds), ``users`` (number of owned users), ``version``."""


def info_text(words: Mapping[str, object]) -> str:
    """Return the text that a node sends with each beat. Names and values must have no space."""
    return " ".join(f"{name}={value}" for name, value in words.items())


def info_words(text: str) -> dict[str, str]:
    """Return the names and values of a text that :func:`info_text` has made. Ignore all other words."""
    pairs = (word.partition("=") for word in text.split())
    return {name: value for name, equals, value in pairs if equals}


def other_leases(nodes: Iterable[NodeInfo], lease: float) -> dict[Incarnation, str]:
    """Return the leases, in seconds, of the nodes that tell another one than ``lease``."""
    told = {node.incarnation: info_words(node.info).get("lease", lease_text(lease)) for node in nodes}
    return {incarnation: text for incarnation, text in told.items() if text != lease_text(lease)}


def lease_text(lease: float) -> str:
    """Return a lease as the text of a beat has it."""
    return f"{lease:g}"


async def seen_nodes(log: EventLog) -> tuple[SeenNode, ...]:
    """Return the registered nodes of an open log, sorted by name.

    This takes up to half a lease: a node beats twice in that time. It returns earlier if all nodes have beaten.

    Raises:
        ConfigError: The log is not in Valkey.
        LogUnavailable: The server does not answer.
    """
    if log.statistics().engine != "valkey":
        raise ConfigError("only a log in Valkey has nodes: any other log belongs to one server")
    members = ValkeyMembers(cast("ValkeyLog", log).valkey)
    first = {node.incarnation: node.beat for node in await members.registered()}
    leases = [_lease_of(node) for node in await members.registered()]
    until = trio.current_time() + min(max(leases, default=0.0) / 2, LONGEST_SECONDS)
    while True:
        nodes = await members.registered()
        moved = {node.incarnation for node in nodes if first.get(node.incarnation) != node.beat}
        if len(moved) == len(nodes) or trio.current_time() >= until:
            break
        await trio.sleep(_BETWEEN_SECONDS)
    return tuple(_seen(node, is_beating=node.incarnation in moved) for node in _by_name(nodes))


def _by_name(nodes: Sequence[NodeInfo]) -> Sequence[NodeInfo]:
    return sorted(nodes, key=lambda node: node.incarnation.node)


def _seen(node: NodeInfo, *, is_beating: bool) -> SeenNode:
    life = node.incarnation
    rarely = _lease_of(node) / 2 > LONGEST_SECONDS
    return SeenNode(life.node, str(life), life.start, node.beat, is_beating or rarely, info_words(node.info))


def _lease_of(node: NodeInfo) -> float:
    try:
        return float(info_words(node.info).get("lease", DEFAULT_LEASE))
    except ValueError:
        return DEFAULT_LEASE
