"""The limit of each user's concurrent runs, over all of the user's sessions.

Each user has a limited number of places (permissions to run). A run needs a place, or waits in a queue for one. A run
that ends hands its place to the first run in the queue, and only wakes the task of that run. So a failure of the next
run cannot reach the run that ended, and a queue of any length is worked off without recursion.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define(eq=False)
class Place:
    """The permission for one run to be executed, within the limit of the run's user.

    The run has this permission at once, or waits for it in a queue. :meth:`RunLimiter.enter` makes this object. The
    caller must call :meth:`leave` on every path, in a ``finally``.
    """

    user: str
    _hand_on: Callable[[Place], None]
    _decided: trio.Event | None
    """Event that is set when the wait is over: the run has its permission, or :meth:`leave` was called.

    None if the run did not have to wait.
    """
    held: bool
    """Whether the run has this permission now. If so, the run can begin."""
    left: bool = attrs.field(default=False, init=False)
    """Whether the permission to run was given up: :meth:`leave` was called."""

    @property
    def waited(self) -> bool:
        """Whether the run had to wait for its place (its permission to be executed)."""
        return self._decided is not None

    async def taken(self) -> bool:
        """Wait until the run gets this place (its permission to begin), and return True.

        Return False if :meth:`leave` was called instead.

        If the run did not have to wait, this is no checkpoint.

        Cancellation: the run still waits for its permission, or has it already. Call :meth:`leave` in both cases.
        """
        if self._decided is not None:
            await self._decided.wait()
        return self.held

    def take(self) -> None:
        """Give this place (this permission) to its run, and wake the task that waits for the permission.

        Only the limiter calls this.
        """
        self.held = True
        if self._decided is not None:
            self._decided.set()

    def leave(self) -> None:
        """Give up the place (the permission to run), and pass it to the next run in the queue. Never wait or raise.

        A run that still waits leaves the queue. This method can be called more than once.
        """
        if not self.left:
            self.left = True
            self._hand_on(self)
            self.held = False
            if self._decided is not None:
                self._decided.set()


@attrs.frozen
class RunLimiterStatistics:
    """The numbers of running and of queued runs, of all users together."""

    users: int
    """Number of users with at least one running run."""
    running: int
    """Number of runs that are being executed."""
    queued: int
    """Number of runs that wait in the queue."""


@attrs.define(eq=False)
class _UserRuns:
    """The running and the waiting runs of one user. Runs wait while the maximum number is running."""

    running: int = 0
    """Number of the user's runs that are being executed."""
    waiting: OrderedDict[Place, None] = attrs.field(factory=OrderedDict[Place, None])
    """The user's runs that wait for permission to run, in order of arrival.

    This is a dict, because an entry can be removed from the middle of a dict without a search.
    """


class RunLimiter:
    """The limits for each user's runs: at most ``running`` at the same time, and ``queued`` in the queue.

    Further runs are refused.
    """

    def __init__(self, running: int, queued: int) -> None:
        self._limit = running
        self._queue_limit = queued
        self._users: dict[str, _UserRuns] = {}
        self._running = self._queued = 0  # of all users, so that statistics do not count them

    def enter(self, user: str) -> Place:
        """Return a place (a permission to be executed) for one run of ``user``.

        The run has the permission now, or waits for it in the queue.

        Raises:
            CommandRefused: Too many runs of the user wait; the code is ``overloaded``.
        """
        runs = self._users.get(user)
        if runs is None:
            runs = self._users[user] = _UserRuns()
        # If a place is free, no run waits: a place that is given up goes to the first run in the queue.
        if runs.running < self._limit:
            runs.running += 1
            self._running += 1
            return Place(user, self._hand_on, None, held=True)
        if len(runs.waiting) >= self._queue_limit:
            message = f"{self._limit} runs go on and {len(runs.waiting)} wait: try again later"
            raise CommandRefused("overloaded", message)
        place = Place(user, self._hand_on, trio.Event(), held=False)
        runs.waiting[place] = None
        self._queued += 1
        return place

    def statistics(self) -> RunLimiterStatistics:
        """Return the numbers of running and of queued runs."""
        return RunLimiterStatistics(users=len(self._users), running=self._running, queued=self._queued)

    def _hand_on(self, place: Place) -> None:
        runs = self._users[place.user]
        if not place.held:
            del runs.waiting[place]
            self._queued -= 1
        elif runs.waiting:
            # The place is never free in between: a start that arrives before the next task runs cannot overtake it.
            self._queued -= 1
            runs.waiting.popitem(last=False)[0].take()
        else:
            runs.running -= 1
            self._running -= 1
            if not runs.running:
                del self._users[place.user]
