"""The loads of ``peers.py``, and the figures of their rounds."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import _loading
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _generator import Report


WARM_SECONDS = 0.4
"""Time for which all runs have gone on before a paced load is measured."""
_SPARE_SECONDS = 10
"""Extra length of runs beyond the measured part: they may begin late, and are cut off at its end."""


@attrs.frozen
class Load:
    """``rate`` events per second for each of ``users``; 0 is a burst. The first ``uncounted`` rounds warm up."""

    name: str
    users: int
    rate: int = 0
    uncounted: int = 0

    def words(self, seconds: float, dialect: str) -> _loading.Load:
        """Return the generator's load: 200 events per user, repeated for ``seconds``, or a window of that length.

        The generator never sleeps while it measures: see ``--spin`` in its source.
        """
        if not self.rate:
            return _loading.Load(
                users=self.users, rounds=1 + self.uncounted, lasting=seconds, dialect=dialect, spin=True
            )
        events = max(1, round(self.rate * (WARM_SECONDS + seconds + _SPARE_SECONDS)))
        return _loading.Load(
            users=self.users,
            events=events,
            rate=self.rate,
            warm=WARM_SECONDS,
            window=seconds,
            cut=True,
            dialect=dialect,
            spin=True,
        )


PACED = Load("paced", 500, 20)
BURST = Load("burst", 200, uncounted=1)
TAIL = Load("tail", 1000, 20)
FIRST = _loading.Load(users=20)
"""The load before a paced load. Loading and compiling for the first connections must not be measured."""


def figures(rounds: Sequence[Report]) -> dict[str, float]:
    """Return the figures of one load in one repetition: sums over its rounds, and the median of delays."""
    events, seconds, cpu = (sum(one[name] for one in rounds) for name in ("events", "seconds", "server_cpu"))
    sums = {
        "rate": events / seconds,
        "cpu": cpu * 100_000 / events,
        "server": cpu * 100 / seconds,
        "busy": max(one["busy"] for one in rounds) * 100,
        "waited": statistics.median(one["waited"] for one in rounds) * 100,
    }
    delays = {name: statistics.median(one[name] for one in rounds) / 1000 for name in ("p50", "p99")}
    return sums | delays | {"longest": max(one["longest"] for one in rounds) / 1000}
