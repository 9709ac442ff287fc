"""How much one client may ask for (pure: the caller says what time it is)."""

from __future__ import annotations

from collections import deque

FLOOD_REFUSALS = 100
"""Refusals within :data:`FLOOD_SECONDS` that end a connection."""
FLOOD_SECONDS = 10.0


class TokenBucket:
    """``rate`` tokens a second, ``burst`` of them saved up at most.

    For the seconds in which the server looked at nothing (``lost``, their sum so far) tokens are saved up without a
    bound: what the client sent meanwhile at its rate comes all at once.
    """

    __slots__ = ("_at", "_burst", "_lost", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float, lost: float = 0.0) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = now
        self._lost = lost

    def take(self, now: float, lost: float = 0.0) -> bool:
        """Take one token; False when there is none."""
        if now > self._at:
            self._tokens = max(self._tokens, min(self._burst, self._tokens + (now - self._at) * self._rate))
            self._at = now
        if lost > self._lost:
            self._tokens += (lost - self._lost) * self._rate
            self._lost = lost
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Refusals:
    """Counts refusals: a client that goes on in spite of them is flooding."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] | None = None

    def flooding(self, now: float) -> bool:
        """Count one more refusal; whether that is too many within :data:`FLOOD_SECONDS`."""
        if self._times is None:
            self._times = deque(maxlen=FLOOD_REFUSALS)
        self._times.append(now)
        return len(self._times) == FLOOD_REFUSALS and self._times[0] > now - FLOOD_SECONDS
