"""Sees to it that what is to end does, in time."""

from __future__ import annotations

import math
from typing import Protocol

import trio

from actors.failures import without
from actors.loop.trio_internals import is_cancelled

GRACE = 1.0
"""Seconds between the first cancel of a stop and the second, which ends shielded work."""


def own_failure(who: str, raised: BaseException) -> BaseException | None:
    """Return what was raised, without the Cancelled in it; None where it was no more than a cancellation.

    A Cancelled that is raised where nothing was cancelled is an error like others: a RuntimeError that names ``who``.
    """
    own = without(raised, trio.Cancelled)
    if own is None and not is_cancelled():
        own = RuntimeError(f"{who} raised Cancelled where nothing was cancelled")
        own.__cause__ = raised
    return own


class Forcible(Protocol):
    """What can be ended by force."""

    def force(self) -> None:
        """Cancel everything in it, shielded or not."""
        ...


class DeadlineEnforcer:
    """Sees to it that what is to end does, also when nobody waits for it: one task for a whole system.

    What was announced and not withdrawn is forced when its time has come, and again every GRACE seconds, since work
    that was forced may shield itself anew.
    """

    __slots__ = ("_due", "_open", "_scope")

    def __init__(self) -> None:
        self._due: dict[Forcible, float] = {}
        self._open = True
        self._scope = trio.CancelScope(shield=True)

    def at(self, target: Forcible, when: float) -> None:
        """Force the target at that time, unless it is withdrawn; an earlier time for it holds."""
        when = min(when, self._due.get(target, math.inf))
        if when < math.inf:
            self._due[target] = when
            self._scope.deadline = min(self._scope.deadline, when)

    def withdraw(self, target: Forcible) -> None:
        """Leave it alone: it has ended."""
        if self._due.pop(target, None) is not None and not self._due:
            self._scope.deadline = math.inf

    def close(self) -> None:
        """End the task; nothing is forced any more."""
        self._open = False
        self._scope.cancel()

    async def run(self) -> None:
        """Work until closed, whatever is cancelled around it."""
        while self._open:
            due = min(self._due.values(), default=math.inf)
            with trio.CancelScope(shield=True, deadline=due) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            for target in [target for target, when in self._due.items() if when <= now]:
                self._due[target] = now + GRACE
                target.force()
