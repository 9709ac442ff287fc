"""The time of the event loop, without the time in which the loop stood still.

Sync code in a task blocks the whole loop. The loop reads nothing meanwhile, so afterwards every peer looks silent, and
every deadline looks over. Code that judges a peer by its silence uses :meth:`LoopTime.now` instead of trio's clock, and
looks again when the time seems to be up. Trio's own deadlines cannot be used for that: they fire before anything is
read.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PATIENCE = 2.0
"""Number of missing ticks after which the loop counts as standing still. One tick can be late on a busy machine."""
_AGREEMENT = 0.1
"""Largest accepted difference between trio's clock and the system's, as a fraction of the time since the last tick.

If the clocks differ by more, a test has moved trio's clock, and the loop did not stand still.
"""


class LoopTime:
    """The time of one trio run, in seconds: trio's clock, without the time in which the event loop stood still.

    A task must call :meth:`tick` at regular intervals, inside :meth:`ticking`. If no task calls :meth:`tick`, this time
    is the same as trio's time.
    """

    __slots__ = ("_ticked", "_tickers", "_wait", "_wall", "clock", "lost")

    def __init__(
        self, clock: Callable[[], float] = trio.current_time, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        """Trio's clock, in seconds. ``trio.current_time`` would find it anew at each call."""
        self._wall = wall
        self._tickers = 0
        self._wait = 0.0
        self._ticked = (0.0, 0.0)
        self.lost = 0.0
        """Seconds in which the loop stood still, up to the last tick."""

    def now(self) -> float:
        """Return trio's time minus the time in which the loop stood still. The result never goes back."""
        now = self.clock()
        # Mostly the next tick is not late, which is seen without a further call.
        late = now - self._ticked[0] > self._wait
        return now - self.lost - (self._overdue(now) if late else 0.0)

    @contextmanager
    def ticking(self, seconds: float) -> Generator[None]:
        """Begin a ``with`` block in which the caller calls :meth:`tick` at least every ``seconds`` seconds.

        If a call comes too late, the loop counts as blocked.
        """
        if not self._tickers:
            self._wait = 0.0
            self._ticked = (self.clock(), self._wall())
        self._tickers += 1
        self._wait = max(self._wait, PATIENCE * seconds)
        try:
            yield
        finally:
            self.tick()  # keeps the time that was subtracted, so that the clock does not jump
            self._tickers -= 1

    def tick(self) -> float:
        """Record that the loop runs now.

        Return for how many seconds the loop was blocked before this call; 0 if the loop was not blocked.
        """
        now = self.clock()
        overdue = self._overdue(now)
        stood = now - self._ticked[0] if overdue else 0.0
        self.lost += overdue
        self._ticked = (now, self._wall())
        return stood

    def _overdue(self, now: float) -> float:
        """Return the seconds by which the next tick is late.

        Return 0 if the tick is not late, or if no task calls :meth:`tick`.
        """
        overdue = now - self._ticked[0] - self._wait
        if overdue <= 0 or not self._tickers:
            return 0.0
        # A test moves trio's clock without any time having passed: the system's clock tells.
        gap, wall_gap = now - self._ticked[0], self._wall() - self._ticked[1]
        return overdue if abs(gap - wall_gap) <= _AGREEMENT * gap else 0.0


_OF_RUN: trio.lowlevel.RunVar[LoopTime] = trio.lowlevel.RunVar("greenroom loop time")


def loop_time() -> LoopTime:
    """Return the :class:`LoopTime` of the current trio run. Raises ``RuntimeError`` outside of trio."""
    try:
        return _OF_RUN.get()
    except LookupError:
        # The clock's own method: trio.current_time() finds it anew by three calls, and each frame of a client asks.
        made = LoopTime(trio.lowlevel.current_clock().current_time)
        _OF_RUN.set(made)
        return made
