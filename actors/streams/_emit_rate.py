"""The limit of the events and bytes that one user emits per second, over all of the user's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from actors.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Uses(Protocol):
    """The counts that the rates of all users share."""

    waiting: int
    """Number of emitters that wait now."""

    def count(self, setting: str, times: int = 1) -> None:
        """Count that an emitter has to wait because of ``setting``."""


class EmitRate:
    """The limit of one user's events and bytes per second. Unused parts are saved for one second.

    An event is emitted at once, and may exceed the limit. Then its emitter waits until the user is within the limit
    again. If several emitters of one user wait, the emitter with the earliest event continues first. Other users do not
    wait.

    Args:
        events: Maximum number of events per second; 0 for no limit.
        size: Maximum size of these events in bytes per second; 0 for no limit.
        uses: The counts of all users together.
    """

    __slots__ = ("_allowances", "_events", "_size", "_uses")

    def __init__(self, events: float, size: float, uses: Uses) -> None:
        now = trio.current_time()
        self._events = Allowance(events, max(1.0, events), now) if events else None
        self._size = Allowance(size, size, now) if size else None
        pairs = (("events_per_second", self._events), ("bytes_per_second", self._size))
        self._allowances = tuple((name, each) for name, each in pairs if each is not None)
        self._uses = uses

    def counting(self, append: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return a function that counts a line (an encoded event), and then passes the line to ``append``."""

        # No method: a stream that had a bound method of itself would be in a reference cycle.
        def count_and_append(line: bytes) -> None:
            now = trio.current_time()
            if self._events is not None:
                self._events.use(1, now)
            if self._size is not None:
                self._size.use(len(line), now)
            append(line)

        return count_and_append

    def exceeded(self) -> str:
        """Return the name of the setting that the user exceeds the most. Return "" if the user exceeds no setting."""
        return self.due()[1]

    async def wait(self) -> None:
        """Wait until the user is within the limit again. If the user is within the limit now, this is no checkpoint.

        Cancellation: the events that were counted are emitted all the same.
        """
        await self.sleep(*self.due())

    async def sleep(self, seconds: float, name: str, sleep: Callable[[float], Awaitable[object]] = trio.sleep) -> None:
        """Wait for ``seconds`` because of the setting ``name``. An earlier call of :meth:`due` returned both values.

        ``sleep`` is the function of the caller's event loop that waits for some seconds.
        """
        if not name:
            return
        self._uses.count(name)
        self._uses.waiting += 1
        try:
            await sleep(seconds)
        finally:
            self._uses.waiting -= 1

    def due(self) -> tuple[float, str]:
        """Return the seconds until the user is within both limits, and the name of the setting that takes longer."""
        now = trio.current_time()
        seconds, name = max((each.wait(now), name) for name, each in self._allowances)
        return (seconds, name) if seconds else (0.0, "")

    def is_full(self) -> bool:
        """Return whether the whole allowance of events and bytes is available again.

        If so, this object can be dropped: a new object would behave in the same way.
        """
        now = trio.current_time()
        return all(each.is_full(now) for _, each in self._allowances)
