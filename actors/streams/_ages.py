"""The ages of events, counted so that no young event is deleted when the system's time of day is set."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

JUMP_SECONDS = 5.0
"""Largest normal change of the difference between the time of day and the steady clock, in seconds.

A small change comes from inaccuracies and corrections of a clock. A larger change is a jump: the time of day was set.
"""

MAX_JUMPS = 32
"""Maximum number of jumps of the time of day that are remembered.

Without a limit, a clock that is set again and again would fill the memory.
"""


def steady_seconds() -> float:
    """Return the time of a clock that is never adjusted, in seconds.

    On Linux this clock also runs while the machine sleeps.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@attrs.define
class _Era:
    """A period between two changes of the system's time of day. The period ends when the next period begins."""

    begin: float
    """Beginning of the period, in seconds of the steady clock."""
    offset: float
    """Time of day minus time of the steady clock during the period, in seconds."""


class _TimeOfDay:
    """A time of day beside the steady clock, with its jumps as far back as they matter."""

    __slots__ = ("_eras", "_looked_at")

    def __init__(self, shown: float, now: float) -> None:
        """Begin with the time of day ``shown`` at the time ``now`` of the steady clock, both in seconds."""
        self._looked_at = now
        self._eras = [_Era(-math.inf, shown - now)]

    def look(self, shown: float, now: float) -> None:
        """Compare the time of day with the steady clock, and remember a jump."""
        before, self._looked_at = self._looked_at, now
        offset = shown - now
        last = self._eras[-1]
        if abs(offset - last.offset) <= JUMP_SECONDS:
            last.offset = offset
        else:
            # The time of day was set between the last comparison and this one. The new period begins at the comparison
            # that makes fewer events too old.
            self._eras.append(_Era(now if offset > last.offset else before, offset))
        if len(self._eras) > MAX_JUMPS:  # the two oldest periods become one, with the lower time: it deletes less
            self._eras[1] = _Era(-math.inf, min(self._eras[0].offset, self._eras[1].offset))
            del self._eras[0]

    def lowest(self, now: float, seconds: float) -> float:
        """Return ``seconds`` after the lowest time of day that was shown in the last ``seconds``."""
        if math.isinf(seconds):  # no event is too old
            return now + self._eras[-1].offset
        since = now - seconds
        ends = [*(era.begin for era in self._eras[1:]), now]
        shown = [max(since, era.begin) + era.offset for era, end in zip(self._eras, ends, strict=True) if end >= since]
        return min(shown) + seconds


class AgeClock:
    """A clock from which the ages of events are computed. The ages stay right even if the system's time of day is set.

    Events carry the time of day, which can be set. Ages are counted on a steady clock, which is never set.

    *Some machines start in 1970 and get the date from the network later. Other machines are set years forward by
    mistake, for a minute. With the time of day alone, all events would suddenly be years old and be deleted.*

    Each call of :meth:`now` compares the time of day with the steady clock, and remembers a jump between them. The
    first time of day is trusted, since there is no earlier time to compare it with. In a cluster it need not be:
    :meth:`compare` gets a second time of day.
    """

    def __init__(self, time_ms: Callable[[], int], steady: Callable[[], float] = steady_seconds) -> None:
        self._time_ms = time_ms
        self._steady = steady
        self._own = _TimeOfDay(time_ms() / 1000, steady())
        self._other: _TimeOfDay | None = None

    def now(self, seconds: float) -> int:
        """Return the time (ms since 1970) from which ages are counted, if events may be at most ``seconds`` old.

        An event is too old if its ``ts`` is more than ``seconds`` before the returned time. Normally the returned time
        is the time of day. But if the time of day was set in the last ``seconds``, the returned time is ``seconds``
        after the lowest time of day that the system showed in this period. So no event that is younger than ``seconds``
        counts as too old. If there is a second time of day, the same holds for it, and the lower result is returned.
        """
        now = self._steady()
        self._own.look(self._time_ms() / 1000, now)
        found = self._own.lowest(now, seconds)
        if self._other is not None:
            found = min(found, self._other.lowest(now, seconds))
        return round(found * 1000)

    def compare(self, other_ms: int) -> None:
        """Take account of a second time of day, in ms since 1970, which another machine has just shown.

        *A node of a cluster that was started with a clock that was years ahead deleted all events of each user that
        it got from the other nodes.* Call this again and again: the second time of day may be set, too.
        """
        now = self._steady()
        if self._other is None:
            self._other = _TimeOfDay(other_ms / 1000, now)
        else:
            self._other.look(other_ms / 1000, now)
