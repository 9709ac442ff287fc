"""The bound on the cost of an inspector: a result that took much CPU time is shown again for a while.

*With 10,000 sessions, an inspector that was left open took a fifth of a core.*
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHEAP_SECONDS = 0.005
"""CPU time up to which something is found anew for each request, in seconds."""
SHARE = 0.005
"""Share of a core that finding one thing again and again may take."""
OLDEST_SECONDS = 10.0
"""Maximum age of a result that is shown again, in seconds."""
MOST = 8
"""Maximum number of results that are kept."""

T = TypeVar("T")


def shown_for(cost: float) -> float:
    """Return for how many seconds to show a result again that took ``cost`` seconds of CPU time."""
    return 0.0 if cost <= CHEAP_SECONDS else min(OLDEST_SECONDS, cost / SHARE)


class Meter:
    """Measures the CPU time of some work, without that of other tasks which run at its checkpoints."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """CPU time up to the last checkpoint, in seconds."""
        self._begun = time.thread_time()

    async def checkpoint(self) -> None:
        """Add the time since the last checkpoint, and let other tasks run."""
        self.seconds += time.thread_time() - self._begun
        await trio.lowlevel.checkpoint()
        self._begun = time.thread_time()


class Recent(Generic[T]):
    """The newest results that took much CPU time, each by its question."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, T]] = {}

    async def get(self, asked: str, find: Callable[[Meter], Awaitable[T]]) -> T:
        """Return the kept result for ``asked`` if it is new enough, else the result of ``find``."""
        kept = self._kept.get(asked)
        if kept is not None and trio.current_time() < kept[0]:
            return kept[1]
        meter = Meter()
        found = await find(meter)
        self._kept.pop(asked, None)
        if again := shown_for(meter.seconds):
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[asked] = trio.current_time() + again, found
        return found

    def forget(self) -> None:
        """Forget all results: an operator has changed something."""
        self._kept.clear()
