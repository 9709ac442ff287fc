"""The ring: the newest events of a session in memory, as encoded lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLACK = 4
"""Divisor of a limit: if a limit is exceeded by more than the quotient, old events are dropped from memory."""


class Ring:
    """The newest lines (encoded events) of a session in memory: about ``capacity`` lines and ``room`` bytes.

    All uncommitted lines are in memory too. The lines are consecutive by seq, and are in a plain list, since a deque
    cannot be sliced. The list is cut back to a limit only when its length or size exceeds the limit by a quarter,
    because cutting is slow.
    """

    __slots__ = ("_most", "_most_bytes", "append", "base", "capacity", "lines", "room", "size")

    def __init__(self, capacity: int, room: int, base: int) -> None:
        self.capacity = capacity
        self.room = room
        self.base = base
        """Seq of the oldest line (event) in memory. If memory has no line, the seq that the next line will have."""
        self.size = 0
        """Size of the committed lines (events) in memory, in bytes."""
        # This list is changed in place and never replaced: `append` below is its method.
        self.lines: list[bytes] = []
        """The lines (events) in memory, committed or not. The first line has the seq ``base``."""
        self.append = self.lines.append
        """Function that adds a line (an encoded event) to the ring. The line must have the next seq."""
        self._most = capacity + capacity // _SLACK
        self._most_bytes = room + room // _SLACK

    def __len__(self) -> int:
        return len(self.lines)

    def slice(self, after: int, until: int) -> Sequence[bytes]:
        """Return the lines (events) with seq ``after + 1`` to ``until``. All of them must be in memory."""
        # The first line of the list has the seq `base`.
        return self.lines[after + 1 - self.base : until + 1 - self.base]

    def on_committed(self, until: int, size: int) -> None:
        """Record that the lines up to seq ``until`` are committed, and drop the oldest lines if memory has too many.

        ``size`` is the size of the newly committed lines in bytes. An uncommitted line is never dropped.
        """
        self.size += size
        if len(self.lines) > self._most or self.size > self._most_bytes:
            self._cut(until + 1 - self.base)

    def _cut(self, limit: int) -> None:
        """Drop the oldest lines (events) until the lines in memory are within the limits of number and bytes.

        Drop at most ``limit`` lines: later lines are not committed yet.
        """
        lines = self.lines
        # First by number, then by bytes: the second loop is short, since the ring is at most a quarter over its bound.
        excess = max(0, min(len(lines) - self.capacity, limit))
        size = self.size - sum(map(len, lines[:excess]))
        while size > self.room and excess < limit:
            size -= len(lines[excess])
            excess += 1
        del lines[:excess]
        self.base += excess
        self.size = size
