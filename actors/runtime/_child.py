"""One entry in a supervisor's table of children, and the end of an incarnation of it, as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from actors.runtime._lifecycle import ExitReason, State
    from actors.runtime._spec import ChildSpec


class Body(Protocol):
    """The actor of a child, as far as the table looks into it: for an error message."""

    @property
    def state(self) -> State:
        """Stage of its life."""
        ...


BodyT = TypeVar("BodyT", bound=Body)


@attrs.define(eq=False)
class Child(Generic[BodyT]):
    """One entry: the spec of a child, and its actor while it has one."""

    spec: ChildSpec
    cell: BodyT | None = None
    """Its actor, from the first start to the final end."""
    claimed: bool = False
    """Whether it is being started: by ``start_child``, by ``restart_child`` or, if it was down, by its group."""
    is_new: bool = False
    """Whether it has never been up. Then the entry is dropped if the start fails."""
    runs: bool = False
    """Whether it has an incarnation."""
    dismissed: bool = False
    """Whether the supervisor was asked to end it. Then its end does not count for an automatic shutdown."""
    left_out: bool = False
    """Whether it ended for good while its group was restarted. Then that restart does not begin it again."""
    attempts: int = 0
    """Number of restarts since it was last healthy."""


@attrs.frozen
class Exit:
    """The end of an incarnation of a child."""

    reason: ExitReason
    was_up: bool = True
    """Whether that incarnation had come up."""
    is_first: bool = False
    """Whether it was the first incarnation of its actor."""
    is_halted: bool = False
    """Whether it was ended in order to begin again with its group."""
    seconds: float = 0.0
    """Seconds for which it was up."""
