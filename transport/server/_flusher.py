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
    (:meth:`schedule_with_commit`, then :meth:`visit`), anything else in trio's next round (:meth:`schedule`, then
    :meth:`run`).
    """

    def __init__(self) -> None:
        self._scheduled: dict[Visited, None] = {}
        self._wakeup = trio.lowlevel.ParkingLot()
        self.rounds = 0
        """How often the pump went round: visits divided by it are connections per round."""
        self.visits = 0

    def schedule(self, connection: Visited) -> None:
        """Have ``connection`` visited. Costs no task switch."""
        if not self._scheduled:
            self._wakeup.unpark()
        self._scheduled[connection] = None

    def schedule_with_commit(self, connection: Visited) -> None:
        """Have ``connection`` visited by the :meth:`visit` that ends this turn, with all others of its commit."""
        self._scheduled[connection] = None

    def forget(self, connection: Visited) -> None:
        """Hold a connection that has ended no longer. Idempotent."""
        self._scheduled.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Visit for ever. Cancelled between two rounds only."""
        while True:
            if self._scheduled:
                await trio.lowlevel.checkpoint()
            else:
                await self._wakeup.park()
            self.visit()

    def visit(self) -> None:
        """Visit the scheduled connections. Hold none of them afterwards: the next round may be long in coming."""
        if not self._scheduled:
            return
        scheduled, self._scheduled = self._scheduled, {}
        self.rounds += 1
        self.visits += len(scheduled)
        for connection in scheduled:
            try:
                connection.flush()
            except BaseException as error:  # noqa: BLE001 - the failure of one connection, whatever it is
                end_failed(connection, error)
