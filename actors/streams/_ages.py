"""The age of events, counted so that a change of the system's time of day deletes nothing that is young."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

JUMP_SECONDS = 5.0
"""Difference between the two clocks, from one look to the next, above which the time of day counts as set.

Smaller differences come from the way in which clocks run and are corrected. They are followed.
"""

MAX_JUMPS = 32
"""Maximum number of jumps that are remembered: a clock that is set all the time must not fill the memory."""


def steady_seconds() -> float:
    """Return the time of a clock that is never set, in seconds. On Linux it also runs while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@attrs.define
class _Era:
    """A span of steady time in which the time of day was not set. It ends where the next era begins."""

    begin: float
    """Beginning, in steady seconds."""
    offset: float
    """Time of day minus steady time, in seconds."""


class AgeClock:
    """A clock for ages. Events carry the time of day, which can be set; ages are counted on a clock that is never set.

    *A machine without a battery for its clock starts in 1970 and learns the year from the network; another one is set
    forward by mistake, for a minute. After one look at such a clock everything would be years old, and deleted.*

    Each look compares the time of day with the steady clock and remembers a jump. The first look is believed, since
    nothing is known of the time before.
    """

    def __init__(self, time_ms: Callable[[], int], steady: Callable[[], float] = steady_seconds) -> None:
        self._time_ms = time_ms
        self._steady = steady
        self._looked_at = now = steady()
        self._eras = [_Era(-math.inf, time_ms() / 1000 - now)]

    def now(self, seconds: float) -> int:
        """Return the time, in ms since 1970, from which to count back ``seconds``: events before that are too old.

        While the time of day is not set, it is the time of day. Afterwards it is ``seconds`` more than the lowest time
        of day that the system showed in the last ``seconds``. An event before that is older; no younger event is.
        """
        now = self._look()
        if math.isinf(seconds):  # no event is too old
            return round((now + self._eras[-1].offset) * 1000)
        since = now - seconds
        ends = [*(era.begin for era in self._eras[1:]), now]
        shown = [max(since, era.begin) + era.offset for era, end in zip(self._eras, ends, strict=True) if end >= since]
        return round((min(shown) + seconds) * 1000)

    def _look(self) -> float:
        """Compare the two clocks. Return the time of the steady clock."""
        before, now = self._looked_at, self._steady()
        self._looked_at = now
        offset = self._time_ms() / 1000 - now
        last = self._eras[-1]
        if abs(offset - last.offset) <= JUMP_SECONDS:
            last.offset = offset
        else:
            # It was set at some time between the two looks. Count from the look by which fewer events are too old.
            self._eras.append(_Era(now if offset > last.offset else before, offset))
        if len(self._eras) > MAX_JUMPS:  # the two oldest become one, with the lower time: it deletes less
            self._eras[1] = _Era(-math.inf, min(self._eras[0].offset, self._eras[1].offset))
            del self._eras[0]
        return now
