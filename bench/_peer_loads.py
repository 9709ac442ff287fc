"""The loads that ``peers.py`` puts on every server, and what their rounds come to."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import _loading
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _generator import Report


WARM_SECONDS = 0.4
"""How long everybody's run has gone on before a paced load is measured."""
_SPARE_SECONDS = 10
"""Runs are that much longer than what is measured of them: they may begin late, and are cut off at its end."""


@attrs.frozen
class Load:
    """``rate`` events a second for each of ``users``; 0 is a burst. The first ``uncounted`` of its rounds warm up."""

    name: str
    users: int
    rate: int = 0
    uncounted: int = 0

    def words(self, seconds: float, dialect: str) -> _loading.Load:
        """Say it to the generator: 200 events to each user, again and again for ``seconds``, or a window of as long."""
        if not self.rate:
            return _loading.Load(users=self.users, rounds=1 + self.uncounted, lasting=seconds, dialect=dialect)
        events = max(1, round(self.rate * (WARM_SECONDS + seconds + _SPARE_SECONDS)))
        return _loading.Load(
            users=self.users,
            events=events,
            rate=self.rate,
            warm=WARM_SECONDS,
            window=seconds,
            cut=True,
            dialect=dialect,
        )


PACED = Load("paced", 500, 20)
BURST = Load("burst", 200, uncounted=1)
TAIL = Load("tail", 1000, 20)
FIRST = _loading.Load(users=20)
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
