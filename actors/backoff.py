"""Exponential backoff: the growing wait before each restart of a child, or each new connection of a client. Pure.

After Pekko's ``BackoffSupervisor``. The number of earlier attempts and the random number are arguments.
"""

from __future__ import annotations

import math

import attrs

from actors.checks import check_seconds, is_number
from actors.errors import SpecError
from actors.failures import shown

_DOUBLINGS = 1000
"""Maximum number of doublings that are computed. 2**1023 is the largest power of two that a float holds."""


@attrs.frozen
class Backoff:
    """The wait before a restart or a new attempt. The wait doubles each time, from ``minimum`` to ``maximum`` seconds.

    With ``random_factor`` 0.2, a random part of up to 20 % is added to each wait. So several children with one common
    failure are restarted at different times. After a child has run for ``healthy_after`` seconds, the next wait is
    ``minimum`` again.
    """

    minimum: float
    maximum: float
    random_factor: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Raise SpecError unless 0 <= minimum <= maximum < infinity and 0 <= random_factor <= 1."""
        check_seconds(self.minimum, "minimum of a backoff")
        check_seconds(self.maximum, "maximum of a backoff")
        if not self.minimum <= self.maximum < math.inf:
            raise SpecError(f"backoff must have 0 <= minimum <= maximum, and a finite maximum, not {self!r}")
        if not is_number(self.random_factor) or not 0 <= self.random_factor <= 1:
            raise SpecError(f"random_factor of a backoff must be from 0 to 1, not {shown(self.random_factor)}")

    @property
    def healthy_after(self) -> float:
        """Time in seconds that a child must run before its earlier failures are forgotten: (minimum + maximum) / 2."""
        return (self.minimum + self.maximum) / 2

    def bound(self, attempt: int) -> float:
        """Return the wait in seconds before attempt number ``attempt`` (0 is the first), without the random part."""
        # A larger power of two than 2.0**1023 raises OverflowError.
        return min(self.maximum, self.minimum * 2.0 ** min(attempt, _DOUBLINGS))

    def delay(self, attempt: int, random: float) -> float:
        """Return the wait in seconds before attempt number ``attempt``, with its random part.

        ``random`` is in [0, 1).
        """
        wait = self.bound(attempt) * (1 + self.random_factor * random)
        return min(self.maximum * (1 + self.random_factor), wait)
