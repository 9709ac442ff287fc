"""The task that writes to all connections, after each commit of their sessions."""

from __future__ import annotations

from typing import Protocol

import trio

from transport.server._containment import Contained, end_failed


class Visited(Contained, Protocol):
    """A connection, as the flusher sees it."""

    def flush(self) -> None:
        """Write everything that is new. Never waits. If it raises, this connection is closed."""


class Flusher:
    """The schedule of visits to all connections of a server.

    Events that gathered since a connection's last visit leave as one message. Batches grow with the load and add
    no delay: events are written in the turn of their commit (:meth:`schedule_with_commit`, then :meth:`visit`),
    everything else in trio's next round (:meth:`schedule`, then :meth:`run`).
    """

    def __init__(self) -> None:
        # A dict, since it keeps the order and holds each connection once.
        self._scheduled: dict[Visited, None] = {}
        self._wakeup = trio.lowlevel.ParkingLot()
        self.rounds = 0
        """Number of rounds so far. ``visits / rounds`` is the number of connections in a round."""
        self.visits = 0
        """Number of connections visited so far."""

    def schedule(self, connection: Visited) -> None:
        """Have ``connection`` visited in trio's next round. Switches no task."""
        if not self._scheduled:
            self._wakeup.unpark()
        self._scheduled[connection] = None

    def schedule_with_commit(self, connection: Visited) -> None:
        """Have ``connection`` visited by the :meth:`visit` that ends this turn, with all others of its commit."""
        # The task stays asleep. If it were woken, it would find nothing to do after the commit's own visit.
        self._scheduled[connection] = None

    def forget(self, connection: Visited) -> None:
        """Drop a connection that has ended. Idempotent."""
        self._scheduled.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Visit for ever. Cancellation: between two rounds only."""
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
        # Taken out first: a connection that has more to write schedules itself for the next round.
        scheduled, self._scheduled = self._scheduled, {}
        self.rounds += 1
        self.visits += len(scheduled)
        for connection in scheduled:
            try:
                connection.flush()
            except BaseException as error:  # noqa: BLE001 - the failure of one connection, whatever it is
                end_failed(connection, error)
