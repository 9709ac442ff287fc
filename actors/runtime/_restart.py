"""Who is restarted, how often, and after how long. Pure: the time and the random number are handed in.

After OTP's ``supervisor`` (restart types, intensity) and Pekko's ``BackoffSupervisor`` (backoff).
"""

from __future__ import annotations

import enum
import math
from collections import deque

import attrs

from actors.errors import SpecError
from actors.failures import shown
from actors.runtime._checks import check_seconds, is_number
from actors.runtime._lifecycle import ExitReason, is_graceful


class Restart(enum.StrEnum):
    """What follows the end of a child."""

    PERMANENT = "permanent"
    """It is always restarted."""
    TRANSIENT = "transient"
    """It is restarted unless it ended Normal or Shutdown."""
    TEMPORARY = "temporary"
    """It is never restarted, and its spec is forgotten."""


def should_restart(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of that type comes back after it ended for that reason."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return not is_graceful(reason)
        case Restart.TEMPORARY:
            return False


class Window:
    """A sliding window: at most ``limit`` restarts within any ``seconds``."""

    __slots__ = ("_limit", "_seconds", "_times")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._times: deque[float] = deque()

    def record(self, now: float) -> bool:
        """Count a restart at ``now`` (seconds, never going back). False when that is one too many."""
        times = self._times
        while times and times[0] <= now - self._seconds:
            times.popleft()
        times.append(now)
        return len(times) <= self._limit


@attrs.frozen
class Backoff:
    """How long to wait before a restart: doubling from ``minimum`` to ``maximum`` seconds.

    ``random_factor`` 0.2 adds up to 20 %, so that children that fell together do not come back together. A child that
    was up for (minimum + maximum) / 2 seconds begins again at ``minimum``.
    """

    minimum: float
    maximum: float
    random_factor: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Raise SpecError for what is no time, and for what is no factor."""
        check_seconds(self.minimum, "minimum of a backoff")
        check_seconds(self.maximum, "maximum of a backoff")
        if not self.minimum <= self.maximum < math.inf:
            raise SpecError(f"backoff must have 0 <= minimum <= maximum, and a finite maximum, not {self!r}")
        if not is_number(self.random_factor) or not 0 <= self.random_factor <= 1:
            raise SpecError(f"random_factor of a backoff must be from 0 to 1, not {shown(self.random_factor)}")

    @property
    def healthy_after(self) -> float:
        """Seconds of life after which earlier failures are forgotten."""
        return (self.minimum + self.maximum) / 2

    def delay(self, attempt: int, random: float) -> float:
        """Seconds before restart number ``attempt`` (0 is the first); ``random`` is in [0, 1)."""
        # 2**1023 is the largest float power; the bound on the exponent keeps a long outage from overflowing.
        doubled = min(self.maximum, self.minimum * 2.0 ** min(attempt, 1000))
        return min(self.maximum * (1 + self.random_factor), doubled * (1 + self.random_factor * random))
