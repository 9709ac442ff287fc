"""The newest events of a session, encoded, by seq."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLACK = 4


class Ring:
    """Consecutive lines, of which the newest ``capacity`` at least are kept; what is not yet committed always is.

    A plain list with the seq of its first line, since a deque cannot be sliced. It is cut back when it has grown a
    quarter over ``capacity``, so that the cost of cutting is spread.
    """

    __slots__ = ("_lines", "_threshold", "append", "base", "capacity")

    def __init__(self, capacity: int, base: int) -> None:
        self.capacity = capacity
        self.base = base
        """The seq of the oldest line here; one above the newest seq where there is none."""
        self._lines: list[bytes] = []
        self.append = self._lines.append
        """Add the line with the next seq."""
        self._threshold = capacity + capacity // _SLACK

    def __len__(self) -> int:
        return len(self._lines)

    def slice(self, after: int, until: int) -> Sequence[bytes]:
        """Give the lines with seq in ``after + 1 … until``, all of which must be here."""
        return self._lines[after + 1 - self.base : until + 1 - self.base]

    def cut(self, committed: int) -> None:
        """Let go of the oldest lines if there are too many; never of one above ``committed``."""
        if len(self._lines) <= self._threshold:
            return
        excess = min(len(self._lines) - self.capacity, committed + 1 - self.base)
        if excess > 0:
            del self._lines[:excess]
            self.base += excess
