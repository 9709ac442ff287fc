"""Callbacks that wait until certain events are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from actors.loop.boundary import contained

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.errors import LogError

OnCommit: TypeAlias = "Callable[[LogError | None], object]"
"""Type of a callback. It gets None when certain events are committed, or the error if they cannot be committed."""


class CommitWaits:
    """The callbacks of one stream that wait for the commit of certain events, in the order of these events."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: list[tuple[int, OnCommit]] = []
        """Pairs of a seq and a callback that waits until the event with this seq is committed."""

    def add(self, seq: int, callback: OnCommit) -> None:
        """Let ``callback`` wait for the commit of the event ``seq``. :meth:`resolve` will call it."""
        self.pending.append((seq, callback))

    def resolve(self, until: int, outcome: LogError | None) -> bool:
        """Remove the callbacks that wait for the commit of events up to ``until``. Pass ``outcome`` to each of them.

        Return False if one of the callbacks raised.
        """
        # Removed before the calls, since a callback may call this method again. They are in the order of the events.
        pending = self.pending
        count = len(pending)
        while count and pending[count - 1][0] > until:
            count -= 1
        due, self.pending = pending[:count], pending[count:]
        succeeded = True
        for _, callback in due:
            if not contained("what waits for a commit", callback, outcome):
                succeeded = False
        return succeeded
