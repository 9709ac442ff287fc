"""One entry in a supervisor's table of children, and the end of an incarnation of a child, as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from actors.runtime._lifecycle import ExitReason, State
    from actors.runtime._spec import ChildSpec


class Body(Protocol):
    """The part of a child's actor that the table of children uses, for an error message."""

    @property
    def state(self) -> State:
        """State of the actor."""
        ...


BodyT = TypeVar("BodyT", bound=Body)


@attrs.define(eq=False)
class Child(Generic[BodyT]):
    """One entry in a supervisor's table of children: the spec of a child, and its actor while it has one."""

    spec: ChildSpec
    cell: BodyT | None = None
    """Actor of the child, from its first start to its final end."""
    claimed: bool = False
    """Whether a call is starting the child now: ``start_child``, ``restart_child`` or a group restart.

    A group restart claims only a child that had no actor.
    """
    is_new: bool = False
    """Whether the child has never been up. If the start of such a child fails, its entry is dropped."""
    runs: bool = False
    """Whether the child has an incarnation now."""
    dismissed: bool = False
    """Whether the supervisor was asked to end the child. Such an end does not count for an automatic shutdown."""
    left_out: bool = False
    """Whether the child ended finally while its group was restarted. That restart does not begin it again."""
    attempts: int = 0
    """Number of restarts since the child last ran long enough to count as healthy."""


@attrs.frozen
class Exit:
    """The end of an incarnation of a child."""

    reason: ExitReason
    was_up: bool = True
    """Whether the incarnation had come up: its ``started()`` had returned."""
    is_first: bool = False
    """Whether the incarnation was the first of its actor."""
    is_halted: bool = False
    """Whether the supervisor ended the incarnation in order to restart the whole group."""
    seconds: float = 0.0
    """Seconds for which the incarnation was up."""
