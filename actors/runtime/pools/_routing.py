"""The rules by which a pool chooses a member for a message. Pure."""

from __future__ import annotations

import random
from bisect import bisect
from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from actors.runtime._mailbox import Mailbox, least_loaded
from actors.runtime.pools._spec import Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

POINTS = 64
"""Number of points of each member on the ring of a consistent hash. More points spread the keys more evenly."""


@attrs.frozen
class Rule:
    """The rule of routing of a pool or router."""

    routing: Routing
    """Rule by which the member for a message is chosen."""
    key: Callable[[Any], Hashable] | None
    """Function that returns the key of a message, for ``consistent_hash``."""


class Route(Protocol):
    """A rule for one set of members."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the member for a message."""
        ...


class RoundRobin:
    """Each member in turn."""

    __slots__ = ("turns",)

    def __init__(self, members: Mapping[int, Mailbox]) -> None:
        self.turns = cycle(members.values())
        """Iterator of the mailboxes, each in turn."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the next member."""
        del message
        return next(self.turns)


class LeastWaiting:
    """The member with the fewest messages. Members with equally many take turns."""

    __slots__ = ("_order",)

    def __init__(self, members: Mapping[int, Mailbox]) -> None:
        self._order = deque(members.values())

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the member with the fewest messages."""
        del message
        chosen = least_loaded(self._order)
        self._order.remove(chosen)
        self._order.append(chosen)
        return chosen


class Random:
    """A random member."""

    __slots__ = ("turns",)

    def __init__(self, members: Mapping[int, Mailbox]) -> None:
        chosen = tuple(members.values())
        # Endless random indexes below the number of members, without a call of Python code for each.
        indexes = map(int, map(float(len(chosen)).__mul__, iter(random.random, None)))
        self.turns = map(chosen.__getitem__, indexes)
        """Iterator of the mailboxes, in a random order."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of a random member."""
        del message
        return next(self.turns)


class ConsistentHash:
    """The owner of the first point on a ring of hashes that comes after the hash of the message's key."""

    __slots__ = ("_key", "_owners", "_points")

    def __init__(self, members: Mapping[int, Mailbox], key: Callable[[Any], Hashable] | None) -> None:
        self._key = key
        # Hashes of tuples of numbers are the same in every process, and mixed well.
        ring = sorted((hash((number, turn)), number) for number in members for turn in range(POINTS))
        self._points = [point for point, _ in ring]
        # After the last point comes the first one.
        self._owners = [members[number] for _, number in [*ring, ring[0]]]

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the member for the key of a message. Raise the exception of the key function."""
        key = message if self._key is None else self._key(message)
        return self._owners[bisect(self._points, hash((key, POINTS)))]


def route(rule: Rule, members: Mapping[int, Mailbox]) -> Route:
    """Return the rule of a pool or router for its present members, which have numbers."""
    match rule.routing:
        case Routing.ROUND_ROBIN:
            return RoundRobin(members)
        case Routing.LEAST_WAITING:
            return LeastWaiting(members)
        case Routing.RANDOM:
            return Random(members)
        case Routing.CONSISTENT_HASH:
            return ConsistentHash(members, rule.key)
