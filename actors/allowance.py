"""An allowance: a rate limit that saves unused units, and that a single use may overdraw (pure)."""

from __future__ import annotations

_TOLERANCE = 1e-9
"""Largest shortage, in units, that :meth:`Allowance.has` ignores. Rounding errors can cause such a shortage."""


class Allowance:
    """A rate limit: ``rate`` units come each second, and at most ``burst`` units are saved.

    A use may take more units than are saved. Then the allowance has a debt, which new units pay off. :meth:`wait`
    returns the time until the debt is paid. So the average rate holds for uses of any size.
    """

    __slots__ = ("_at", "_burst", "_rate", "_units")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._units = burst
        self._at = now

    def left(self, now: float) -> float:
        """Return the number of saved units at ``now`` (in seconds). The number is negative while there is a debt."""
        if now > self._at:
            units = self._units + (now - self._at) * self._rate
            # A subclass can add units beyond the burst. They are kept, but no new ones are added.
            self._units = units if units <= self._burst else max(self._units, self._burst)
            self._at = now
        return self._units

    def has(self, amount: float, now: float) -> bool:
        """Return whether at least ``amount`` units are saved at ``now`` (in seconds)."""
        return self.left(now) >= amount - _TOLERANCE

    def use(self, amount: float, now: float) -> None:
        """Take ``amount`` units, even if fewer units are saved."""
        self._units = self.left(now) - amount

    def wait(self, now: float) -> float:
        """Return the number of seconds after which there is no debt; 0 if there is no debt now."""
        return max(0.0, -self.left(now) / self._rate)

    def is_full(self, now: float) -> bool:
        """Return whether the whole allowance is available again: ``burst`` units are saved."""
        return self.has(self._burst, now)
