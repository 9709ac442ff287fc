"""The two nurseries of an incarnation (an actor's life between two restarts), and its cancel scope.

::

    the nursery for children: the tasks of its children ──────────────────────────────────┐
    │ the scope, with the nursery of its own tasks ─────────────┐  then, after a failure, │
    │ │ started() · messages · children stop · stopping()       │  children · stopping()  │
    │ └─────────────────────────────────────────────────────────┘                         │
    └─────────────────────────────────────────────────────────────────────────────────────┘

A failing task of the actor cancels the inner box. The children are outside of that box, and are stopped as their specs
say. However the incarnation ends, it does not leave the nursery for children before every child has ended. Both
nurseries are opened when they are first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import ActorTerminated
from actors.failures import members
from actors.loop.trio_internals import (
    footing,
    has_left_open,
    is_cancelled,
    leave_open_ones,
    open_around,
    open_inside,
)
from actors.runtime._deadlines import own_failure

if TYPE_CHECKING:
    import trio

    from actors.runtime._control import ChildCells
    from actors.runtime._waits import Waits


class Nurseries:
    """The two nurseries and the cancel scope of one incarnation (an actor's life between two restarts).

    ``Incarnation`` has this class as a base.
    """

    __slots__ = ("cell", "child_nursery", "children", "is_leaving", "nursery", "over", "scope")

    # Set by the constructor of ``Incarnation``: a constructor for each base class would make every spawn slower.
    cell: Waits[Any]
    nursery: trio.Nursery | None
    """Nursery of the actor's own tasks; None until :meth:`open_nursery` opens it."""
    children: ChildCells | None
    """Children of the actor; None before the first child."""
    child_nursery: trio.Nursery | None
    """Nursery for the tasks of the children; None before the first child: see :meth:`open_child_nursery`."""
    scope: trio.CancelScope | None
    """Cancel scope around the running code: the actor's code with its nursery, or the clean-up after a failure."""
    over: bool
    """Whether the nursery of the actor's own tasks is closed, or is being closed."""
    is_leaving: bool
    """Whether the children are being stopped, before or after ``stopping()``. Then no child can be started."""

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        path: str = self.cell.path
        return path

    @property
    def takes_children(self) -> bool:
        """Whether a child can be started. False while the children are being stopped, and after a failure or a kill."""
        cell = self.cell
        is_stopped_at_start = cell.stop_asked is not None and not cell.was_up
        return not (self.is_leaving or self.over or cell.killed or cell.failures or is_stopped_at_start)

    @property
    def open_count(self) -> int:
        """Number of the actor's two nurseries that are open now."""
        return (self.child_nursery is not None) + (self.nursery is not None)

    @property
    def has_ended(self) -> bool:
        """Whether this life of the actor is over: the actor has ended, or was restarted."""
        return self.cell.life is not self

    def check_place(self) -> None:
        """Raise RuntimeError outside the trio run of the system."""
        self.cell.system.home.check()

    def open_nursery(self) -> trio.Nursery | None:
        """Return the nursery of the actor's own tasks. The first call opens the nursery.

        Return None if the nursery cannot be used any more.

        The nursery can be used until ``stopping()`` has returned.
        """
        if self.nursery is None and self.scope is not None and self.cell.task is not None and not self.over:
            # Inside the nursery for children, if that is open.
            self.nursery = open_inside(self.cell.task, self.scope, 0 if self.child_nursery is None else 1, self)
        return self.nursery

    def open_child_nursery(self) -> trio.Nursery:
        """Return the nursery for the children. The first call opens the nursery.

        Raises ActorTerminated if no child can be started any more.
        """
        if self.child_nursery is None:
            task = self.cell.task
            if task is None or not self.takes_children:
                raise ActorTerminated(f"{self.cell.path} takes no children: it is {self.cell.state}", self.cell.reason)
            self.child_nursery = open_around(task)
        return self.child_nursery

    def note(self, failure: BaseException) -> None:
        """Record an exception of the actor or of a task in its nursery, and cancel all other code of the actor."""
        own = own_failure(self.cell.path, failure)
        if own is not None:
            self.cell.note_failure(own)
            if self.scope is not None:
                self.scope.cancel()

    def has_left_open_ones(self, scope: trio.CancelScope) -> bool:
        """Return whether the actor's code left a nursery or a scope open inside ``scope``."""
        return has_left_open(scope, footing(self.open_count))

    async def leave_open_ones(self, scope: trio.CancelScope) -> BaseException | None:
        """Close the nurseries and scopes that the actor's code left open inside ``scope``. Return the failure, if any.

        If the code was cancelled, open nurseries and scopes are no failure. In that case only the exceptions of the
        nurseries' tasks are a failure.
        """
        left = await leave_open_ones(scope, footing(self.open_count), None)
        return left if members(left) or not is_cancelled() else None
