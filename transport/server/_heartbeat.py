"""One clock for all connections: pings, lost heartbeats, expired tokens."""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol

import trio

from transport.server._pumped import Pumped, end_failed

FORGOTTEN = 64
"""Entries of connections that have ended, above the number of living ones, that are not worth a clearing."""


class Timed(Pumped, Protocol):
    """A connection, as the heartbeat sees it."""

    def beat(self, now: float) -> float | None:
        """Do what is due at ``now`` (trio's clock); when to be called next, None for never. Must not wait.

        Where it raises, this connection is closed, and called no more.
        """


class Heartbeat:
    """One task, and one entry a connection: timers do not scale with sessions."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int]] = []
        self._timed: dict[int, Timed] = {}
        self._entries: dict[Timed, int] = {}
        self._numbers = itertools.count()
        self._wakeup = trio.Event()

    def add(self, connection: Timed, when: float) -> None:
        """Call ``connection`` at ``when`` (trio's clock), and on as it says, until :meth:`remove`."""
        if not self._queue or when < self._queue[0][0]:
            self._wakeup.set()
        number = self._entries[connection] = next(self._numbers)
        self._timed[number] = connection
        heapq.heappush(self._queue, (when, number))

    def remove(self, connection: Timed) -> None:
        """Call it no more, and hold it no longer. Idempotent.

        Two numbers may stay until its time would have come, but never for more connections than live and a few. *The
        connection itself, and with it its session and all that is in memory of that, would stay for half a minute after
        every end: a wave of refreshes would be kept many times.*
        """
        number = self._entries.pop(connection, None)
        if number is None:
            return
        del self._timed[number]
        if len(self._queue) > 2 * len(self._timed) + FORGOTTEN:
            self._queue = [entry for entry in self._queue if entry[1] in self._timed]
            heapq.heapify(self._queue)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep time for ever. Safe to cancel."""
        while True:
            self._wakeup = trio.Event()
            due = self._queue[0][0] if self._queue else float("inf")
            with trio.move_on_at(due):
                await self._wakeup.wait()
            self._beat(trio.current_time())

    def _beat(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            _, number = heapq.heappop(self._queue)
            connection = self._timed.get(number)
            if connection is None:
                continue
            try:
                again = connection.beat(now)
            except BaseException as error:  # noqa: BLE001 - the failure of one connection, whatever it is
                again = None
                end_failed(connection, error)
            if again is None:
                self.remove(connection)
            else:
                heapq.heappush(self._queue, (again, number))
