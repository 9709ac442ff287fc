"""A time limit for one step of a connection. The heartbeat checks the limit, so no timer or task is needed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.spi import cancel_with_force

if TYPE_CHECKING:
    from types import TracebackType

    from actors.loop.clock import LoopTime
    from transport.server._context import ServerContext
    from transport.server._heartbeat import Heartbeat

FORCE_SECONDS = 1.0
"""Seconds between the cancellation of a ``with`` block and its end by force, if the block is shielded.

While the block still runs, it is ended by force again each time this number of seconds has passed.
"""


class Limit:
    """A context manager that cancels its ``with`` block after ``seconds``. Time of a blocked event loop is not counted.

    When the time is up, the block ends without an exception, as with ``trio.move_on_after``. A block that is shielded
    from the cancellation is ended by force a second later.

    Args:
        heartbeat: The timer of all connections, which calls :meth:`beat`.
        time: The clock of the limit, which stands still while the event loop is blocked.
        seconds: The time limit.
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
        """Cancel the ``with`` block if its time is up. Return the time of the next check, on trio's clock."""
        # Trio's own deadlines fire before the loop reads what came while it stood still. This limit looks again.
        if (left := self._ends - self._time.now()) > 0:
            return now + left
        if self._scope.cancel_called:
            cancel_with_force(self._scope)
        self._scope.cancel()
        return now + FORCE_SECONDS

    def on_failed(self, error: BaseException) -> None:
        """Cancel the ``with`` block, because the heartbeat failed with ``error``: no later check would end it."""
        del error
        self._scope.cancel()


def within(context: ServerContext, seconds: float) -> Limit:
    """Return a time limit of ``seconds`` for a ``with`` block. The server's heartbeat (a timer) enforces the limit."""
    return Limit(context.heartbeat, context.time, seconds)
