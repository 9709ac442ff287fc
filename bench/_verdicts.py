"""What figures say: goals and whether they are met, quantiles of counts, what a machine has to spare."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

import attrs
from _results import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BUSY = 0.9
"""A generator that is busier than this share of the time is the limit, and not the server."""

SPARE_FILES = 100
"""Files that a process has open beside its connections, at most."""

STEPS_PER_OCTAVE = 4
"""How finely the load generator counts ages: see ``print_histogram`` in its source."""

HEADER = ("goal", "figure", "base", "ratio", "met")


@attrs.frozen
class Goal:
    """``what`` is to be at most ``bound``, or at least with ``at_least``. ``unit`` and ``digits`` are for figures."""

    what: str
    bound: float
    unit: str = ""
    digits: int = 2
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether that is good enough; the bound itself is."""
        return value >= self.bound if self.at_least else value <= self.bound

    def by_itself(self, figures: Sequence[float], *, always: bool = False) -> list[str]:
        """The line of a goal for the figure itself: for its median, or for the worst of all with ``always``."""
        worst = min(figures) if self.at_least else max(figures)
        met = self.met(worst if always else statistics.median(figures))
        return [self._said(f" {self.unit}".rstrip()), self._spread(figures), "", "", "yes" if met else "no"]

    def beside(self, figures: Sequence[float], base: Sequence[float]) -> list[str]:
        """The line of a goal for the ratio to a base: the median of the ratios within each repetition."""
        within = ratios(figures, base)
        met = "yes" if self.met(statistics.median(within)) else "no"
        return [self._said(" times"), self._spread(figures), self._spread(base), spread(within, 3), met]

    def undecided(self, why: str, *, by_itself: bool = False) -> list[str]:
        """The line of a goal that cannot be decided here, for a ratio or for the figure itself."""
        return [self._said(f" {self.unit}".rstrip() if by_itself else " times"), why, "", "", "not decided"]

    def _said(self, unit: str) -> str:
        return f"{self.what}: {'≥' if self.at_least else '≤'} {self.bound:g}{unit}"

    def _spread(self, values: Sequence[float]) -> str:
        return f"{spread(values, self.digits)} {self.unit}".strip()


def ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    """One ratio a repetition: what else the machine did during it weighs on both sides alike."""
    return [figure / other for figure, other in zip(figures, base, strict=True)]


def quantile_of_steps(counts: Sequence[int], step: float, share: float) -> float:
    """The value below which that share of all counted lies, where ``counts[i]`` is of ``i * step`` to the next step.

    Within a step values are taken to lie evenly; the end of the last one is infinite. 0 where nothing was counted.
    """
    wanted = share * sum(counts)
    if not wanted:
        return 0.0
    for number, (count, until) in enumerate(zip(counts, itertools.accumulate(counts), strict=True)):
        if until >= wanted and count:
            last = number == len(counts) - 1
            return float("inf") if last else (number + 1 - (until - wanted) / count) * step
    return float("inf")


def summed(histograms: Iterable[Sequence[int]]) -> list[int]:
    """Counts of the same steps, of all together."""
    return [sum(counts) for counts in itertools.zip_longest(*histograms, fillvalue=0)]


def step_ms(number: int) -> float:
    """Where that step of the load generator's ages begins, in ms."""
    return float(2 ** (number / STEPS_PER_OCTAVE)) / 1000


def older(counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """Ages in ms, and what share of the load generator's events were older than each, while any were."""
    total = sum(counts)
    shares = [1 - until / total for until in itertools.accumulate(counts[:-1])] if total else []
    return [step_ms(number) for number in range(1, len(shares) + 1)], shares


def note_on_generator(busy: Sequence[float]) -> str:
    """Say how busy the generator was, and plainly where it and not the server was the limit."""
    most = max(busy)
    if most > BUSY:
        return f"**The load generator was busy {most:.0%} of the time: it was the limit, not the server.**"
    return f"The load generator was busy {most:.0%} of the time at most: it was not the limit."


def sessions_that_fit(wanted: int, files: int) -> int:
    """How many of the sessions, one connection each, a process can have that may have so many files open."""
    return max(1, min(wanted, files - SPARE_FILES))


def has_spare_core(cores: int, servers: int) -> bool:
    """Whether so many server processes and the load generator have a core each."""
    return cores > servers
