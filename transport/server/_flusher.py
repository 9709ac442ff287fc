"""The pump that writes: it visits the connections whose session committed something."""

from __future__ import annotations

from typing import Protocol

import trio

from transport.server._pumped import Pumped, end_failed


class Visited(Pumped, Protocol):
    """A connection, as the flusher sees it."""

    def flush(self) -> None:
        """Write what there is to write. Never waits; where it raises, this connection is closed."""


class Flusher:
    """One for all connections. Whatever gathered since a connection was last visited leaves as one message.

    Batches grow with load and add no delay: what a commit made visible is written in the commit's own turn
    (:meth:`gather`, then :meth:`visit`), anything else in the scheduler's next round (:meth:`mark`, :meth:`run`).
    """

    def __init__(self) -> None:
        self._marked: dict[Visited, None] = {}
        self._wakeup = trio.lowlevel.ParkingLot()
        self.rounds = 0
        """How often the pump went round: visits divided by it are connections per round."""
        self.visits = 0

    def mark(self, connection: Visited) -> None:
        """Have ``connection`` visited. Costs no task switch."""
        if not self._marked:
            self._wakeup.unpark()
        self._marked[connection] = None

    def gather(self, connection: Visited) -> None:
        """Have ``connection`` visited by the :meth:`visit` that ends this turn, with all others of its commit."""
        self._marked[connection] = None

    def forget(self, connection: Visited) -> None:
        """Hold a connection that has ended no longer. Idempotent."""
        self._marked.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Visit for ever. Cancelled between two rounds only."""
        while True:
            if self._marked:
                await trio.lowlevel.checkpoint()
            else:
                await self._wakeup.park()
            self.visit()

    def visit(self) -> None:
        """Visit who is marked; nothing of it is held afterwards, since the next round may be long in coming."""
        if not self._marked:
            return
        marked, self._marked = self._marked, {}
        self.rounds += 1
        self.visits += len(marked)
        for connection in marked:
            try:
                connection.flush()
            except BaseException as error:  # noqa: BLE001 - the failure of one connection, whatever it is
                end_failed(connection, error)
