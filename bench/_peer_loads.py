"""The loads that ``peers.py`` puts on every server, and what their rounds come to."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _generator import Report


@attrs.frozen
class Load:
    """``rate`` events a second for each of ``users``; 0 is a burst. The first ``uncounted`` of its rounds warm up."""

    name: str
    users: int
    rate: int = 0
    rounds: int = 1
    uncounted: int = 0

    def events(self, seconds: float) -> int:
        """The events of each user in a round: 200 in a burst, else as many as make ``seconds``."""
        return max(1, round(self.rate * seconds)) if self.rate else 200


PACED = Load("paced", 500, 20)
BURST = Load("burst", 200, rounds=3, uncounted=1)
TAIL = Load("tail", 1000, 20)
FIRST = Load("first", 20)
"""What comes before a paced load: what is loaded and compiled for the first connections is no part of it."""


def figures(rounds: Sequence[Report]) -> dict[str, float]:
    """The figures of one load in one repetition: sums where there are several rounds, of delays the median."""
    events, seconds, cpu = (sum(one[name] for one in rounds) for name in ("events", "seconds", "server_cpu"))
    sums = {
        "rate": events / seconds,
        "cpu": cpu * 100_000 / events,
        "server": cpu * 100 / seconds,
        "busy": max(one["busy"] for one in rounds) * 100,
    }
    delays = {name: statistics.median(one[name] for one in rounds) / 1000 for name in ("p50", "p99")}
    return sums | delays | {"longest": max(one["longest"] for one in rounds) / 1000}
