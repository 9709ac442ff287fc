"""The course of one actor's life: every race between its start, its stops, its failures and its restarts. Pure.

::

    event           starting          running            stopping        restarting       terminated
    came_up         running           -                  -               -                -
    stop (final)    cancel            stopping, cancel   cancel at the   terminated       -
                                      at the deadline    deadline
    halt            cancel            as stop            as stop         held             -
    leave           after the start   after the message  -               -                -
    fail            cancel            by the deadline    by the deadline -                -
    kill            force             force              force           -                -
    resume          -                 -                  -               starting         -

A stop is final or a halt. A final stop is never undone: what comes later can only hurry it. Whatever ends an
incarnation, its time begins: what still runs then is cancelled at ``stop_at``, and forced after a time of grace.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors.runtime._lifecycle import KILLED, ExitReason, Failure, Killed, State, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Do:
    """What is to be done now, after an event: these, added up. Plain numbers: each use of a Flag costs 1 µs."""

    NOTHING = 0
    REFUSE = 1
    """Take no more messages."""
    CANCEL = 2
    """Cancel what runs."""
    TIME = 4
    """Have what runs cancelled at ``stop_at``, and forced after the grace."""
    FORCE = 8
    """Cancel what runs, shielded or not."""
    WAKE = 16
    """Let the actor look at its control lane."""
    GO_ON = 32
    """End the pause between two incarnations."""


LIVING = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""The states in which there is an incarnation."""


class Course:
    """Where one actor is in its life, and what was asked of it. Cells are made of it: an object less by actor."""

    __slots__ = ("failures", "held", "killed", "reason", "state", "stop_asked", "stop_at", "was_up")

    def __init__(self) -> None:
        self.state = State.STARTING
        self.reason: ExitReason | None = None
        """Why it ended; None until then."""
        self.stop_asked: Stop | None = None
        self.stop_at = math.inf
        """When what still runs is cancelled."""
        self.killed = False
        """Whether this incarnation was killed."""
        self.was_up = False
        """Whether this incarnation has come up: its ``started()`` has returned, or it has none."""
        self.held = False
        """Whether the next incarnation begins when the supervisor says so."""
        self.failures: Sequence[BaseException] = ()
        """What was raised in this incarnation, in that order."""

    @property
    def ends_for_good(self) -> bool:
        """Whether no further incarnation may follow."""
        return self.stop_asked is not None and self.stop_asked.final

    # What happens to it

    def came_up(self) -> None:
        """Note that ``started()`` has returned. One that is to stop already does not run any more."""
        self.was_up = True
        if self.stop_asked is None:
            self.state = State.RUNNING

    def ask_to_stop(self, stop: Stop, seconds: float, now: float) -> int:
        """Begin a stop that has ``seconds``, or hurry one that has begun."""
        if self.state is State.TERMINATED:
            return Do.NOTHING
        if self.state is State.RESTARTING and not stop.final:
            self.held = True
            return Do.GO_ON
        self.stop_asked = asked = stop if self.stop_asked is None else self.stop_asked.joined(stop)
        self.stop_at = min(self.stop_at, now + seconds)
        do = Do.REFUSE if asked.final else Do.NOTHING
        if self.state is State.RESTARTING:
            return do | Do.GO_ON
        if not self.was_up:
            do |= Do.CANCEL
        else:
            self.state = State.STOPPING
        if seconds <= 0:
            self.killed = True
            do |= Do.FORCE
        return do | Do.TIME | Do.WAKE

    def wish_to_stop(self, stop: Stop) -> int:
        """Note that the actor wants to end itself, unless it ends already."""
        if self.state not in {State.STARTING, State.RUNNING} or self.stop_asked is not None:
            return Do.NOTHING
        self.stop_asked = stop
        return Do.WAKE | (Do.REFUSE if stop.final else Do.NOTHING)

    def kill(self) -> int:
        """End the incarnation now. Whether another follows is decided by its supervisor."""
        if self.state not in LIVING:
            return Do.NOTHING
        self.killed = True
        return Do.FORCE | Do.WAKE

    def fail(self, failure: BaseException, seconds: float, now: float) -> int:
        """Note what was raised in the incarnation, or below it: it has the time of a stop for ending."""
        if self.state not in LIVING:
            return Do.NOTHING
        if not any(failure is known for known in self.failures):
            self.failures = (*self.failures, failure)
        self.stop_at = min(self.stop_at, now + seconds)
        return Do.TIME | Do.WAKE | (Do.NOTHING if self.was_up else Do.CANCEL)

    def was_cut_off(self) -> None:
        """Note that the incarnation was cancelled together with all that is around its actor."""
        self.killed = True

    def begins_to_end(self, seconds: float, now: float) -> None:
        """Note that it handles no message any more. The time of a stop by its own wish begins."""
        self.state = State.STOPPING
        if self.stop_asked is None or self.stop_asked.own:
            self.stop_at = min(self.stop_at, now + seconds)

    # What follows

    def verdict(self, wish: ExitReason | None, own_failure: BaseException | None, now: float) -> ExitReason:
        """Decide why the incarnation ended.

        ``wish`` is what it left for, if it was done; ``own_failure`` is what stands for an end that nothing explains.
        """
        if self.killed:
            return Killed(one_of(self.failures)) if self.failures else KILLED
        if self.failures:
            return Failure(one_of(self.failures))
        if wish is not None:
            return wish
        if not self.was_up and self.stop_asked is not None:
            return self.stop_asked.reason
        if now >= self.stop_at or own_failure is None:
            return KILLED
        return Failure(own_failure)

    def pause(self, delay: float) -> None:
        """Note that another incarnation follows after ``delay`` seconds; if infinite, when the supervisor says so.

        A halt has done its work then; a final stop stays.
        """
        self.state = State.RESTARTING
        self.held = delay == math.inf
        self.killed, self.failures = False, ()
        if not self.ends_for_good:
            self.stop_asked, self.stop_at = None, math.inf

    def resume(self) -> int:
        """Let the next incarnation begin, if that waits for the supervisor's word."""
        if self.state is not State.RESTARTING or not self.held:
            return Do.NOTHING
        self.held = False
        return Do.GO_ON

    def begin(self) -> None:
        """Begin the next incarnation."""
        self.state, self.was_up = State.STARTING, False

    def end(self, reason: ExitReason) -> None:
        """End for good."""
        self.state, self.reason = State.TERMINATED, reason
        self.failures = ()


def one_of(failures: Sequence[BaseException]) -> BaseException:
    """Return the only failure, or a group of all of them."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup("actor and tasks failed", failures)
