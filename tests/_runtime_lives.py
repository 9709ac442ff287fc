"""The lives of the actors of a random run, and the rules for their starts, restarts and ends."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import trio
from _runtime_limits import RestartLedger
from _runtime_records import GROUP_STRATEGIES, ChildGroup, Life, Placement, is_expected, leaf_errors

from actors import Failure, Killed, Normal, Restart, Shutdown, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors import ActorRef, ExitReason


class LifeLedger:
    """The records of the lives of all actors, and the texts of broken rules."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.root = ChildGroup(path="/")
        self.groups: list[ChildGroup] = [self.root]
        self.lives: dict[ActorRef, list[Life]] = {}
        self.running: dict[str, Life] = {}
        """Lives of the actors that have an open nursery, by path."""
        self.stopped: set[ActorRef] = set()
        """Actors for which a permanent stop was requested."""
        self.refusing: set[ActorRef] = set()
        """Actors that refused a message because they end permanently."""
        self.killed: set[ActorRef] = set()
        self.reasons: dict[ActorRef, ExitReason] = {}
        self.restarts = RestartLedger(self.check)
        self._events = itertools.count(1)

    def check(self, holds: object, fault: str) -> None:
        """Add the text ``fault`` to the broken rules unless ``holds`` is true."""
        if not holds:
            self.faults.append(fault)

    def group_of(self, supervisor: ActorRef, strategy: str) -> ChildGroup:
        """Return the record of a supervisor's children.

        If there is none, return an empty record that is not checked.
        """
        path = supervisor.path
        found = (each for each in reversed(self.groups) if each.path == path and each.is_spec)
        group = next((each for each in found if each.strategy == strategy), None)
        return group or ChildGroup(Strategy.ONE_FOR_ALL, is_single=False, is_complete=False)

    def new_group(self) -> ChildGroup:
        """Make and return a new record of a supervisor's children."""
        group = ChildGroup(is_spec=True)
        self.groups.append(group)
        return group

    # Lives

    def on_made(self, placement: Placement) -> Life:
        """Record that an instance of an actor is made."""
        placement.group.instances += 1
        placement.made.append(None)
        life = Life(placement)
        self.groups.append(life.group)
        return life

    def on_starting(self, life: Life, ref: ActorRef) -> None:
        """Record that ``started()`` is called.

        Check that no earlier life of the actor, and no child of it, still runs.
        """
        life.ref, path, group = ref, ref.path, life.placement.group
        life.group.path, group.path = path, path.rpartition("/")[0] or "/"
        lives = self.lives.setdefault(ref, [])
        self.check(ref not in self.stopped, f"the stop of {path} was undone")
        self.check(ref not in self.refusing, f"{path} refused a message for good, and lives on")
        below = [each for each in self.running if each == path or each.startswith(f"{path}/")]
        self.check(not below, f"{path} starts while {below} run")
        self.check(len(lives) <= ref.statistics().restarts, f"{path} has more lives than restarts")
        group.actors[life.placement] += not lives
        if lives:
            self.restarts.on_restarted(life, lives[-1], ref)
            self._check_restart(life, lives[-1], path)
        group.down.discard(life.placement)
        lives.append(life)
        self.running[path] = life

    def _check_restart(self, life: Life, before: Life, path: str) -> None:
        """Check that the actor may be restarted after the end of its life ``before``."""
        placement, group = life.placement, life.placement.group
        self.check(placement.restart is not Restart.TEMPORARY, f"{path} is temporary, and was restarted")
        if group.strategy in GROUP_STRATEGIES:
            self._check_group_restart(life, path)
        # Nothing is before the first of a group. A first child that was started by hand while its group was halted
        # is a member of that group.
        is_first = group.strategy is Strategy.REST_FOR_ONE and placement.place == 0 and group.actors[placement] == 1
        is_alone = group.strategy not in GROUP_STRATEGIES or is_first
        if before.failed or before.cancelled_itself or before.ref in self.killed or not is_alone:
            return
        was_halted = isinstance(before.stop_reason, Shutdown) and not before.stopped_itself
        self.check(not was_halted, f"{path} was restarted because of another")
        is_done = (
            before.stopping_returned and isinstance(before.stop_reason, (Normal, Shutdown)) and before.group.is_empty
        )
        self.check(
            not (is_done and placement.restart is Restart.TRANSIENT),
            f"{path} is transient, was done, and was restarted",
        )

    def _check_group_restart(self, life: Life, path: str) -> None:
        """Check that no member of the group still runs that was up before the group's first end."""
        placement, group = life.placement, life.placement.group
        # Supervisors do not report their ends: one of them may have ended first.
        first = group.first if group.is_complete else 0
        for other in self.running.values():
            is_after = group.strategy is Strategy.ONE_FOR_ALL or other.placement.place > placement.place
            runs_on = (
                other.placement.group is group
                and other.placement is not placement
                and is_after
                and 0 < other.up_at < first
            )
            self.check(not runs_on, f"{path} was restarted without its group")

    def on_started(self, life: Life) -> None:
        """Record that ``started()`` of an actor returns."""
        life.up_at = next(self._events)

    def on_ended(self, life: Life, path: str) -> None:
        """Record that an actor's nursery is closed: the end of the actor, or a restart."""
        life.ended_at, life.ended_after = next(self._events), trio.current_time()
        group = life.placement.group
        if life.placement.restart is not Restart.TEMPORARY:
            group.first = group.first if group.down else life.ended_at
            group.down.add(life.placement)
        self.check(self.running.pop(path, None) is life, f"{path} ran twice")

    def on_stopping(self, life: Life, path: str, reason: ExitReason) -> None:
        """Record that ``stopping()`` is called. Check the rules for it.

        It is called once, only after the start, not while a message is being handled, and not after a kill.
        """
        self.check(life.up_at, f"{path} stops, and never came up")
        self.check(life.stop_reason is None, f"{path} stops twice")
        self.check(not life.is_busy, f"{path} stops with a message in hand")
        self.check(not isinstance(reason, Killed), f"{path} was killed, and stops")
        below = [each for each in self.running if each.startswith(f"{path}/")]
        self.check(not below, f"{path} stops while {below} run")
        life.stop_reason = reason

    def on_before_restart(self, life: Life, path: str, reason: ExitReason) -> None:
        """Record that ``before_restart()`` is called. Check that the actor was up, has ended, and was not killed."""
        self.check(life.up_at and life.ended_at, f"{path} is restarted, and has not ended")
        self.check(not life.is_closing, f"{path} is about to be restarted twice")
        self.check(not isinstance(reason, Killed), f"{path} was killed, and has a hook")
        self.check(path not in self.running, f"{path} runs before its restart")
        life.is_closing, life.decided_after = True, trio.current_time()

    def on_after_restart(self, life: Life, ref: ActorRef) -> None:
        """Record that ``after_restart()`` is called. Check that it is for a restart, and before the first message."""
        self.check(ref.statistics().restarts, f"{ref.path} was not restarted, and has a hook")
        self.check(self.lives[ref][-1] is life and not life.up_at, f"{ref.path} is up before its hook")

    def on_kill(self, ref: ActorRef) -> None:
        """Record that an actor is about to be killed. If the actor runs, its end will not be graceful."""
        self.killed.add(ref)
        life = self.running.get(ref.path)
        if life is not None and life.ref is ref:
            life.was_killed = True

    def on_end_known(self, ref: ActorRef, reason: ExitReason) -> None:
        """Record that a caller learns of an actor's end.

        Check that all callers get the same reason, and that nothing runs.
        """
        self.check(not ref.alive, f"{ref.path} has ended, and lives")
        self.check(self.reasons.setdefault(ref, reason) is reason, f"{ref.path} ended twice")
        for path, life in self.running.items():
            self.check(life.ref is not ref, f"{path} has ended, and runs")

    def came_up(self, ref: ActorRef) -> bool:
        """Return whether the actor came up. If not, the code that started it has got the error.

        A supervisor does not report its start: the start is known only if the supervisor came up.
        """
        lives = self.lives.get(ref)
        return lives is None or any(life.up_at for life in lives)

    # At the end

    def check_lives(self, refs: Iterable[ActorRef]) -> None:
        """Check the rules for the actors of a system that has ended."""
        for ref in refs:
            self._check_leftovers(ref)
        for ref, lives in self.lives.items():
            self._check_reason(ref, lives[-1])
            self.restarts.check_own(ref, lives[-1].placement)
        for group in self.groups:
            self.restarts.check_shared(group)

    def _check_leftovers(self, ref: ActorRef) -> None:
        """Check that an ended actor has no task, child, timer, watcher or message left."""
        now = ref.statistics()
        left = now.tasks, now.children, now.timers, now.stashed, now.watchers, now.mailbox.depth
        self.check(not any((*left, now.mailbox.senders_waiting)), f"{ref.path} has left {now}")

    def _check_reason(self, ref: ActorRef, life: Life) -> None:
        """Check that the exit reason of an actor agrees with the events since its last start."""
        reason = self.reasons[ref]
        is_graceful = isinstance(reason, (Normal, Shutdown))
        error = None if isinstance(reason, (Normal, Shutdown)) else reason.exception
        for each in () if error is None else leaf_errors(error):
            self.check(is_expected(each), f"{ref.path} ended with {each!r}")
        if ref.statistics().restarts != len(self.lives[ref]) - 1:
            return  # a later incarnation was counted, and its methods did not run
        self.check(not (is_graceful and life.up_at and life.stop_reason is None), f"{ref.path} never ran stopping()")
        self.check(not (is_graceful and life.failed), f"{ref.path} failed, and ended {reason}")
        self.check(not (is_graceful and life.was_killed), f"{ref.path} was killed, and ended {reason}")
        is_right = (
            life.failed
            or life.cancelled_itself
            or not (life.up_at and life.group.is_empty and isinstance(reason, Failure))
        )
        self.check(is_right, f"{ref.path} did not fail, and ended {reason}")
