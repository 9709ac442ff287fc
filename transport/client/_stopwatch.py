"""A stopwatch that also counts the time in which the machine sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTS_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Linux stops CLOCK_MONOTONIC while the machine is suspended and counts on in CLOCK_BOOTTIME; macOS counts on in
CLOCK_MONOTONIC; Windows has neither, and its ``time.monotonic`` counts sleep."""


def awake_or_asleep() -> float:
    """Return the seconds since a fixed moment. Time in which the machine sleeps counts. The clock never goes back."""
    return time.monotonic() if _COUNTS_SLEEP is None else time.clock_gettime(_COUNTS_SLEEP)


class Stopwatch:
    """The time since the stopwatch was made, by several clocks at once.

    The largest of the times counts. So it does no harm if one of the clocks stands still while the machine sleeps, or
    while a test moves another clock.
    """

    __slots__ = ("_began",)

    def __init__(self, *clocks: Callable[[], float]) -> None:
        self._began = [(clock, clock()) for clock in clocks]

    def seconds(self) -> float:
        """Return the seconds since the stopwatch was made. If its clocks differ, the largest time counts."""
        return max(clock() - began for clock, began in self._began)
