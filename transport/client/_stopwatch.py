"""Measure how long something takes, also while the machine sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTS_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Linux stops CLOCK_MONOTONIC while the machine is suspended and counts on in CLOCK_BOOTTIME; macOS counts on in
CLOCK_MONOTONIC; Windows has neither, and its ``time.monotonic`` counts sleep."""


def awake_or_asleep() -> float:
    """Return the seconds since some fixed moment, time in suspension included. It is never set back."""
    return time.monotonic() if _COUNTS_SLEEP is None else time.clock_gettime(_COUNTS_SLEEP)


class Stopwatch:
    """Measure the time since it was made, by several clocks at once.

    The largest answer counts: a clock that stood still while the machine slept, or while a test moved another clock, is
    outvoted by one that went on.
    """

    __slots__ = ("_began",)

    def __init__(self, *clocks: Callable[[], float]) -> None:
        self._began = [(clock, clock()) for clock in clocks]

    def seconds(self) -> float:
        """Return the seconds since it was made, by the clock that went furthest."""
        return max(clock() - began for clock, began in self._began)
