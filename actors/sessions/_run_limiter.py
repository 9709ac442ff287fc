"""The limit of each user's concurrent runs, over all of the user's sessions.

Each user has a limited number of places. A run needs a place, or waits in a queue for one. A run that ends hands its
place to the first run in the queue, and only wakes that run's task. So a failure of the next run cannot reach the run
that ended, and a queue of any length is worked off without recursion.
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
    """A place for one run, within its user's limit. The run gets the place at once, or waits for it in a queue.

    :meth:`RunLimiter.enter` makes it. The caller must :meth:`leave` it on every path, in a ``finally``.
    """

    user: str
    _hand_on: Callable[[Place], None]
    _decided: trio.Event | None
    """Set when the wait is over: the place is held, or :meth:`leave` was called. None if there was no wait."""
    held: bool
    """Whether the run has the place, and so may begin."""
    left: bool = attrs.field(default=False, init=False)
    """Whether :meth:`leave` was called."""

    @property
    def waited(self) -> bool:
        """Whether the run had to wait for its place."""
        return self._decided is not None

    async def taken(self) -> bool:
        """Wait until the place is held, and return True. Return False if :meth:`leave` was called instead.

        This is no checkpoint if the place was free at once.

        Cancellation: the run still waits for the place, or holds it already. Call :meth:`leave` in both cases.
        """
        if self._decided is not None:
            await self._decided.wait()
        return self.held

    def take(self) -> None:
        """Mark the place as held, and wake the task that waits for it. Only the limiter calls this."""
        self.held = True
        if self._decided is not None:
            self._decided.set()

    def leave(self) -> None:
        """Give up the place: pass it to the next run if it is held, otherwise remove it from the queue.

        Never wait or raise. Idempotent.
        """
        if not self.left:
            self.left = True
            self._hand_on(self)
            self.held = False
            if self._decided is not None:
                self._decided.set()


@attrs.frozen
class RunLimiterStatistics:
    """The number of running and queued runs."""

    users: int
    """Number of users that have a run."""
    running: int
    """Number of runs that hold a place."""
    queued: int
    """Number of runs that wait for their turn."""


@attrs.define(eq=False)
class _UserRuns:
    """The places of one user. A place waits only while the maximum number of places is held."""

    running: int = 0
    """Number of held places."""
    waiting: OrderedDict[Place, None] = attrs.field(factory=OrderedDict[Place, None])
    """Waiting places in order of arrival. It is a dict, to remove a place from the middle without a search."""


class RunLimiter:
    """Limits the runs of each user: ``running`` at the same time, and ``queued`` waiting. Further runs are refused."""

    def __init__(self, running: int, queued: int) -> None:
        self._limit = running
        self._queue_limit = queued
        self._users: dict[str, _UserRuns] = {}

    def enter(self, user: str) -> Place:
        """Return a place for a run of ``user``. The place is held, or waits in the queue.

        Raises:
            CommandRefused: Too many runs of the user wait; the code is ``overloaded``.
        """
        runs = self._users.get(user)
        if runs is None:
            runs = self._users[user] = _UserRuns()
        if runs.running < self._limit:
            runs.running += 1
            return Place(user, self._hand_on, None, held=True)
        if len(runs.waiting) >= self._queue_limit:
            message = f"{self._limit} runs go on and {len(runs.waiting)} wait: try again later"
            raise CommandRefused("overloaded", message)
        place = Place(user, self._hand_on, trio.Event(), held=False)
        runs.waiting[place] = None
        return place

    def statistics(self) -> RunLimiterStatistics:
        """Return the number of runs."""
        users = self._users.values()
        return RunLimiterStatistics(
            users=len(users),
            running=sum(runs.running for runs in users),
            queued=sum(len(runs.waiting) for runs in users),
        )

    def _hand_on(self, place: Place) -> None:
        runs = self._users[place.user]
        if not place.held:
            del runs.waiting[place]
        elif runs.waiting:
            # The place is never free in between: a start that arrives before the next task runs cannot overtake it.
            runs.waiting.popitem(last=False)[0].take()
        else:
            runs.running -= 1
            if not runs.running:
                del self._users[place.user]
