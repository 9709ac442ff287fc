"""The state machine of one actor: every race between its start, its stops, its failures and its restarts. Pure.

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

A stop is final or a halt. A final stop is never undone: a later stop can only make it faster. Every end of an
incarnation has a deadline: the code that still runs at ``stop_at`` is cancelled, and forced after a grace period.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors.runtime._lifecycle import KILLED, ExitReason, Failure, Killed, State, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Do:
    """The actions that an event requires, as a sum of these numbers.

    Plain numbers and no ``enum.Flag``: each use of a Flag costs 1 µs.
    """

    NOTHING = 0
    REFUSE = 1
    """Refuse further messages."""
    CANCEL = 2
    """Cancel the running code."""
    TIME = 4
    """Cancel the running code at ``stop_at``, and force it after the grace period."""
    FORCE = 8
    """Cancel the running code, shielded or not."""
    WAKE = 16
    """Wake the actor, so that it looks at its control lane."""
    GO_ON = 32
    """End the pause between two incarnations."""


LIVING = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""The states in which there is an incarnation."""


class Course:
    """The state of one actor, and the stop that it was asked for.

    A base class of the actor's body rather than a part of it: that saves one object for each actor.
    """

    __slots__ = ("failures", "held", "killed", "reason", "state", "stop_asked", "stop_at", "was_up")

    def __init__(self) -> None:
        self.state = State.STARTING
        self.reason: ExitReason | None = None
        """Reason of the actor's final end; None before that end."""
        self.stop_asked: Stop | None = None
        self.stop_at = math.inf
        """Time at which the code that still runs is cancelled."""
        self.killed = False
        """Whether this incarnation was killed."""
        self.was_up = False
        """Whether this incarnation has come up: its ``started()`` has returned, or it has none."""
        self.held = False
        """Whether the next incarnation waits until the supervisor begins it."""
        self.failures: Sequence[BaseException] = ()
        """Exceptions of this incarnation, in the order in which they were raised."""

    @property
    def ends_for_good(self) -> bool:
        """Whether no further incarnation of the actor may follow."""
        return self.stop_asked is not None and self.stop_asked.final

    # Events

    def came_up(self) -> None:
        """Record that ``started()`` has returned. An actor that was asked to stop meanwhile does not become running."""
        self.was_up = True
        if self.stop_asked is None:
            self.state = State.RUNNING

    def ask_to_stop(self, stop: Stop, seconds: float, now: float) -> int:
        """Begin a stop with a limit of ``seconds``, or make a stop that has begun faster. Return the actions."""
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
            do |= Do.CANCEL  # a stop does not wait for started()
        else:
            self.state = State.STOPPING
        if seconds <= 0:
            self.killed = True
            do |= Do.FORCE
        return do | Do.TIME | Do.WAKE

    def wish_to_stop(self, stop: Stop) -> int:
        """Record that the actor asked for its own stop, unless it is ending already. Return the actions."""
        if self.state not in {State.STARTING, State.RUNNING} or self.stop_asked is not None:
            return Do.NOTHING
        self.stop_asked = stop
        return Do.WAKE | (Do.REFUSE if stop.final else Do.NOTHING)

    def kill(self) -> int:
        """End the incarnation now. Return the actions. The supervisor decides whether another incarnation follows."""
        if self.state not in LIVING:
            return Do.NOTHING
        self.killed = True
        return Do.FORCE | Do.WAKE

    def fail(self, failure: BaseException, seconds: float, now: float) -> int:
        """Record an exception of the incarnation or of an actor below it. Return the actions.

        The incarnation is cancelled after ``seconds`` if it has not ended by itself, as in a stop.
        """
        if self.state not in LIVING:
            return Do.NOTHING
        if not any(failure is known for known in self.failures):
            self.failures = (*self.failures, failure)
        self.stop_at = min(self.stop_at, now + seconds)
        return Do.TIME | Do.WAKE | (Do.NOTHING if self.was_up else Do.CANCEL)

    def was_cut_off(self) -> None:
        """Record that the incarnation was cancelled together with everything around its actor."""
        self.killed = True

    def begins_to_end(self, seconds: float, now: float) -> None:
        """Record that the incarnation handles no further message.

        Unless others asked the actor to stop before, the time limit of the end begins here.
        """
        self.state = State.STOPPING
        if self.stop_asked is None or self.stop_asked.own:
            self.stop_at = min(self.stop_at, now + seconds)

    # The end of an incarnation

    def verdict(self, wish: ExitReason | None, own_failure: BaseException | None, now: float) -> ExitReason:
        """Return the reason for which the incarnation ended.

        Args:
            wish: The reason that the actor's code returned; None if an exception ended that code.
            own_failure: The failure to use if neither a kill, a stop nor an exception explains the end.
            now: The current time in seconds.
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
        """Record that another incarnation follows after ``delay`` seconds; ``math.inf`` waits for the supervisor.

        A halt, a stop before a group restart, is forgotten then. A final stop stays in force.
        """
        self.state = State.RESTARTING
        self.held = delay == math.inf
        self.killed, self.failures = False, ()
        if not self.ends_for_good:
            self.stop_asked, self.stop_at = None, math.inf

    def resume(self) -> int:
        """Allow the next incarnation to begin, if it waits for the supervisor. Return the actions."""
        if self.state is not State.RESTARTING or not self.held:
            return Do.NOTHING
        self.held = False
        return Do.GO_ON

    def begin(self) -> None:
        """Begin the next incarnation."""
        self.state, self.was_up = State.STARTING, False

    def end(self, reason: ExitReason) -> None:
        """End the actor finally."""
        self.state, self.reason = State.TERMINATED, reason
        self.failures = ()


def one_of(failures: Sequence[BaseException]) -> BaseException:
    """Return the failure if there is only one, or else a group of all failures."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup("actor and tasks failed", failures)
