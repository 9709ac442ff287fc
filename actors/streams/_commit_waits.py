"""Callbacks that wait until certain events are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from actors.loop.boundary import contained

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.errors import LogError

OnCommit: TypeAlias = "Callable[[LogError | None], object]"
"""Called with None once the events are committed, or with the error if they never will be."""


class CommitWaits:
    """The callbacks of one stream that wait for a commit, in order of seq."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: list[tuple[int, OnCommit]] = []
        """Pairs of a seq and the callback that waits for its commit."""

    def add(self, seq: int, callback: OnCommit) -> None:
        """Call ``callback`` once the event ``seq`` is committed."""
        self.pending.append((seq, callback))

    def resolve(self, until: int, outcome: LogError | None) -> bool:
        """Call, and remove, the callbacks of the events up to ``until``. Return False if one of them raised."""
        due = [callback for seq, callback in self.pending if seq <= until]
        # Before the calls, since a callback may call this method again.
        self.pending = [wait for wait in self.pending if wait[0] > until]
        failures = [callback for callback in due if not contained("what waits for a commit", callback, outcome)]
        return not failures
