"""Histograms of durations, as metrics need them: numbers in steps, and a sum. Pure."""

from __future__ import annotations

from bisect import bisect_left

import attrs


@attrs.frozen
class Histogram:
    """A number of durations, counted in steps."""

    bounds: tuple[float, ...]
    """Upper bounds of the steps in seconds, inclusive."""
    counts: tuple[int, ...]
    """Number of durations in each step. One more step at the end has those above the last bound."""
    seconds: float
    """Sum of all durations, in seconds."""


class Durations:
    """A histogram that grows. ``bounds`` are the upper bounds of its steps in seconds, in ascending order."""

    __slots__ = ("_bounds", "_counts", "_seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def value(self) -> Histogram:
        """Return the histogram at this moment."""
        return Histogram(self._bounds, tuple(self._counts), self._seconds)
