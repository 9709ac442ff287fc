"""Conclusions from figures: goals and whether they are met, quantiles of counts, the spare resources of a machine."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

import attrs
from _results import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BUSY = 0.9
"""Share of the time above which the generator, and not the server, is the limit."""

DISTURBED = 0.1
"""Share of the time for which servers wait for their core above which the machine is too busy to measure."""

SPARE_FILES = 100
"""Maximum number of files that a process has open beside its connections."""

STEPS_PER_OCTAVE = 4
"""Resolution of the load generator's ages: see ``print_histogram`` in its source."""

HEADER = ("goal", "figure", "base", "ratio", "met")


@attrs.frozen
class Goal:
    """A goal: ``what`` must be at most ``bound``, or at least ``bound`` with ``at_least``.

    ``unit`` and ``digits`` format the figures.
    """

    what: str
    bound: float
    unit: str = ""
    digits: int = 2
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Return whether ``value`` meets the goal. The bound itself does."""
        return value >= self.bound if self.at_least else value <= self.bound

    def by_itself(self, figures: Sequence[float], *, always: bool = False) -> list[str]:
        """Return the line of a goal for the figure itself: for its median, or for its worst with ``always``."""
        worst = min(figures) if self.at_least else max(figures)
        met = self.met(worst if always else statistics.median(figures))
        return [self._said(f" {self.unit}".rstrip()), self._spread(figures), "", "", "yes" if met else "no"]

    def beside(self, figures: Sequence[float], base: Sequence[float]) -> list[str]:
        """Return the line of a goal for the ratio to a base: the median of the ratios within each repetition."""
        within = ratios(figures, base)
        met = "yes" if self.met(statistics.median(within)) else "no"
        return [self._said(" times"), self._spread(figures), self._spread(base), spread(within, 3), met]

    def undecided(self, why: str, *, by_itself: bool = False) -> list[str]:
        """Return the line of a goal that cannot be decided here, for a ratio or for the figure itself."""
        return [self._said(f" {self.unit}".rstrip() if by_itself else " times"), why, "", "", "not decided"]

    def _said(self, unit: str) -> str:
        return f"{self.what}: {'≥' if self.at_least else '≤'} {self.bound:g}{unit}"

    def _spread(self, values: Sequence[float]) -> str:
        return f"{spread(values, self.digits)} {self.unit}".strip()


def ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return one ratio per repetition: other work of the machine then weighs on both sides alike."""
    return [figure / other for figure, other in zip(figures, base, strict=True)]


def quantile_of_steps(counts: Sequence[int], step: float, share: float) -> float:
    """Return the value below which ``share`` of all counted values lies.

    ``counts[i]`` is the number of values from ``i * step`` to the next step. Values are assumed to lie evenly in a
    step. The end of the last step is infinite. Return 0 if nothing was counted.
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
    """Return the sums of several counts of the same steps."""
    return [sum(counts) for counts in itertools.zip_longest(*histograms, fillvalue=0)]


def step_ms(number: int) -> float:
    """Return the start of a step of the load generator's ages, in ms."""
    return float(2 ** (number / STEPS_PER_OCTAVE)) / 1000


def older(counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return ages in ms, each with the share of events that were older, as long as there are any."""
    total = sum(counts)
    shares = [1 - until / total for until in itertools.accumulate(counts[:-1])] if total else []
    return [step_ms(number) for number in range(1, len(shares) + 1)], shares


def note_on_generator(busy: Sequence[float]) -> str:
    """Return a note on the generator's share of its core. It says plainly if the generator was the limit."""
    most = max(busy)
    if most > BUSY:
        return f"**The load generator was busy {most:.0%} of the time: it was the limit, not the server.**"
    return f"The load generator was busy {most:.0%} of the time at most: it was not the limit."


def note_on_machine(waited: Sequence[float]) -> str:
    """Return a note on the share of the time for which a server was ready to run, and something else had its core.

    It says plainly if the machine was too busy: events gather meanwhile, and look cheaper and later than they are.
    """
    said = f"{statistics.median(waited):.0%} of the time (median; {max(waited):.0%} at most; all threads together)"
    if statistics.median(waited) > DISTURBED:
        return (
            f"**The servers waited for their core {said}: other work disturbed the figures. "
            "Events that gather meanwhile are late, and cost less.**"
        )
    return f"The servers waited for their core {said}."


def sessions_that_fit(wanted: int, files: int) -> int:
    """Return the number of sessions, with one connection each, that fit into a limit of open files."""
    return max(1, min(wanted, files - SPARE_FILES))


def has_spare_core(cores: int, servers: int) -> bool:
    """Return whether the server processes and the load generator have a core each."""
    return cores > servers
