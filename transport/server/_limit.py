"""A time limit for one step of a connection. The heartbeat keeps it: it needs no timer and no task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.spi import cancel_with_force

if TYPE_CHECKING:
    from types import TracebackType

    from actors.loop.clock import LoopTime
    from transport.server._heartbeat import Heartbeat

FORCE_SECONDS = 1.0
"""Seconds from the cancellation until a block that shields itself is ended by force, and then until the next time."""


class Limit:
    """A context manager that cancels its block after so many seconds in which the event loop ran.

    The block just ends then, as with ``trio.move_on_after``. If the block shields itself from the cancellation, it is
    ended by force a second later.

    Args:
        heartbeat: The clock that keeps the limit.
        time: The time that counts, which stands still while the event loop does.
        seconds: The limit.
    """

    __slots__ = ("_ends", "_heartbeat", "_scope", "_seconds", "_time")

    def __init__(self, heartbeat: Heartbeat, time: LoopTime, seconds: float) -> None:
        self._heartbeat = heartbeat
        self._time = time
        self._seconds = seconds
        self._ends = 0.0
        self._scope = trio.CancelScope()

    def __enter__(self) -> trio.CancelScope:
        self._ends = self._time.now() + self._seconds
        self._heartbeat.add(self, trio.current_time() + self._seconds)
        return self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._heartbeat.remove(self)
        return self._scope.__exit__(kind, error, traceback)

    def beat(self, now: float) -> float:
        """Cancel the block if its time is up. Return when to look again, on trio's clock."""
        # Trio's own deadlines fire before the loop reads what came while it stood still. This one looks again.
        if (left := self._ends - self._time.now()) > 0:
            return now + left
        if self._scope.cancel_called:
            cancel_with_force(self._scope)
        self._scope.cancel()
        return now + FORCE_SECONDS

    def on_failed(self, error: BaseException) -> None:
        """Cancel the block, since its time is no longer kept."""
        del error
        self._scope.cancel()
