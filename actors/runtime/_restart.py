"""Restart types, and the limit for the number of restarts within some seconds. Pure: the time is an argument.

After OTP's ``supervisor`` (restart types, intensity).
"""

from __future__ import annotations

import enum
from collections import deque

from actors.runtime._lifecycle import ExitReason, is_graceful


class Restart(enum.StrEnum):
    """The rule by which a child is restarted after it has ended."""

    PERMANENT = "permanent"
    """The child is always restarted."""
    TRANSIENT = "transient"
    """The child is restarted unless it ended with the reason Normal or Shutdown."""
    TEMPORARY = "temporary"
    """The child is never restarted, and its spec is not kept."""


def should_restart(restart: Restart, reason: ExitReason) -> bool:
    """Return whether a child with the restart type ``restart`` is restarted after it ended for ``reason``."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return not is_graceful(reason)
        case Restart.TEMPORARY:
            return False


class Window:
    """A limit for restarts: at most ``limit`` restarts within any period of ``seconds``."""

    __slots__ = ("_limit", "_seconds", "_times")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._times: deque[float] = deque()

    def record(self, now: float) -> bool:
        """Count a restart at the time ``now``, in seconds. Return False if the restart exceeds the limit."""
        times = self._times
        while times and times[0] <= now - self._seconds:
            times.popleft()
        times.append(now)
        return len(times) <= self._limit
