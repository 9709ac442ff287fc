"""The task that writes to all connections, after each commit of their sessions."""

from __future__ import annotations

from typing import Protocol

import trio

from transport.server._containment import Contained, end_failed


class Visited(Contained, Protocol):
    """A connection, as far as the flusher uses it."""

    def flush(self) -> None:
        """Write everything that is new. Never waits. If this raises, the connection is closed."""


class Flusher:
    """The task that makes all connections of a server write their new data.

    It calls :meth:`~Visited.flush` of each connection that is scheduled. All events since a connection's last flush
    leave as one message, so batches grow with the load. They are not delayed: events are written right after their
    commit (:meth:`schedule_with_commit`, then :meth:`visit`). All other data is written in trio's next round
    (:meth:`schedule`, then :meth:`run`).
    """

    def __init__(self) -> None:
        # A dict, since it keeps the order and holds each connection once.
        self._scheduled: dict[Visited, None] = {}
        self._wakeup = trio.lowlevel.ParkingLot()
        self.rounds = 0
        """Number of rounds so far. ``visits / rounds`` is the average number of connections in a round."""
        self.visits = 0
        """Number of flushes of connections so far."""

    def schedule(self, connection: Visited) -> None:
        """Schedule a flush of ``connection`` in trio's next round. Does not switch tasks."""
        if not self._scheduled:
            self._wakeup.unpark()
        self._scheduled[connection] = None

    def schedule_with_commit(self, connection: Visited) -> None:
        """Schedule a flush of ``connection`` by the :meth:`visit` at the end of the present commit."""
        # The task stays asleep. If it were woken, it would find nothing to do after the commit's own visit.
        self._scheduled[connection] = None

    def forget(self, connection: Visited) -> None:
        """Forget a connection that has ended. May be called more than once."""
        self._scheduled.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Flush the scheduled connections, for ever. It can be cancelled between two rounds only."""
        while True:
            if self._scheduled:
                await trio.lowlevel.checkpoint()
            else:
                await self._wakeup.park()
            self.visit()

    def visit(self) -> None:
        """Flush all scheduled connections, and forget them.

        The connections are not kept, since the next call may come much later.
        """
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
