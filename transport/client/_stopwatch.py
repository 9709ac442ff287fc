"""A stopwatch that also counts the time in which the machine sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTS_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Number of a clock that also counts the time in which the machine sleeps. None if Python has no such clock here.

Linux stops CLOCK_MONOTONIC while the machine sleeps, so CLOCK_BOOTTIME is used there. On macOS, CLOCK_MONOTONIC counts
sleep. Windows has neither of these clocks, but its ``time.monotonic`` counts sleep.
"""


def awake_or_asleep() -> float:
    """Return the seconds since a fixed moment. Time in which the machine sleeps counts too.

    The clock never goes back.
    """
    return time.monotonic() if _COUNTS_SLEEP is None else time.clock_gettime(_COUNTS_SLEEP)


class Stopwatch:
    """The time since the stopwatch was made, measured by several clocks at once.

    The largest of these times counts. So it does no harm if one clock stands still while the machine sleeps, or while a
    test moves another clock.
    """

    __slots__ = ("_began",)

    def __init__(self, *clocks: Callable[[], float]) -> None:
        self._began = [(clock, clock()) for clock in clocks]

    def seconds(self) -> float:
        """Return the seconds since the stopwatch was made. If the clocks differ, the largest result counts."""
        return max(clock() - began for clock, began in self._began)
