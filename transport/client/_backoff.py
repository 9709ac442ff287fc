"""How long to wait before coming back: exponential backoff with full jitter.

Full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS, 2015): each delay is drawn evenly from zero to the
current bound, so that clients which lost their server together do not come back together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from random import Random

_DOUBLINGS = 64
"""More than that reaches any cap, and a float still holds it."""


@attrs.define
class Backoff:
    """The delays of one client, in seconds: drawn from 0 to ``base``, to twice that, and so on up to ``cap``.

    A connection must have been good for :attr:`healthy_after` seconds to start over from ``base``: a server that
    accepts and throws out at once is not hammered.
    """

    rng: Random
    base: float = 0.2
    cap: float = 20.0
    attempts: int = attrs.field(default=0, init=False)

    @property
    def healthy_after(self) -> float:
        """Seconds of life after which a connection counts as a success: half way between base and cap."""
        return (self.base + self.cap) / 2

    def delay(self) -> float:
        """Draw the next delay, and double the bound of the one after it."""
        bound = min(self.cap, self.base * 2.0 ** min(self.attempts, _DOUBLINGS))
        self.attempts += 1
        return self.rng.uniform(0, bound)

    def lived(self, seconds: float) -> None:
        """Note that a connection was live for ``seconds``: start over if that was long enough."""
        if seconds >= self.healthy_after:
            self.attempts = 0
