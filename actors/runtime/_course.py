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

A stop is final or a halt. A final stop is never undone: a later stop can only make it faster. A halt is the stop before
the restart of a group: the actor is then held, which means that it waits until its supervisor resumes it. Every end has
a deadline: code that still runs at ``stop_at`` is cancelled, and shielded code is cancelled one second later.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors.runtime._lifecycle import KILLED, ExitReason, Failure, Killed, State, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Do:
    """The actions that an event (a stop, a failure …) can require, as numbers. Add the numbers of several actions.

    Plain numbers are used because each use of an ``enum.Flag`` costs 1 µs.
    """

    NOTHING = 0
    REFUSE = 1
    """Refuse further messages."""
    CANCEL = 2
    """Cancel the running code."""
    TIME = 4
    """Cancel the running code at the time ``stop_at``, and cancel even shielded code one second later."""
    FORCE = 8
    """Cancel the running code, shielded or not."""
    WAKE = 16
    """Wake the actor, so that it sees requests that come before its messages, such as a stop or a kill."""
    GO_ON = 32
    """End the actor's wait before a restart."""


LIVING = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""The states in which the actor runs. In the other states the actor waits for a restart, or has ended."""


class Course:
    """The state machine of one actor: its state, and the stop that was requested for it.

    The runtime's object for an actor inherits from this class. So an actor needs no second object for its state.
    """

    __slots__ = ("failures", "held", "killed", "reason", "state", "stop_asked", "stop_at", "was_up")

    def __init__(self) -> None:
        self.state = State.STARTING
        self.reason: ExitReason | None = None
        """Reason of the actor's permanent end; None before that end."""
        self.stop_asked: Stop | None = None
        self.stop_at = math.inf
        """Time limit of the actor's end: its running code is cancelled then. Infinite while the actor need not end."""
        self.killed = False
        """Whether the actor was killed since its last start."""
        self.was_up = False
        """Whether ``started()`` has returned since the actor's last start (or the actor has no ``started()``)."""
        self.held = False
        """Whether the actor waits before its restart until its supervisor starts it again."""
        self.failures: Sequence[BaseException] = ()
        """Exceptions of the actor since its last start, in the order in which they were raised."""

    @property
    def ends_for_good(self) -> bool:
        """Whether a final stop was requested, so that the actor must not be restarted."""
        return self.stop_asked is not None and self.stop_asked.final

    # Events

    def came_up(self) -> None:
        """Record that ``started()`` has returned. The actor is then running, unless it was asked to stop meanwhile."""
        self.was_up = True
        if self.stop_asked is None:
            self.state = State.RUNNING

    def ask_to_stop(self, stop: Stop, seconds: float, now: float) -> int:
        """Begin a stop with a time limit of ``seconds``. If a stop has begun already, only make it faster.

        Return the actions that this requires.
        """
        if self.state is State.TERMINATED:
            return Do.NOTHING
        # A halt of an actor that does not run: it only has to wait for its supervisor.
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
        if seconds <= 0:  # a stop without any time is a kill
            self.killed = True
            do |= Do.FORCE
        return do | Do.TIME | Do.WAKE

    def wish_to_stop(self, stop: Stop) -> int:
        """Record that the actor asked for its own stop, unless the actor is ending already.

        Return the actions that this requires.
        """
        if self.state not in {State.STARTING, State.RUNNING} or self.stop_asked is not None:
            return Do.NOTHING
        self.stop_asked = stop
        return Do.WAKE | (Do.REFUSE if stop.final else Do.NOTHING)

    def kill(self) -> int:
        """Kill the actor. Return the actions that this requires.

        The supervisor decides whether the actor is restarted.
        """
        if self.state not in LIVING:
            return Do.NOTHING
        self.killed = True
        return Do.FORCE | Do.WAKE

    def fail(self, failure: BaseException, seconds: float, now: float) -> int:
        """Record an exception of the actor or of an actor below it. Return the actions that this requires.

        If the actor has not ended by itself after ``seconds``, its code is cancelled.
        """
        if self.state not in LIVING:
            return Do.NOTHING
        if not any(failure is known for known in self.failures):
            self.failures = (*self.failures, failure)
        self.stop_at = min(self.stop_at, now + seconds)
        return Do.TIME | Do.WAKE | (Do.NOTHING if self.was_up else Do.CANCEL)

    def was_cut_off(self) -> None:
        """Record that the actor was cancelled from outside, together with everything around it.

        This cancellation counts as a kill of the actor.
        """
        self.killed = True

    def begins_to_end(self, seconds: float, now: float) -> None:
        """Record that the actor handles no further message.

        The actor must have ended within ``seconds``, counted from now. If other code has asked the actor to stop, the
        time limit of that request stays.
        """
        self.state = State.STOPPING
        if self.stop_asked is None or self.stop_asked.own:
            self.stop_at = min(self.stop_at, now + seconds)

    # The end of an incarnation

    def verdict(self, wish: ExitReason | None, own_failure: BaseException | None, now: float) -> ExitReason:
        """Return the reason for which the actor ended, permanently or before a restart.

        Args:
            wish: The exit reason that the actor's code returned; None if an exception ended that code.
            own_failure: The failure to use if neither a kill, a stop nor an exception explains the end.
            now: The current time in seconds.
        """
        # The order matters: a kill goes before a failure, and a failure before the actor's own reason.
        if self.killed:
            return Killed(one_of(self.failures)) if self.failures else KILLED
        if self.failures:
            return Failure(one_of(self.failures))
        if wish is not None:
            return wish
        if not self.was_up and self.stop_asked is not None:
            return self.stop_asked.reason
        # No exception explains the end: the code was cancelled at its deadline, or from outside.
        if now >= self.stop_at or own_failure is None:
            return KILLED
        return Failure(own_failure)

    def pause(self, delay: float) -> None:
        """Record that the actor waits ``delay`` seconds for its restart.

        If ``delay`` is ``math.inf``, the actor waits until its supervisor starts it. If a halt (the stop before the
        restart of a group) was requested, it has been done. A requested final stop still holds.
        """
        self.state = State.RESTARTING
        self.held = delay == math.inf
        self.killed, self.failures = False, ()
        if not self.ends_for_good:
            self.stop_asked, self.stop_at = None, math.inf

    def resume(self) -> int:
        """Let the actor start again, if it waits for its supervisor. Return the actions that this requires."""
        if self.state is not State.RESTARTING or not self.held:
            return Do.NOTHING
        self.held = False
        return Do.GO_ON

    def begin(self) -> None:
        """Record that the restart of the actor begins."""
        self.state, self.was_up = State.STARTING, False

    def end(self, reason: ExitReason) -> None:
        """Record that the actor has ended permanently, for ``reason``."""
        self.state, self.reason = State.TERMINATED, reason
        self.failures = ()


def one_of(failures: Sequence[BaseException]) -> BaseException:
    """Return the only failure in ``failures``. If there are several, return a group of all of them."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup("actor and tasks failed", failures)
