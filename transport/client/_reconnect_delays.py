"""The delay before a client reconnects: exponential backoff with full jitter. Pure.

Full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS, 2015): each delay is drawn evenly from zero to the
current bound, so that clients that lost their server at the same time do not reconnect at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.backoff import Backoff

if TYPE_CHECKING:
    from random import Random


@attrs.define
class ReconnectDelays:
    """The random delays of one client before it reconnects. Each delay is between zero and a bound that grows.

    ``backoff`` sets the bounds. The bound becomes small again only after a connection that was live for
    ``backoff.healthy_after`` seconds. *Otherwise a server that accepts connections and closes them at once would get
    very many attempts.*
    """

    rng: Random
    # The first bound and the largest one, in seconds. The protocol recommends these values to every client.
    backoff: Backoff = attrs.field(factory=lambda: Backoff(0.2, 20.0))
    attempts: int = attrs.field(default=0, init=False)

    def next(self) -> float:
        """Return the next delay in seconds, and double the bound for the next call, up to a maximum."""
        bound = self.backoff.bound(self.attempts)
        self.attempts += 1
        return self.rng.uniform(0, bound)

    def lived(self, seconds: float) -> None:
        """Record that a connection was live for ``seconds``. If that was long enough, make the delays short again."""
        if seconds >= self.backoff.healthy_after:
            self.attempts = 0
