"""The way to end a client's present wait from another task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transport.client._loop import EventLoop, Scope


class Interrupt:
    """A way to end the client's present wait. The client waits for the network or a delay only inside :attr:`scope`."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self.scope: Scope = loop.scope()
        self.leaving = False
        self.catching_up = False

    def begin(self, *, deadline: float = math.inf) -> Scope:
        """Return a cancel scope for the client's next wait.

        The scope is cancelled already if the application has left the client's ``async with`` block.
        """
        self.scope = self._loop.scope(deadline)
        if self.leaving:
            self.scope.cancel()
        return self.scope

    def leave(self) -> None:
        """Stop the client permanently, and end the client's present wait."""
        self.leaving = True
        self.scope.cancel()

    def catch_up(self) -> None:
        """End the present connection, so that the client reconnects at once and fetches the events that it skipped."""
        self.catching_up = True
        self.scope.cancel()
