"""The children of one supervisor as it sees them: every race between starting, ending and restarting them. Pure.

An entry is in one of four states, and who wants what is decided by that:

::

                     absent          claimed                  up                        down
                                     (being started)          (also between two         (ended; its spec is kept)
                                                              incarnations)
    start_child      claimed         NameTaken                NameTaken                 NameTaken
    restart_child    ChildNotFound   ChildRunning             ChildRunning              claimed
    terminate_child  ChildNotFound   the start is cancelled   stopped                   -
    delete_child     ChildNotFound   ChildRunning             ChildRunning              absent
    group restart    -               left to its starter      halted, begun again       begun again
    its start fails  -               absent, if start_child;  -                         -
                                     else down

A group is restarted in two phases. While it is **halted**, last member first, what else fails in it belongs to the same
failure, as in OTP, and is not counted again. Then it is **begun**, first member first; what fails now is a new failure,
and the group is halted again from there on. A member that ends for good meanwhile, because somebody stopped it, stays
down. What is to be done next is asked for step by step: :meth:`ChildTable.next_step`.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

import attrs

from actors.errors import ActorTerminated, ChildNotFound, ChildRunning, MaxChildren, NameTaken
from actors.failures import shown
from actors.runtime._restart import Restart, Window, should_restart
from actors.runtime._spec import AutoShutdown, ChildSpec, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.runtime._cell import Cell
    from actors.runtime._lifecycle import ExitReason

GROUPS = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})


@attrs.define(eq=False)
class Child:
    """One entry: what it is to be, and its body while it has one."""

    spec: ChildSpec
    cell: Cell | None = None
    claimed: bool = False
    """Whether it is being started: by ``start_child``, ``restart_child`` or, when it was down, its group."""
    is_new: bool = False
    """Whether it has never been up: then the entry goes when the start fails."""
    runs: bool = False
    """Whether it has an incarnation."""
    dismissed: bool = False
    """Whether the supervisor was told to end it: then its end is no sign for an automatic shutdown."""
    left_out: bool = False
    """Whether it ended for good while its group was restarted: then that restart does not bring it back."""
    attempts: int = 0
    """Restarts since it was last healthy."""


@attrs.frozen
class Exit:
    """How an incarnation of a child ended."""

    reason: ExitReason
    was_up: bool = True
    """Whether that incarnation had come up."""
    is_first: bool = False
    """Whether it was the first of its actor."""
    is_halted: bool = False
    """Whether it was ended to be begun again with its group."""
    seconds: float = 0.0
    """How long it was up."""


@attrs.frozen
class Follow:
    """What follows the end of an incarnation."""

    delay: float | None
    """Seconds until the next one; None for none; infinite when it begins with its group."""
    gave_up: bool = False
    """Whether that was one failure too many: the supervisor is to end."""


ENDED, WITH_GROUP, GAVE_UP = Follow(None), Follow(math.inf), Follow(None, gave_up=True)


class Phase(enum.Enum):
    """Where the restart of a group is."""

    NONE = "none"
    HALTING = "halting"
    BEGINNING = "beginning"


@attrs.frozen
class Halt:
    """End the incarnation of this child; one that is temporary ends for good."""

    child: Child


@attrs.frozen
class Wait:
    """Wait until that time."""

    until: float


@attrs.frozen
class Begin:
    """Begin the next incarnation of this child; one that has no body gets one."""

    child: Child


class ChildTable:
    """The entries of one supervisor, in the order of their start, and what it decides about them.

    A supervisor that ``keeps`` remembers the specs of children that ended; in one that does not, as in every dynamic
    supervisor, an entry goes with its child.
    """

    __slots__ = (
        "_awaits_start",
        "_beginning",
        "_down",
        "_entries",
        "_is_joint",
        "_keeps",
        "_not_before",
        "_window",
        "closed",
        "path",
        "phase",
        "planned",
        "restarts",
        "spec",
    )

    def __init__(self, path: str, spec: SupervisorSpec, *, keeps: bool) -> None:
        self.path = path
        """The supervisor's, for messages."""
        self.spec = spec
        self.restarts = 0
        """Restarts that were granted."""
        self.closed = False
        """Whether it starts no child any more: it ends."""
        self.planned = 0
        """Significant children of its spec that it has yet to start."""
        self.phase = Phase.NONE
        self._entries: dict[str, Child] = {}
        self._keeps = keeps and spec.strategy is not Strategy.DYNAMIC
        self._window = Window(spec.max_restarts, spec.max_seconds)
        self._down: list[Child] = []
        """The group that is restarted, those that are up again left out."""
        self._beginning: Child | None = None
        """The child of the group that is being started."""
        self._not_before = -math.inf
        """When the backoff is over."""
        self._is_joint = False
        """Whether nothing has been done about a failure yet: what fails now fails together with it."""
        self._awaits_start = False
        """Whether the last significant child ended while another was being started: that start decides."""

    # Looking

    def entries(self) -> Sequence[Child]:
        """List all entries, in the order of their start."""
        return tuple(self._entries.values())

    def entry(self, key: str) -> Child:
        """Find the entry of that id; raises ChildNotFound."""
        try:
            return self._entries[key]
        except KeyError:
            raise ChildNotFound(f"{self.path} has no child {shown(key)}") from None

    def find(self, key: str) -> Child | None:
        """Find the entry of that id, if there is one."""
        return self._entries.get(key)

    def has(self, child: Child) -> bool:
        """Whether this is an entry still."""
        return self._entries.get(child.spec.id) is child

    # Being asked for something

    def add(self, spec: ChildSpec) -> Child:
        """Make an entry for ``start_child``. Raises SpecError, NameTaken, MaxChildren."""
        self.spec.check_child(spec)
        if spec.id in self._entries:
            raise NameTaken(f"{self.path} has a child {spec.id!r} already")
        if self.spec.max_children is not None and len(self._entries) >= self.spec.max_children:
            raise MaxChildren(f"{self.path} has {self.spec.max_children} children, and may not have more")
        child = self._entries[spec.id] = Child(spec, claimed=True, is_new=True)
        return child

    def claim(self, key: str) -> Child:
        """Take an entry that is down, for ``restart_child``. Raises ChildNotFound, ChildRunning."""
        child = self.entry(key)
        self._check_down(child)
        child.claimed, child.dismissed, child.left_out = True, False, False
        return child

    def dismiss(self, key: str) -> Child:
        """Note that a child is to end, for ``terminate_child``. Raises ChildNotFound."""
        child = self.entry(key)
        child.dismissed = True
        child.left_out = self.phase is not Phase.NONE
        return child

    def forget(self, key: str) -> None:
        """Drop the entry of a child that is down. Raises ChildNotFound, ChildRunning."""
        self._check_down(self.entry(key))
        del self._entries[key]

    def _check_down(self, child: Child) -> None:
        if child.claimed or child.cell is not None:
            state = "starting" if child.cell is None else child.cell.state
            raise ChildRunning(f"{self.path.rstrip('/')}/{child.spec.id} is {state}: terminate it first")

    def close(self) -> None:
        """Start and restart no child any more."""
        self.closed = True
        self.phase = Phase.NONE

    # Starting

    def check_claim(self, child: Child) -> None:
        """Raise ActorTerminated when a child that is being started is not wanted any more; its claim is given up."""
        if self.closed or child.dismissed:
            self.release(child)
            raise ActorTerminated(f"{self.path.rstrip('/')}/{child.spec.id} was terminated before it was started")

    def release(self, child: Child) -> None:
        """Give up the claim on a child that got no body."""
        child.claimed = False
        if child.is_new and self.has(child):
            del self._entries[child.spec.id]

    def begun(self, child: Child) -> None:
        """Note that an incarnation begins."""
        child.runs = True

    def halted(self, child: Child) -> None:
        """Note that an incarnation is over, or that one that was told to begin will not."""
        child.runs = False

    def came_up(self, child: Child) -> None:
        """Note that an incarnation has come up."""
        child.claimed = child.is_new = False
        if child.spec.significant:
            self._awaits_start = False

    # What follows an end

    def exited(self, child: Child, exit: Exit, now: float, draw: float) -> Follow:  # noqa: A002  -- the field's word
        """Decide what follows the end of an incarnation. ``draw`` is a random number in [0, 1)."""
        child.runs = False
        if exit.is_first and not exit.was_up:
            return ENDED  # It is for who started it.
        if exit.is_halted:
            return WITH_GROUP
        if self.closed or not should_restart(child.spec.restart, exit.reason):
            return ENDED
        if self._is_same_failure(child) or (self.phase is Phase.BEGINNING and not exit.was_up):
            # Or a step of the restart that failed: that is counted by start_failed().
            self._halt_from(child)
            return WITH_GROUP
        return self._restart(child, exit.seconds, now, draw)

    def _is_same_failure(self, child: Child) -> bool:
        """Whether a failure is part of the one that is being dealt with.

        It is in the group that is being halted, or fell in the same turn as the first, so that their order is chance.
        """
        return self.phase is Phase.HALTING and (self._is_joint or child in self._down)

    def start_failed(self, child: Child, now: float, draw: float, *, stopped: bool) -> Follow:
        """Decide what follows when a member of a group did not come up. ``stopped``: because somebody stopped it."""
        if self.closed or self.phase is Phase.NONE or not self.has(child) or child.dismissed or stopped:
            return ENDED
        return self._restart(child, 0.0, now, draw)

    def _restart(self, child: Child, seconds: float, now: float, draw: float) -> Follow:
        if not self._window.record(now):
            self.close()
            return GAVE_UP
        self.restarts += 1
        delay = self._delay(child, seconds, draw)
        if self.spec.strategy not in GROUPS:
            return Follow(delay)
        self._is_joint = self._is_joint or self.phase is Phase.NONE
        self._not_before = max(self._not_before, now + delay)
        self._halt_from(child)
        return WITH_GROUP

    def _delay(self, child: Child, seconds: float, draw: float) -> float:
        backoff = child.spec.backoff or self.spec.backoff
        if backoff is None:
            return 0.0
        if seconds >= backoff.healthy_after:
            child.attempts = 0
        child.attempts += 1
        return backoff.delay(child.attempts - 1, draw)

    def ended(self, child: Child, reason: ExitReason, *, was_up: bool, stopped: bool) -> bool:
        """Note that a child is gone for good. Whether its end is to end the supervisor as well.

        ``was_up``: whether it ever was; ``stopped``: whether it was asked to end for good, by whomever.
        """
        child.cell, child.claimed, child.runs = None, False, False
        if child.is_new or not self._keeps or child.spec.restart is Restart.TEMPORARY:
            if self.has(child):
                del self._entries[child.spec.id]
        elif stopped and self.phase is not Phase.NONE:
            child.left_out = True
        if not child.spec.significant or self.closed:
            return False
        by_itself = was_up and not child.dismissed and not should_restart(child.spec.restart, reason)
        if self.spec.auto_shutdown is AutoShutdown.ANY:
            return by_itself
        return self._is_last(by_itself=by_itself)

    def _is_last(self, *, by_itself: bool) -> bool:
        """Whether no significant child is left, now that one has ended, or did not come up."""
        others = [child for child in self._entries.values() if child.spec.significant]
        if any(child.cell is not None and not child.is_new for child in others):
            return False
        if self.planned or any(child.claimed for child in others):
            self._awaits_start = self._awaits_start or by_itself
            return False
        return by_itself or self._awaits_start

    # Restarting a group

    def _halt_from(self, child: Child) -> None:
        """Have the group halted from this child on, or from an earlier one; what is down already stays down."""
        self.phase = Phase.HALTING
        children = list(self._entries.values())
        if self.spec.strategy is Strategy.REST_FOR_ONE:
            children = children[children.index(child) :]
        # What is being started by somebody else is left to them.
        group = {each for each in children if not each.claimed or each is self._beginning}
        group.update(self._down)
        self._down = [each for each in self._entries.values() if each in group]

    @property
    def restarts_group(self) -> bool:
        """Whether a group is being restarted: then :meth:`next_step` is to be asked until it returns None."""
        return self.phase is not Phase.NONE

    def interrupts(self, child: Child) -> bool:
        """Whether the failure of a child makes it useless to wait for the step that is under way.

        The start of a later child may be waiting for the very one that failed.
        """
        beginning = self._beginning
        if beginning is None or beginning is child:
            return beginning is None  # what the step itself is about is told to it
        return next(each is child for each in self._entries.values() if each is child or each is beginning)

    def next_step(self, now: float) -> Halt | Wait | Begin | None:
        """Return what the restart of the group is to do next; None when it is over."""
        self._beginning, self._is_joint = None, False
        if self.phase is Phase.HALTING:
            for child in reversed(self._down):
                if child.runs:
                    return Halt(child)
            if now < self._not_before:
                return Wait(self._not_before)
            self.phase = Phase.BEGINNING
        if self.phase is Phase.BEGINNING:
            while self._down:
                child = self._down.pop(0)
                if self._is_to_begin(child):
                    if child.cell is None:
                        child.claimed, child.dismissed = True, False
                    self._beginning = child
                    return Begin(child)
        self._end_restart()
        return None

    def _is_to_begin(self, child: Child) -> bool:
        """Whether a member is still down, and is to come up with its group."""
        is_left_out = child.left_out and child.cell is None
        return self.has(child) and not (child.claimed or child.runs or is_left_out)

    def _end_restart(self) -> None:
        self.phase, self._down, self._not_before = Phase.NONE, [], -math.inf
        for child in self._entries.values():
            child.left_out = False
