"""One clock for all connections: pings, silent clients, expired tokens, time limits of the greeting."""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol

import trio

from transport.server._containment import Contained, end_failed

FORGOTTEN = 64
"""Heap entries of ended connections, above the number of live ones, before the heap is compacted.

Compacting costs a pass over the heap. With this margin, it is rare also when few connections are open.
"""


class Timed(Contained, Protocol):
    """A part of a connection that has something to do at a time."""

    def beat(self, now: float) -> float | None:
        """Act on the time ``now``, on trio's clock. Must not wait.

        Returns:
            When to be called next; None for never. If it raises, the connection is closed, and it is called no more.
        """


class Heartbeat:
    """A heap of times with one task: a timer for each connection would cost a scope and a place in trio's own heap."""

    def __init__(self) -> None:
        # Entries are pairs of numbers. *An entry that held its connection would keep it, with its session and all the
        # events of that in memory, for half a minute after its end: a wave of refreshes would be kept many times.*
        self._heap: list[tuple[float, int]] = []
        self._timed: dict[int, Timed] = {}
        self._numbers_of: dict[Timed, int] = {}
        self._numbers = itertools.count()
        self._wakeup = trio.Event()

    def add(self, connection: Timed, when: float) -> None:
        """Call ``connection`` at ``when``, on trio's clock, and then as it returns, until :meth:`remove`."""
        if not self._heap or when < self._heap[0][0]:
            self._wakeup.set()
        number = self._numbers_of[connection] = next(self._numbers)
        self._timed[number] = connection
        heapq.heappush(self._heap, (when, number))

    def remove(self, connection: Timed) -> None:
        """Call ``connection`` no more, and do not hold it. Idempotent.

        Its heap entry stays until its time has come, or until there are too many such entries.
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
        """Keep time for ever. Safe to cancel."""
        while True:
            self._wakeup = trio.Event()
            due = self._heap[0][0] if self._heap else float("inf")
            with trio.move_on_at(due):
                await self._wakeup.wait()
            self._beat(trio.current_time())

    def _beat(self, now: float) -> None:
        """Call all connections that are due at ``now``."""
        while self._heap and self._heap[0][0] <= now:
            _, number = heapq.heappop(self._heap)
            connection = self._timed.get(number)
            if connection is None:  # it was removed, and this was its entry
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
