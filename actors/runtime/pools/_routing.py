"""The rules by which a pool chooses a member for a message. Pure."""

from __future__ import annotations

import random
import sys
from bisect import bisect
from itertools import cycle, repeat
from operator import mod
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from actors.runtime._mailbox import Mailbox, loads_of
from actors.runtime.pools._spec import Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

UNKNOWN = object()
"""Mark of no home."""
NEVER = sys.maxsize
"""A load that no member reaches."""
POINTS = 64
"""Number of points of each member on the ring of a consistent hash. More points spread the keys more evenly."""
SLOTS = 8_209
"""Number of slots for the keys of a consistent hash. It is a prime number, so that keys in regular steps are spread.

More slots spread the keys over more members, and take more memory: this many take 66 KB, and give each of 100 members
about 80.
"""
RANDOM_BITS = 32
"""Length of the random numbers that choose members. They are far above the number of members, so the choice is even."""


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
    """The member with the lowest load, which is the number of its messages. Members with equal loads take turns.

    One look at all members ranks them by their loads. Each round then chooses each member with the lowest load once, so
    that their loads grow by one. As soon as they reach the load of further members, the rounds take these in. So the
    ranks hold as long as no load has become less, and the members need no other look: a message of a burst costs as
    much in a large pool as in a small one, also if their loads differ.
    """

    __slots__ = ("_home", "_is_marked", "_loads", "_lowest", "_mark", "_next_load", "_ranked", "_round", "_turns")

    def __init__(self, members: Mapping[int, Mailbox]) -> None:
        self._ranked = list(members.values())
        """Mailboxes of all members: first those in the rounds, in the order of their turns, then by their loads."""
        self._loads: list[int] = []
        """Load of each ranked member at the last look. None is below it while the home still has the mark."""
        self._round = self._ranked
        """Mailboxes in the order of this round, in which each one is chosen once: the first ones of the ranked."""
        self._turns = iter(self._round)
        """The mailboxes of the round that were not chosen yet."""
        homes = {mailbox.home for mailbox in self._ranked}
        self._is_marked = len(homes) == 1
        """Whether the members have one home. If a router has members of several systems, each message needs a look."""
        self._home = homes.pop()
        self._mark: object = UNKNOWN
        """The mark of the home at the last look."""
        self._lowest = 0
        """A load that no member is below while the home still has the mark."""
        self._next_load = NEVER
        """The load at which the rounds take in further members. NEVER if all members are in the rounds."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the member with the lowest load."""
        del message
        member = next(self._turns, None)
        if member is None:  # each member of the round was chosen, and has one message more than when it began
            self._lowest += 1
            if self._lowest >= self._next_load:
                self._reach()
            self._turns = iter(self._round)
            member = next(self._turns)
        # A member that does not wait handles a message, which is in no mailbox.
        if len(member.items) < self._lowest and self._home.mark is self._mark:
            return member
        # If only some are in the rounds, others may wait by now, and it may be their turn.
        if self._next_load is NEVER and member.is_awaited:
            return member
        return self._look(member)

    def _reach(self) -> None:
        """Take further members into the rounds: their load is reached. Put them before the others."""
        known, ranked = len(self._round), self._ranked
        reached = self._enter(known)
        self._ranked = ranked[known:reached] + ranked[:known] + ranked[reached:]
        self._round = self._ranked[:reached]

    def _enter(self, known: int) -> int:
        """Return how many of the ranked members have the lowest load: ``known`` or more. Set the next load."""
        reached = bisect(self._loads, self._lowest, known)
        self._next_load = self._loads[reached] if reached < len(self._loads) else NEVER
        return reached

    def _look(self, turn: Mailbox) -> Mailbox:
        """Return the mailbox of the member with the lowest load, and begin a round with it.

        ``turn`` is the mailbox whose turn it is.
        """
        self._mark = UNKNOWN  # in case that this is interrupted
        place = self._ranked.index(turn)
        order = self._ranked[place:] + self._ranked[:place]  # the last ones were chosen last
        loads = loads_of(order)
        lowest = min(loads)
        if lowest < max(loads):
            order = [order[place] for place in sorted(range(len(order)), key=loads.__getitem__)]
            loads.sort()
        self._ranked, self._loads, self._lowest = order, loads, lowest
        self._round = order[: self._enter(0)]
        self._turns = iter(self._round)
        if self._is_marked:
            self._mark = self._home.marked()
        return next(self._turns)


class Random:
    """A random member."""

    __slots__ = ("turns",)

    def __init__(self, members: Mapping[int, Mailbox]) -> None:
        chosen = tuple(members.values())
        # Endless random indexes below the number of members, without a call of Python code for each.
        indexes = map(mod, map(random.getrandbits, repeat(RANDOM_BITS)), repeat(len(chosen)))
        self.turns = map(chosen.__getitem__, indexes)
        """Iterator of the mailboxes, in a random order."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of a random member."""
        del message
        return next(self.turns)


class ConsistentHash:
    """The owner of the slot of the message's key: of the next point after the slot, on a ring of hashes.

    A slot of a table is found faster than a point of the ring, and with any number of keys. The table is filled as
    slots are used, since each change of the members makes a new one.
    """

    __slots__ = ("_key", "_owners", "_points", "_slots")

    def __init__(self, members: Mapping[int, Mailbox], key: Callable[[Any], Hashable] | None) -> None:
        self._key = key
        # Hashes of tuples of numbers are the same in every process, and mixed well.
        ring = sorted((hash((number, turn)), number) for number in members for turn in range(POINTS))
        self._points = [point for point, _ in ring]
        # After the last point comes the first one.
        self._owners = [members[number] for _, number in [*ring, ring[0]]]
        self._slots: list[Mailbox | None] = [None] * SLOTS
        """Owner of each slot; None before the slot is used."""

    def pick(self, message: object) -> Mailbox:
        """Return the mailbox of the member for the key of a message. Raise the exception of the key function."""
        slot = hash(message if self._key is None else self._key(message)) % SLOTS
        return self._slots[slot] or self._fill(slot)

    def _fill(self, slot: int) -> Mailbox:
        """Find the owner of a slot, put it into the table, and return it."""
        self._slots[slot] = owner = self._owners[bisect(self._points, hash((slot, POINTS)))]
        return owner


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
