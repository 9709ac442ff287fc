"""One timer for all connections: pings, silent clients, expired tokens, time limits of the greeting."""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol

import trio

from transport.server._containment import Contained, end_failed

FORGOTTEN = 64
"""Number of heap entries of ended connections that are allowed beyond the number of live connections.

When there are more, the entries of ended connections are removed, which takes a pass over the whole heap. This number
makes that pass rare even if few connections are open.
"""


class Timed(Contained, Protocol):
    """A part of a connection that the heartbeat calls at certain times."""

    def beat(self, now: float) -> float | None:
        """Do the work that is due at ``now``, on trio's clock. Must not wait.

        Returns:
            The time of the next call; None for no further call. If this method raises, the connection is closed, and
                there is no further call.
        """


class Heartbeat:
    """One task that calls many connections, each at the times that the connection asks for.

    The task keeps the times in a heap. *A timer for each connection would cost more: a cancel scope and an entry in
    trio's own heap.*
    """

    def __init__(self) -> None:
        # Entries are pairs of numbers. *An entry that held its connection would keep it, with its session and all the
        # events of that in memory, for half a minute after its end: a wave of refreshes would be kept many times.*
        self._heap: list[tuple[float, int]] = []
        self._timed: dict[int, Timed] = {}
        self._numbers_of: dict[Timed, int] = {}
        self._numbers = itertools.count()
        self._wakeup = trio.Event()

    def add(self, connection: Timed, when: float) -> None:
        """Call ``connection.beat`` at ``when``, on trio's clock, and then at each time that ``beat`` returns.

        If this was called before for the same connection, the earlier call no longer counts. To end the calls, call
        :meth:`remove`.
        """
        self.remove(connection)
        if not self._heap or when < self._heap[0][0]:
            self._wakeup.set()
        number = self._numbers_of[connection] = next(self._numbers)
        self._timed[number] = connection
        heapq.heappush(self._heap, (when, number))

    def remove(self, connection: Timed) -> None:
        """Stop the calls to ``connection``, and drop the reference to it. This can be called more than once.

        The connection's entry, a pair of numbers, stays in the heap until its time has come, or until the heap has too
        many entries of ended connections.
        """
        number = self._numbers_of.pop(connection, None)
        if number is None:
            return
        del self._timed[number]
        if len(self._heap) > 2 * len(self._timed) + FORGOTTEN:
            self._heap = [entry for entry in self._heap if entry[1] in self._timed]
            heapq.heapify(self._heap)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Call ``beat`` of each connection at the time for which the connection asked, until cancelled."""
        while True:
            self._wakeup = trio.Event()
            due = self._heap[0][0] if self._heap else float("inf")
            with trio.move_on_at(due):
                await self._wakeup.wait()
            self._beat(trio.current_time())

    def _beat(self, now: float) -> None:
        """Call ``beat`` of each connection that is due at ``now``."""
        while self._heap and self._heap[0][0] <= now:
            _, number = heapq.heappop(self._heap)
            connection = self._timed.get(number)
            if connection is None:  # the connection was removed, and this was its entry
                continue
            try:
                again = connection.beat(now)
            except BaseException as error:  # noqa: BLE001 - the failure of one connection, whatever it is
                again = None
                end_failed(connection, error)
            if again is None:
                self.remove(connection)
            else:
                heapq.heappush(self._heap, (again, number))
