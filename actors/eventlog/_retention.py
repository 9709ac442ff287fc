"""How many lines a trim drops and a read returns, counted in the same way by every engine. Pure."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import attrs

from actors.events.line import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.eventlog.base import Retention


def bounded(lines: Iterable[bytes], limit: int, size: int) -> list[bytes]:
    """Return the beginning of the given lines: at most ``limit`` lines, with at most ``size`` bytes together.

    If the first line is larger than ``size``, it is returned alone. ``lines`` is read only as far as needed.
    """
    taken: list[bytes] = []
    for line in itertools.islice(lines, max(limit, 0)):  # islice refuses a negative limit
        size -= len(line)
        if size < 0 and taken:
            break
        taken.append(line)
        if size <= 0:  # no further line can fit, so none is read
            break
    return taken


@attrs.define
class RetentionWalk:
    """A search through a stream's lines, from the oldest one on, for the first line that retention keeps."""

    keep: Retention
    horizon: float
    """Lowest ``ts`` of an event that is young enough to keep, in ms since 1970."""
    count: int
    """Number of the stream's events that were not dropped yet. Each event is one line."""
    size: int
    """Size of the stream's events that were not dropped yet, in bytes."""
    unread: float = -math.inf
    """Number of the stream's newest events that some consumer has not read. Minus infinity if there is no consumer."""
    unread_horizon: float = math.inf
    """Lowest ``ts`` of an unread event that is kept beyond the other limits, in ms since 1970."""

    @classmethod
    def of(cls, keep: Retention, now: int, count: int, size: int, unread: int | None = None) -> RetentionWalk:
        """Return a new search through a stream that has ``count`` lines (encoded events) with ``size`` bytes together.

        ``now`` is the time of the search, in ms since 1970. ``unread`` is the number of the stream's newest events that
        some consumer has not read; None if the log has no consumer.
        """
        walk = cls(keep, now - keep.seconds * 1000, count, size)
        if unread is not None and keep.unread_seconds:
            walk.unread, walk.unread_horizon = unread, now - keep.unread_seconds * 1000
        return walk

    def settled(self, oldest_ts: int) -> bool:
        """Return whether retention keeps all lines that were not dropped yet.

        ``oldest_ts`` is the ``ts`` of the oldest line that was not dropped.
        """
        within = self.count <= self.keep.events and self.size <= self.keep.size and oldest_ts >= self.horizon
        return within or (self.count <= self.unread and oldest_ts >= self.unread_horizon)

    def drop(self, lines: Iterable[bytes]) -> int:
        """Return how many lines at the beginning of ``lines`` must be dropped, and count them as dropped.

        ``lines`` are the oldest lines that were not dropped yet. If not all of them must be dropped, the line after the
        dropped lines is the first line that is kept.
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
        """Count the next ``count`` lines as dropped, if it is certain that all of them must be dropped.

        Return whether the lines were counted. They need not be read for this: ``size`` is the size of these lines in
        bytes, and ``last_ts`` is the ``ts`` of the newest of these lines. If this returns False, perhaps some of these
        lines are kept: read the lines and pass them to :meth:`drop`.
        """
        # All of these lines are dropped if the later lines alone fill a limit, or if even the newest one is too old.
        after, rest = self.count - count, self.size - size
        if after < self.keep.events and rest <= self.keep.size and last_ts >= self.horizon:
            return False
        # Some of these lines may be unread, and young enough to be kept for that.
        if after < self.unread and last_ts >= self.unread_horizon:
            return False
        self.count, self.size = after, rest
        return True
