"""The task that writes new data to all connections, after each commit of their sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from transport.server._containment import Contained, end_failed

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT_STEPS = 4
"""Maximum number of steps of trio's scheduler for which the flusher waits for a commit that comes very soon."""


class Visited(Contained, Protocol):
    """The interface of a connection that the flusher (the task that writes new data) calls."""

    def flush(self) -> None:
        """Write the connection's new data. Never waits. If this method raises, the connection is closed."""


class Flusher:
    """The task that makes all connections of a server write their new data.

    The task calls :meth:`~Visited.flush` of each connection that is scheduled. All events since a connection's last
    flush are sent as one message, so messages grow with the load. Events are written without delay, right after their
    commit (:meth:`schedule_with_commit`, then :meth:`visit`). All other data is written when trio next runs this task
    (:meth:`schedule`, then :meth:`run`). Events that were emitted before are committed first, if the log never waits:
    so a signal does not overtake the reply and the events before it. *Trio runs the tasks of one step in any order, and
    a client that awaits the reply to its start would miss the first signals of the run in every other case.*

    Args:
        commit_due: Commits what can be committed without a wait; see :meth:`.Sessions.commit_due`.
    """

    def __init__(self, commit_due: Callable[[], bool]) -> None:
        self._commit_due = commit_due
        # A dict, since it keeps the order and holds each connection once.
        self._scheduled: dict[Visited, None] = {}
        self._wakeup = trio.lowlevel.ParkingLot()
        self.rounds = 0
        """Number of calls of :meth:`visit` that had connections to flush."""
        self.visits = 0
        """Number of flushes of single connections so far.

        ``visits / rounds`` is the average number of flushes in one round.
        """

    def schedule(self, connection: Visited) -> None:
        """Schedule a write of the connection's new data, for the flusher's next turn. Does not switch tasks."""
        if not self._scheduled:
            self._wakeup.unpark()
        self._scheduled[connection] = None

    def schedule_with_commit(self, connection: Visited) -> None:
        """Schedule a write of the connection's new data, for the end of the present commit (see :meth:`visit`)."""
        # The task stays asleep. If it were woken, it would find nothing to do after the commit's own visit.
        self._scheduled[connection] = None

    def forget(self, connection: Visited) -> None:
        """Remove a connection that has ended from the schedule. This can be called more than once."""
        self._scheduled.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Write the new data of all scheduled connections, again and again, until cancelled.

        A cancellation takes effect only between two rounds (passes over all scheduled connections), not in the middle
        of a round.
        """
        while True:
            if self._scheduled:
                await trio.lowlevel.checkpoint()
            else:
                await self._wakeup.park()
            for _ in range(COMMIT_STEPS):
                if self._commit_due():
                    break
                await trio.lowlevel.checkpoint()
            self.visit()

    def visit(self) -> None:
        """Write the new data of all scheduled connections once, and remove the connections from the schedule.

        No reference to the connections is kept. So an ended connection can be freed, even if the next call comes much
        later.
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
