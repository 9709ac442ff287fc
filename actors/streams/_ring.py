"""The newest events of a session, encoded, by seq."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLACK = 4


class Ring:
    """Consecutive lines: the newest ``capacity`` of them within ``room`` bytes; what is not yet committed always is.

    A plain list with the seq of its first line, since a deque cannot be sliced. It is cut back when it has grown a
    quarter over either bound, so that the cost of cutting is spread.
    """

    __slots__ = ("_lines", "_most", "_most_bytes", "append", "base", "capacity", "room", "size")

    def __init__(self, capacity: int, room: int, base: int) -> None:
        self.capacity = capacity
        self.room = room
        self.base = base
        """The seq of the oldest line here; one above the newest seq where there is none."""
        self.size = 0
        """Bytes of the committed lines here."""
        self._lines: list[bytes] = []
        self.append = self._lines.append
        """Add the line with the next seq."""
        self._most = capacity + capacity // _SLACK
        self._most_bytes = room + room // _SLACK

    def __len__(self) -> int:
        return len(self._lines)

    def slice(self, after: int, until: int) -> Sequence[bytes]:
        """Give the lines with seq in ``after + 1 … until``, all of which must be here."""
        return self._lines[after + 1 - self.base : until + 1 - self.base]

    def on_committed(self, until: int, size: int) -> None:
        """Note that ``size`` more bytes of lines are committed, up to seq ``until``; let the oldest go if too many are.

        One that is not committed never goes.
        """
        self.size += size
        if len(self._lines) > self._most or self.size > self._most_bytes:
            self._cut(until + 1 - self.base)

    def _cut(self, limit: int) -> None:
        lines = self._lines
        excess = max(0, min(len(lines) - self.capacity, limit))
        size = self.size - sum(map(len, lines[:excess]))
        while size > self.room and excess < limit:
            size -= len(lines[excess])
            excess += 1
        del lines[:excess]
        self.base += excess
        self.size = size
