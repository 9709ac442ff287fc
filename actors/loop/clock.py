"""Time without the time in which the event loop stood still.

Sync code in a task holds the whole loop: nothing is read meanwhile, so every peer looks silent afterwards, and every
deadline seems to be over. Whatever judges a peer by its silence takes :meth:`LoopTime.now` instead of trio's clock, and
looks again when its time seems to be up. Trio's own deadlines will not do: they fire before anything is read.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PATIENCE = 2.0
"""Ticks that may be missing before the loop counts as standing still: a busy machine is late by one at times."""
_AGREEMENT = 0.1
"""Part of a gap by which trio's clock and the system's may differ. A clock that a test moves differs by more."""


class LoopTime:
    """The time of one trio run, in seconds. It goes as trio's clock does, and stands still while the loop does.

    It can tell only while something calls :meth:`tick` from the loop in regular intervals (:meth:`ticking`): without
    that, nothing is ever taken off.
    """

    __slots__ = ("_clock", "_ticked", "_tickers", "_wait", "_wall", "lost")

    def __init__(
        self, clock: Callable[[], float] = trio.current_time, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._tickers = 0
        self._wait = 0.0
        self._ticked = (0.0, 0.0)
        self.lost = 0.0
        """Seconds in which the loop stood still so far, as the last tick knew."""

    def now(self) -> float:
        """Return trio's time less the time in which the loop stood still. Never goes back."""
        now = self._clock()
        return now - self.lost - self._overdue(now)

    @contextmanager
    def ticking(self, seconds: float) -> Generator[None]:
        """Expect a :meth:`tick` at least every so many seconds inside the block."""
        if not self._tickers:
            self._wait = 0.0
            self._ticked = (self._clock(), self._wall())
        self._tickers += 1
        self._wait = max(self._wait, PATIENCE * seconds)
        try:
            yield
        finally:
            self.tick()  # what was taken off stays off, so that the time does not jump
            self._tickers -= 1

    def tick(self) -> float:
        """Note that the loop runs. Return for how long it stood still until now, in seconds; 0 where it did not."""
        now = self._clock()
        overdue = self._overdue(now)
        stood = now - self._ticked[0] if overdue else 0.0
        self.lost += overdue
        self._ticked = (now, self._wall())
        return stood

    def _overdue(self, now: float) -> float:
        """Return by how much the next tick is late, in seconds."""
        overdue = now - self._ticked[0] - self._wait
        if overdue <= 0 or not self._tickers:
            return 0.0
        gap, wall_gap = now - self._ticked[0], self._wall() - self._ticked[1]
        return overdue if abs(gap - wall_gap) <= _AGREEMENT * gap else 0.0


_OF_RUN: trio.lowlevel.RunVar[LoopTime] = trio.lowlevel.RunVar("greenroom loop time")


def loop_time() -> LoopTime:
    """Return the time of the trio run that calls. Raises ``RuntimeError`` outside of one."""
    try:
        return _OF_RUN.get()
    except LookupError:
        made = LoopTime()
        _OF_RUN.set(made)
        return made
