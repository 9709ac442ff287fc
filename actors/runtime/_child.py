"""Two values: an entry in a supervisor's table of children, and the end of a child before a restart. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

from actors.runtime._restart import Window

if TYPE_CHECKING:
    from actors.backoff import Backoff
    from actors.runtime._lifecycle import ExitReason, State
    from actors.runtime._spec import ChildSpec, SupervisorSpec


class Body(Protocol):
    """The interface of a child's actor, as the table of children uses it. It has only the state, for error messages."""

    @property
    def state(self) -> State:
        """State of the actor."""
        ...


BodyT = TypeVar("BodyT", bound=Body)


@attrs.define(eq=False)
class RestartHistory:
    """The restarts of one child so far. Made at its first restart."""

    attempts: int = 0
    """Number of restarts since the child last ran long enough to count as healthy."""
    window: Window | None = None
    """Limit of the child's own restarts; None if they count against the limit of the supervisor."""


@attrs.define(eq=False, weakref_slot=False)
class Child(Generic[BodyT]):
    """One entry in a supervisor's table of children: the spec of a child, and its actor while the child has one."""

    spec: ChildSpec
    cell: BodyT | None = None
    """Actor of the child, from its first start to its permanent end; None at any other time."""
    claimed: bool = False
    """Whether ``start_child``, ``restart_child`` or a group restart is starting the child now.

    A group restart (of all or several children after one failed) sets this only for a child without an actor.
    """
    is_new: bool = False
    """Whether the child has never been up. If this is True and the start of the child fails, the entry is dropped."""
    runs: bool = False
    """Whether the child is starting, running or stopping. False while it waits for a restart, and after its end."""
    dismissed: bool = False
    """Whether a caller asked the supervisor to end the child.

    The supervisor does not shut itself down because of this end.
    """
    left_out: bool = False
    """Whether the child ended permanently while its group was restarted.

    The restart of the group does not start this child again.
    """
    history: RestartHistory | None = None
    """Earlier restarts of the child; None before the first one."""

    def is_too_often(self, supervisor: SupervisorSpec, shared: Window, now: float) -> bool:
        """Count a restart at the time ``now``. Return whether it exceeds the limit.

        The limit is that of the child if its spec has one, and else ``shared``, that of the supervisor.
        """
        history = self.history = self.history or RestartHistory()
        if not self.spec.has_own_limit:
            return not shared.record(now)
        if history.window is None:
            history.window = Window(*self.spec.limit_in(supervisor))
        return not history.window.record(now)

    def delay(self, shared: Backoff | None, seconds: float, draw: float) -> float:
        """Return the delay of the next restart, after the child was up for ``seconds``.

        The backoff is that of the child if its spec has one, and else ``shared``, that of the supervisor.
        """
        backoff = self.spec.backoff or shared
        if backoff is None:
            return 0.0
        history = self.history = self.history or RestartHistory()
        # A child that was up for long enough starts with the shortest delay again.
        if seconds >= backoff.healthy_after:
            history.attempts = 0
        history.attempts += 1
        return backoff.delay(history.attempts - 1, draw)


@attrs.frozen
class Exit:
    """The end of a child, permanent or before a restart."""

    reason: ExitReason
    was_up: bool = True
    """Whether the child's ``started()`` had returned before this end."""
    is_first: bool = False
    """Whether this was the child's first end: the child was never restarted before."""
    is_halted: bool = False
    """Whether the supervisor stopped the child in order to restart the whole group of children."""
    seconds: float = 0.0
    """Seconds for which the child was up since its last start."""
