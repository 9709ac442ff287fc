"""What trio has no public way for: ending work that shields itself, and a nursery that is opened late."""

from __future__ import annotations

import math
from typing import Any, Protocol, cast

import trio

GRACE = 1.0
"""Seconds between the first cancel of a stop and the second, which ends shielded work."""


def cancel_with_force(scope: trio.CancelScope) -> None:
    """Cancel the scope and take the shield off every scope inside it, in all its tasks.

    Trio has no public way to reach the scopes inside a scope, and without one a task that shields itself for ever could
    never be ended. A scope that is shielded later is not reached: call it again.
    """
    scope.cancel()
    todo: list[Any] = [scope._cancel_status]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
    while todo:
        status = todo.pop()
        if status is not None:
            for inner in status.children:
                inner._scope.shield = False  # noqa: SLF001  -- see above
                todo.append(inner)


def open_late(task: trio.lowlevel.Task, scope: trio.CancelScope) -> trio.Nursery:
    """Open a nursery in a scope that the task entered before, and may have entered others in since.

    As if it had been opened right there: it ends with that scope, and :func:`close_late` is to be awaited first, in the
    task, when all that was entered since has been left. A nursery that most actors never use is half of what a task
    costs to begin and to end.
    """
    owner: Any = task
    outside: Any = scope
    status, owner._cancel_status = owner._cancel_status, outside._cancel_status  # noqa: SLF001  -- see above
    try:
        nursery: trio.Nursery = cast("Any", trio.Nursery)._create(task, scope, strict_exception_groups=True)  # noqa: SLF001  -- see above
    finally:
        owner._cancel_status = status  # noqa: SLF001  -- see above
    # It is left last, so it stands first.
    nurseries = owner._child_nurseries  # noqa: SLF001  -- see above
    nurseries.insert(0, nurseries.pop())
    return nursery


async def close_late(nursery: trio.Nursery, raised: BaseException | None) -> None:
    """Wait for its tasks, which are cancelled if the block around them ``raised``; raise what was raised in all."""
    opened: Any = nursery
    error = await opened._nested_child_finished(raised)  # noqa: SLF001  -- trio has no public way, as above
    if error is not None:
        raise error


class Forcible(Protocol):
    """What can be ended by force."""

    def force(self) -> None:
        """Cancel everything in it, shielded or not."""
        ...


class Enforcer:
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
