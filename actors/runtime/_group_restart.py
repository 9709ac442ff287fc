"""The restart of a group of children, step by step. Pure.

A group is restarted in two phases. First the group is **halted**: its members are stopped, the last one first. Further
failures of members in this phase count as part of the first failure, as in OTP. Then the group is **begun**: its
members are started again, the first one first. A failure in this phase is a new failure: the group is halted again from
the failed member on. A member that is stopped permanently meanwhile is not started again.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Generic

import attrs

from actors.runtime._child import BodyT, Child
from actors.runtime._spec import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})
"""The strategies that restart a group of children when one child fails."""


class Phase(enum.Enum):
    """The stage of a group restart: no restart, stopping the members, starting them again."""

    NONE = "none"
    HALTING = "halting"
    BEGINNING = "beginning"


@attrs.frozen
class Halt(Generic[BodyT]):
    """A step of a group restart: stop this child until a later step starts it again.

    A temporary child ends permanently.
    """

    child: Child[BodyT]


@attrs.frozen
class Wait:
    """A step of a group restart: wait until the time ``until``."""

    until: float


@attrs.frozen
class Begin(Generic[BodyT]):
    """A step of a group restart: start this child again. A child that has ended permanently gets a new actor."""

    child: Child[BodyT]


class GroupRestart(Generic[BodyT]):
    """The group restarts of one supervisor: the members that must be started again, and the choice of the next step."""

    __slots__ = ("_beginning", "_down", "_entries", "_is_joint", "_not_before", "_strategy", "phase")

    def __init__(self, strategy: Strategy, entries: Mapping[str, Child[BodyT]]) -> None:
        self.phase = Phase.NONE
        self._strategy = strategy
        self._entries = entries
        """All children of the supervisor, in the order of their start."""
        self._down: list[Child[BodyT]] = []
        """Members of the group that must be started again."""
        self._beginning: Child[BodyT] | None = None
        """The member of the group that is being started now; None if no member is being started."""
        self._not_before = -math.inf
        """Time at which the backoff (the wait before the members are started again) is over."""
        self._is_joint = False
        """Whether no step was taken since the first failure. Failures before the first step count as one failure."""

    @property
    def is_running(self) -> bool:
        """Whether a group is being restarted. In that case, call :meth:`next_step` until it returns None."""
        return self.phase is not Phase.NONE

    def is_same_failure(self, child: Child[BodyT]) -> bool:
        """Return whether this child's failure belongs to the failure for which the group is being stopped.

        Return True if the child is in the group, or if it failed in the same step of the event loop as the first child:
        the order of failures within one step is random.
        """
        return self.phase is Phase.HALTING and (self._is_joint or child in self._down)

    def fail(self, child: Child[BodyT], until: float) -> None:
        """Restart the group of a failed child: stop its members, and start them again at ``until`` at the earliest."""
        self._is_joint = self._is_joint or self.phase is Phase.NONE
        self._not_before = max(self._not_before, until)
        self.halt_from(child)

    def halt_from(self, child: Child[BodyT]) -> None:
        """Begin to stop the group of this child.

        With the strategy ``rest_for_one``, the group is the child and all children that were started after it.

        Members that were stopped before stay in the group.
        """
        self.phase = Phase.HALTING
        children = list(self._entries.values())
        if self._strategy is Strategy.REST_FOR_ONE:
            children = children[children.index(child) :]
        # A child that another caller starts is left to that caller.
        group = {each for each in children if not each.claimed or each is self._beginning}
        group.update(self._down)
        self._down = [each for each in self._entries.values() if each in group]

    def interrupts(self, child: Child[BodyT]) -> bool:
        """Return whether the failure of a child must cut the current step of the restart short.

        Return False if this step starts the failed child itself, or an earlier child. The start of a later child is cut
        short, because a later child perhaps waits for the failed child.
        """
        beginning = self._beginning
        if beginning is None or beginning is child:
            return beginning is None  # the step itself learns of the failure of its own child
        return next(each is child for each in self._entries.values() if each is child or each is beginning)

    def next_step(self, now: float) -> Halt[BodyT] | Wait | Begin[BodyT] | None:
        """Return the next step of the restart; None when the restart is over."""
        self._beginning, self._is_joint = None, False
        if self.phase is Phase.HALTING:
            for child in reversed(self._down):
                if child.runs:
                    return Halt(child)
            # All members are halted before the backoff: their messages wait for the same time.
            if now < self._not_before:
                return Wait(self._not_before)
            self.phase = Phase.BEGINNING
        if self.phase is Phase.BEGINNING:
            while self._down:
                child = self._down.pop(0)
                if self._is_to_begin(child):
                    if child.cell is None:  # the child had ended: claim it, so that restart_child does not start it too
                        child.claimed, child.dismissed = True, False
                    self._beginning = child
                    return Begin(child)
        self._end()
        return None

    def _is_to_begin(self, child: Child[BodyT]) -> bool:
        """Return whether a member of the group is still down and must be started by this restart."""
        is_entry = self._entries.get(child.spec.id) is child
        is_left_out = child.left_out and child.cell is None
        return is_entry and not (child.claimed or child.runs or is_left_out)

    def _end(self) -> None:
        self.phase, self._down, self._not_before = Phase.NONE, [], -math.inf
        for child in self._entries.values():
            child.left_out = False
