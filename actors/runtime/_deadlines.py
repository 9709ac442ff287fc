"""The task that ends actors and shutdown phases by force if they do not end in time."""

from __future__ import annotations

import math
from typing import Protocol

import trio

from actors.failures import without
from actors.loop.trio_internals import is_cancelled

GRACE = 1.0
"""Seconds between two cancellations of an actor that must stop. The second cancellation ends shielded code too."""


def own_failure(name: str, raised: BaseException) -> BaseException | None:
    """Return an exception without any Cancelled in it. Return None if it has only Cancelled.

    If code raises a Cancelled although nothing was cancelled, that is an error. This function then returns a
    RuntimeError with ``name`` in its message.
    """
    own = without(raised, trio.Cancelled)
    if own is None and not is_cancelled():
        own = RuntimeError(f"{name} raised Cancelled where nothing was cancelled")
        own.__cause__ = raised
    return own


class Forcible(Protocol):
    """Work that can be ended by force."""

    def force(self) -> None:
        """Cancel all of this work, even shielded code."""
        ...


class DeadlineEnforcer:
    """A task of the system that ends targets by force after a deadline: actors, and phases of the shutdown.

    A target is ended by force at its deadline, and again every GRACE seconds until it is withdrawn, because the code of
    the target can shield itself again.
    """

    __slots__ = ("_due", "_open", "_scope")

    def __init__(self) -> None:
        self._due: dict[Forcible, float] = {}
        self._open = True
        self._scope = trio.CancelScope(shield=True)
        """Scope in which the task sleeps. Its deadline is the earliest time at which a target is due."""

    def at(self, target: Forcible, when: float) -> None:
        """End ``target`` by force at the time ``when``, unless it is withdrawn before.

        If this is called several times for a target, the earliest time counts.
        """
        when = min(when, self._due.get(target, math.inf))
        if when < math.inf:
            self._due[target] = when
            self._scope.deadline = min(self._scope.deadline, when)

    def withdraw(self, target: Forcible) -> None:
        """Forget the deadline of a target, because the target has ended."""
        # The deadline may stay too early while others are due: then the task wakes once for nothing.
        if self._due.pop(target, None) is not None and not self._due:
            self._scope.deadline = math.inf

    def close(self) -> None:
        """End the task. No target is ended by force after that."""
        self._open = False
        self._scope.cancel()

    async def run(self) -> None:
        """End each target by force at its deadline, until :meth:`close`.

        A cancellation from outside does not end this.
        """
        while self._open:
            due = min(self._due.values(), default=math.inf)
            with trio.CancelScope(shield=True, deadline=due) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            for target in [target for target, when in self._due.items() if when <= now]:
                self._due[target] = now + GRACE  # again later, since forced work may shield itself again
                target.force()
