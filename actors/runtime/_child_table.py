"""A supervisor's table of its children. It decides every race between the children's starts, ends and restarts. Pure.

An entry is in one of four states, which decide the result of a call ("-": nothing happens):

::

                     absent          claimed                  up                        down
                                     (being started)          (also while it waits      (ended; its spec is kept)
                                                              for a restart)
    start_child      claimed         NameTaken                NameTaken                 NameTaken
    restart_child    ChildNotFound   ChildRunning             ChildRunning              claimed
    terminate_child  ChildNotFound   the start is cancelled   stopped                   -
    delete_child     ChildNotFound   ChildRunning             ChildRunning              absent
    group restart    -               left to its starter      stopped, started again    started again
    its start fails  -               absent, if start_child;  -                         -
                                     else down
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic

import attrs

from actors.errors import ActorTerminated, ChildNotFound, ChildRunning, MaxChildren, NameTaken
from actors.failures import shown
from actors.runtime._child import BodyT, Child, Exit
from actors.runtime._group_restart import GROUPS, Begin, GroupRestart, Halt, Phase, Wait
from actors.runtime._restart import Restart, Window, should_restart
from actors.runtime._spec import AutoShutdown, ChildSpec, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.runtime._lifecycle import ExitReason


@attrs.frozen
class Follow:
    """The decision of a supervisor after a child has ended: whether and when the child is restarted."""

    delay: float | None
    """Seconds until the restart of the child. None: the child is not restarted.

    ``math.inf``: the supervisor starts the child again together with its group.
    """
    gave_up: bool = False
    """Whether the restarts exceed the limit, so that the supervisor must end."""


ENDED, WITH_GROUP, GAVE_UP = Follow(None), Follow(math.inf), Follow(None, gave_up=True)


class ChildTable(Generic[BodyT]):
    """The entries for the children of one supervisor, in the order of their start, and the decisions about them.

    If ``keeps`` is true, the specs of children that have ended are kept. If it is false, and in every dynamic
    supervisor, the entry of a child is dropped when the child ends.
    """

    __slots__ = (
        "_awaits_start",
        "_entries",
        "_group",
        "_keeps",
        "_window",
        "closed",
        "path",
        "planned",
        "restarts",
        "spec",
    )

    def __init__(self, path: str, spec: SupervisorSpec, *, keeps: bool) -> None:
        self.path = path
        """Path of the supervisor, for error messages."""
        self.spec = spec
        self.restarts = 0
        """Number of restarts of children that the supervisor has allowed so far."""
        self.closed = False
        """Whether no child can be started any more, because the supervisor is ending."""
        self.planned = 0
        """Number of significant children (their end can end the supervisor) that were not started yet."""
        self._entries: dict[str, Child[BodyT]] = {}
        self._keeps = keeps and spec.strategy is not Strategy.DYNAMIC
        self._window = Window(spec.max_restarts, spec.max_seconds)
        self._group: GroupRestart[BodyT] | None = None
        if spec.strategy in GROUPS:
            self._group = GroupRestart(spec.strategy, self._entries)
        self._awaits_start = False
        """Whether the supervisor ends if a child fails to start now: its last significant child has ended meanwhile."""

    # Entries

    def entries(self) -> Sequence[Child[BodyT]]:
        """Return the entries of all children, in the order of their start."""
        return tuple(self._entries.values())

    def entry(self, key: str) -> Child[BodyT]:
        """Return the entry of the child with the id ``key``. Raises ChildNotFound if there is none."""
        try:
            return self._entries[key]
        except KeyError:
            raise ChildNotFound(f"{self.path} has no child {shown(key)}") from None

    def find(self, key: str) -> Child[BodyT] | None:
        """Return the entry of the child with the id ``key``; None if there is none."""
        return self._entries.get(key)

    def has(self, child: Child[BodyT]) -> bool:
        """Return whether this entry is still in the table: neither dropped, nor replaced by an entry of the same id."""
        return self._entries.get(child.spec.id) is child

    # Calls to the supervisor

    def add(self, spec: ChildSpec) -> Child[BodyT]:
        """Add and return the entry of a child that ``start_child`` adds. Raises SpecError, NameTaken or MaxChildren."""
        self.spec.check_child(spec)
        if spec.id in self._entries:
            raise NameTaken(f"{self.path} has a child {spec.id!r} already")
        if self.spec.max_children is not None and len(self._entries) >= self.spec.max_children:
            raise MaxChildren(f"{self.path} has {self.spec.max_children} children, and may not have more")
        child: Child[BodyT] = Child(spec, claimed=True, is_new=True)
        self._entries[spec.id] = child
        return child

    def claim(self, key: str) -> Child[BodyT]:
        """Reserve and return the entry of an ended child for ``restart_child``. Raises ChildNotFound, ChildRunning."""
        child = self.entry(key)
        self._check_down(child)
        child.claimed, child.dismissed, child.left_out = True, False, False
        return child

    def dismiss(self, key: str) -> Child[BodyT]:
        """Record that a child must end, for ``terminate_child``, and return its entry. Raises ChildNotFound."""
        child = self.entry(key)
        child.dismissed = True
        child.left_out = self.restarts_group
        return child

    def forget(self, key: str) -> None:
        """Drop the entry of a child that has ended. Raises ChildNotFound or ChildRunning."""
        self._check_down(self.entry(key))
        del self._entries[key]

    def _check_down(self, child: Child[BodyT]) -> None:
        if child.claimed or child.cell is not None:
            state = "starting" if child.cell is None else child.cell.state
            raise ChildRunning(f"{self.path.rstrip('/')}/{child.spec.id} is {state}: terminate it first")

    def close(self) -> None:
        """Record that the supervisor is ending: no child can be started or restarted from now on."""
        self.closed = True
        if self._group is not None:
            self._group.phase = Phase.NONE

    # Starts

    def check_claim(self, child: Child[BodyT]) -> None:
        """Undo the reservation and raise ActorTerminated, if the child must not be started any more."""
        if self.closed or child.dismissed:
            self.release(child)
            raise ActorTerminated(f"{self.path.rstrip('/')}/{child.spec.id} was terminated before it was started")

    def release(self, child: Child[BodyT]) -> None:
        """Undo the reservation of a child that could not be started. Another call can then start the child."""
        child.claimed = False
        if child.is_new and self.has(child):
            del self._entries[child.spec.id]

    def begun(self, child: Child[BodyT]) -> None:
        """Record that the start or restart of a child begins."""
        child.runs = True

    def halted(self, child: Child[BodyT]) -> None:
        """Record that a child was stopped for the restart of its group. The child does not run now."""
        child.runs = False

    def came_up(self, child: Child[BodyT]) -> None:
        """Record that a child is up: its ``started()`` has returned."""
        child.claimed = child.is_new = False
        if child.spec.significant:
            self._awaits_start = False

    # Ends

    def exited(self, child: Child[BodyT], exit: Exit, now: float, draw: float) -> Follow:  # noqa: A002  -- the field's word
        """Record that a child has ended, and decide whether and when it is restarted.

        Args:
            child: The entry of the child.
            exit: How and why the child ended.
            now: The current time in seconds.
            draw: A random number in [0, 1), for the backoff.
        """
        child.runs = False
        if exit.is_first and not exit.was_up:
            return ENDED  # the error is raised by the call that started it
        if exit.is_halted:
            return WITH_GROUP
        if self.closed or not should_restart(child.spec.restart, exit.reason):
            return ENDED
        group = self._group
        if group is not None and (group.is_same_failure(child) or (group.phase is Phase.BEGINNING and not exit.was_up)):
            # In the second case a step of the restart failed: start_failed() counts that.
            group.halt_from(child)
            return WITH_GROUP
        return self._restart(child, exit.seconds, now, draw)

    def start_failed(self, child: Child[BodyT], now: float, draw: float, *, stopped: bool) -> Follow:
        """Record that a child did not start in a restart of its group. Decide whether the group is restarted once more.

        Args:
            child: The entry of the child.
            now: The current time in seconds.
            draw: A random number in [0, 1), for the backoff.
            stopped: Whether the child did not start because a caller requested its permanent stop.
        """
        if self.closed or not self.restarts_group or not self.has(child) or child.dismissed or stopped:
            return ENDED
        return self._restart(child, 0.0, now, draw)

    def _restart(self, child: Child[BodyT], seconds: float, now: float, draw: float) -> Follow:
        """Count a restart against the limit, and decide when the child is started again."""
        if child.is_too_often(self.spec, self._window, now):
            self.close()
            return GAVE_UP
        self.restarts += 1
        delay = child.delay(self.spec.backoff, seconds, draw)
        if self._group is None:
            return Follow(delay)
        self._group.fail(child, now + delay)
        return WITH_GROUP

    def ended(self, child: Child[BodyT], reason: ExitReason, *, was_up: bool, stopped: bool) -> bool:
        """Record that a child has ended permanently. Return whether the supervisor must end too.

        Args:
            child: The entry of the child.
            reason: The reason of the child's end.
            was_up: Whether the child was ever up.
            stopped: Whether a caller requested the permanent stop of the child.
        """
        child.cell, child.claimed, child.runs = None, False, False
        # The entry is dropped now, not when the task that waits for the start sees its error: a call in between must
        # not find the child.
        if child.is_new or not self._keeps or child.spec.restart is Restart.TEMPORARY:
            if self.has(child):
                del self._entries[child.spec.id]
        elif stopped and self.restarts_group:
            child.left_out = True
        if not child.spec.significant or self.closed:
            return False
        by_itself = was_up and not child.dismissed and not should_restart(child.spec.restart, reason)
        if self.spec.auto_shutdown is AutoShutdown.ANY:
            return by_itself
        return self._is_last(by_itself=by_itself)

    def _is_last(self, *, by_itself: bool) -> bool:
        """Return whether the supervisor must end, because its last significant child has ended by itself.

        ``by_itself`` is True if the child that ended now had been up, and no caller had asked for its end. If another
        significant child is being started, return False: if that start fails, this method is called again, and then
        returns True because of the earlier end.
        """
        others = [child for child in self._entries.values() if child.spec.significant]
        if any(child.cell is not None and not child.is_new for child in others):
            return False
        if self.planned or any(child.claimed for child in others):
            self._awaits_start = self._awaits_start or by_itself
            return False
        return by_itself or self._awaits_start

    # The restart of a group

    @property
    def phase(self) -> Phase:
        """Stage of the running group restart; ``Phase.NONE`` if no group is being restarted."""
        return Phase.NONE if self._group is None else self._group.phase

    @property
    def restarts_group(self) -> bool:
        """Whether a group of children is being restarted. Then call :meth:`next_step` until it returns None."""
        return self._group is not None and self._group.is_running

    def interrupts(self, child: Child[BodyT]) -> bool:
        """Return whether the failure of a child must cut the current step of a group restart short."""
        return self._group is not None and self._group.interrupts(child)

    def next_step(self, now: float) -> Halt[BodyT] | Wait | Begin[BodyT] | None:
        """Return the next step of the group restart; None when the restart is over."""
        return None if self._group is None else self._group.next_step(now)
