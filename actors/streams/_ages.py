"""The age of what is kept, whatever happens to the time of day."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

JUMP_SECONDS = 5.0
"""The time of day was set where it and the steady clock moved apart by more than this between two looks. Less is how
clocks run and how they are corrected, and is followed."""

MAX_JUMPS = 32
"""Jumps that are remembered: a clock that is set all the time must not fill the memory."""


def steady_seconds() -> float:
    """Return the time in seconds of a clock that is never set. Where the system has one, it runs while that sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@attrs.define
class _Era:
    """A span of steady time in which the time of day was not set; it ends where the next one begins."""

    begin: float
    offset: float
    """Time of day minus steady time, in seconds."""


class AgeClock:
    """Tells what is too old. Events have the time of day, which can be set; ages are counted on a clock that is not.

    *A machine without a battery for its clock starts in 1970 and learns the year from the network; another one is set
    forward by mistake, for a minute. After one look at such a clock everything would be years old, and deleted.*

    At each look the time of day is compared with the steady clock; where it jumped, that is remembered. The first look
    is believed, since nothing is known of the time before.
    """

    def __init__(self, time_ms: Callable[[], int], steady: Callable[[], float] = steady_seconds) -> None:
        self._time_ms = time_ms
        self._steady = steady
        self._looked_at = now = steady()
        self._eras = [_Era(-math.inf, time_ms() / 1000 - now)]

    def now(self, seconds: float) -> int:
        """Return the time of day, in ms since 1970, from which to count back to what is older than ``seconds``.

        While the time of day is not set, that is the time of day. Afterwards it is ``seconds`` more than the lowest
        time of day that was shown in the last ``seconds``: what is before that is older, and nothing younger is.
        """
        now = self._look()
        if math.isinf(seconds):  # nothing is too old
            return round((now + self._eras[-1].offset) * 1000)
        since = now - seconds
        ends = [*(era.begin for era in self._eras[1:]), now]
        shown = [max(since, era.begin) + era.offset for era, end in zip(self._eras, ends, strict=True) if end >= since]
        return round((min(shown) + seconds) * 1000)

    def _look(self) -> float:
        """Compare the two clocks; return the time of the steady one."""
        before, now = self._looked_at, self._steady()
        self._looked_at = now
        offset = self._time_ms() / 1000 - now
        last = self._eras[-1]
        if abs(offset - last.offset) <= JUMP_SECONDS:
            last.offset = offset
        else:
            # It was set some time between the two looks: counted from the look by which less is too old.
            self._eras.append(_Era(now if offset > last.offset else before, offset))
        if len(self._eras) > MAX_JUMPS:
            self._eras[1] = _Era(-math.inf, min(self._eras[0].offset, self._eras[1].offset))
            del self._eras[0]
        return now
