"""The harms that are done to a cluster, and their order, which a seed draws. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
from _links import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from _links import Direction


class Kind(StrEnum):
    """The kinds of harms."""

    KILL = "kill -9"
    PAUSE = "SIGSTOP"
    CLOCK = "the time of day of a node is set"
    CUT = "cut from Valkey"
    STALL = "bytes to or from Valkey stand still"
    HOLE = "bytes to or from Valkey are lost"
    LATE = "the node stands still, and its last bytes reach Valkey after another node has taken its place"
    CLIENT_CUT = "cut from clients"
    CLIENT_STALL = "bytes to or from clients stand still"
    CLIENT_HOLE = "bytes to or from clients are lost"
    RESTART = "Valkey is killed, and starts with its data"
    OLDER = "Valkey is killed, and starts with an older copy of its data"
    EMPTY = "Valkey is killed, and starts without data"
    FLUSH = "FLUSHALL"


OF_NODES = (Kind.KILL, Kind.PAUSE, Kind.CLOCK)
OF_LINKS = (Kind.CUT, Kind.STALL, Kind.HOLE, Kind.LATE)
OF_CLIENTS = (Kind.CLIENT_CUT, Kind.CLIENT_STALL, Kind.CLIENT_HOLE)
OF_VALKEY = (Kind.RESTART, Kind.OLDER, Kind.EMPTY, Kind.FLUSH)
RESTARTS = frozenset({Kind.RESTART, Kind.OLDER, Kind.EMPTY, Kind.FLUSH})
"""The harms after which sessions may get a new epoch."""
LOSSES = frozenset({Kind.OLDER, Kind.EMPTY, Kind.FLUSH})
"""The harms that lose data."""
STEPS = (-3600, -90, 90, 3600)
"""The steps of a clock in seconds. Commands are remembered for less than the long ones."""


@attrs.frozen
class Harm:
    """One harm. It begins after the clients have got ``events`` more events."""

    kind: Kind
    events: int
    node: int
    """The number of the node that suffers."""
    directions: tuple[Direction, ...]
    """The directions of a link that are stalled, or lose bytes."""
    beats: int
    """Its length, in quarters of a lease. 0: until the node is removed from the cluster, or for a long time."""
    overlaps: bool
    """Whether the next harm begins while this one lasts, if it is not done to the same process or link."""
    step: int
    """The seconds by which the time of day is set."""

    @property
    def suffering(self) -> frozenset[str]:
        """The processes and links that suffer. Harms to one of them come one after another."""
        if self.kind in OF_VALKEY:
            return frozenset({"valkey"})
        parts = ["process"] if self.kind in OF_NODES or self.kind is Kind.LATE else []
        parts += ["link"] if self.kind in OF_LINKS else []
        parts += ["clients"] if self.kind in OF_CLIENTS else []
        return frozenset(f"{part} {self.node}" for part in parts)


def draw(rng: Random, kinds: Sequence[Kind], count: int, nodes: int) -> list[Harm]:
    """Return a schedule of ``count`` harms. Each of the kinds comes once before one of them comes again."""
    order: list[Kind] = []
    while len(order) < count:
        order += rng.sample(kinds, len(kinds))
    return [
        Harm(
            kind=kind,
            events=rng.randrange(1, 60),
            node=rng.randrange(nodes),
            directions=rng.choice([DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:]]),
            beats=rng.choice([0, rng.randrange(1, 12)]),
            overlaps=rng.random() < 0.5,
            step=rng.choice(STEPS),
        )
        for kind in order[:count]
    ]
