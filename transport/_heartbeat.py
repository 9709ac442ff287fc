"""One clock for all connections: pings, lost heartbeats, expired tokens."""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol

import trio


class Timed(Protocol):
    """A connection, as the heartbeat sees it."""

    def beat(self, now: float) -> float | None:
        """Do what is due at ``now`` (trio's clock); when to be called next, None for never. Must not wait or raise."""


class Heartbeat:
    """One task, and one entry a connection: timers do not scale with sessions."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Timed]] = []
        self._numbers = itertools.count()
        self._wakeup = trio.Event()

    def add(self, connection: Timed, when: float) -> None:
        """Call ``connection`` at ``when`` (trio's clock), and on as it says."""
        if not self._queue or when < self._queue[0][0]:
            self._wakeup.set()
        heapq.heappush(self._queue, (when, next(self._numbers), connection))

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
            _, _, connection = heapq.heappop(self._queue)
            again = connection.beat(now)
            if again is not None:
                heapq.heappush(self._queue, (again, next(self._numbers), connection))
