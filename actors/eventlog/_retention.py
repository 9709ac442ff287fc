"""How many lines a trim drops and a read returns, counted in the same way by every engine. Pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from actors.events.line import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.eventlog.base import Retention


def bounded(lines: Iterable[bytes], limit: int, size: int) -> list[bytes]:
    """Return the first lines: at most ``limit`` of them and at most ``size`` bytes.

    A first line that is larger than ``size`` is returned alone. ``lines`` is read only as far as needed.
    """
    taken: list[bytes] = []
    for line in itertools.islice(lines, max(limit, 0)):
        size -= len(line)
        if size < 0 and taken:
            break
        taken.append(line)
        if size <= 0:
            break
    return taken


@attrs.define
class RetentionWalk:
    """A search for the first line of a stream that retention keeps. It begins at the oldest line."""

    keep: Retention
    horizon: float
    """Lowest ``ts`` of an event that is young enough to keep, in ms since 1970."""
    count: int
    """Number of lines not dropped yet."""
    size: int
    """Bytes of the lines not dropped yet."""

    @classmethod
    def of(cls, keep: Retention, now: int, count: int, size: int) -> RetentionWalk:
        """Begin the walk for a stream of ``count`` lines and ``size`` bytes at ``now`` (ms since 1970)."""
        return cls(keep, now - keep.seconds * 1000, count, size)

    def settled(self, oldest_ts: int) -> bool:
        """Return whether all remaining lines are kept. ``oldest_ts`` is the ``ts`` of the oldest of them."""
        return self.count <= self.keep.events and self.size <= self.keep.size and oldest_ts >= self.horizon

    def drop(self, lines: Iterable[bytes]) -> int:
        """Return how many of ``lines``, the oldest lines that are not dropped yet, must be dropped.

        If that is fewer than all of ``lines``, the next line is the first one that is kept.
        """
        dropped = 0
        for line in lines:
            if self.settled(timestamp(line)):
                break
            self.count -= 1
            self.size -= len(line)
            dropped += 1
        return dropped

    def drop_whole(self, count: int, size: int, last_ts: int) -> bool:
        """Drop the next ``count`` lines (``size`` bytes) if none of them is kept. The lines are not read for this.

        ``last_ts`` is the ``ts`` of the newest of these lines. Return False, and drop nothing, if some of them may be
        kept: then the lines must be read and passed to :meth:`drop`.
        """
        # All of them go if the lines after them fill a limit alone, or if even the newest of them is too old.
        after, rest = self.count - count, self.size - size
        if after < self.keep.events and rest <= self.keep.size and last_ts >= self.horizon:
            return False
        self.count, self.size = after, rest
        return True
