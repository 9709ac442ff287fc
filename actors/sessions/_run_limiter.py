"""How many runs of one user go on at once, over all of the user's sessions.

The limiter calls nothing: a run that ends hands its place to the next one that waits, and wakes that one's task, which
goes on in its own session. So a failure of the next run cannot reach the one that ended, and a queue of any length is
worked off without recursion.
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
    """One run's place among those of its user: held at once or waited for, and left once.

    Made by :meth:`RunLimiter.enter`; its owner must :meth:`leave` it on every path, in a ``finally``.
    """

    user: str
    _hand_on: Callable[[Place], None]
    _decided: trio.Event | None
    """Set when it is held, or was left while it waited; None where it was free at once."""
    held: bool
    """Whether the run may go on."""
    left: bool = attrs.field(default=False, init=False)
    """Whether it is over for the run."""

    @property
    def waited(self) -> bool:
        """Whether it was not free at once."""
        return self._decided is not None

    async def taken(self) -> bool:
        """Wait until the place is held; return False where it was left instead. No checkpoint for one held at once.

        Cancelled: the place waits on, or is held by now: leave it.
        """
        if self._decided is not None:
            await self._decided.wait()
        return self.held

    def take(self) -> None:
        """Hold the place from now on, and wake the task that waits for it; for the limiter."""
        self.held = True
        if self._decided is not None:
            self._decided.set()

    def leave(self) -> None:
        """Let the next run have the place, or wait for it no longer. Never waits or raises. Idempotent."""
        if not self.left:
            self.left = True
            self._hand_on(self)
            self.held = False
            if self._decided is not None:
                self._decided.set()


@attrs.frozen
class RunLimiterStatistics:
    """How many runs there are."""

    users: int
    """Users with a run."""
    running: int
    """Runs that go on."""
    queued: int
    """Runs that wait for their turn."""


@attrs.define(eq=False)
class _Room:
    """The places of one user. While any run waits, as many go on as may."""

    running: int = 0
    waiting: OrderedDict[Place, None] = attrs.field(factory=OrderedDict[Place, None])
    """In the order they came; one that gives up is taken out wherever it stands, without a search."""


class RunLimiter:
    """At most ``running`` runs of a user at once; ``queued`` more wait in order; the next is refused as overloaded."""

    def __init__(self, running: int, queued: int) -> None:
        self._limit = running
        self._queue_limit = queued
        self._rooms: dict[str, _Room] = {}

    def enter(self, user: str) -> Place:
        """Return a place for a run of ``user``, held or waiting for its turn.

        Raises ``CommandRefused("overloaded")`` when too many wait.
        """
        room = self._rooms.get(user)
        if room is None:
            room = self._rooms[user] = _Room()
        if room.running < self._limit:
            room.running += 1
            return Place(user, self._hand_on, None, held=True)
        if len(room.waiting) >= self._queue_limit:
            message = f"{self._limit} runs go on and {len(room.waiting)} wait: try again later"
            raise CommandRefused("overloaded", message)
        place = Place(user, self._hand_on, trio.Event(), held=False)
        room.waiting[place] = None
        return place

    def statistics(self) -> RunLimiterStatistics:
        """Count the runs there are."""
        rooms = self._rooms.values()
        return RunLimiterStatistics(
            users=len(rooms),
            running=sum(room.running for room in rooms),
            queued=sum(len(room.waiting) for room in rooms),
        )

    def _hand_on(self, place: Place) -> None:
        room = self._rooms[place.user]
        if not place.held:
            del room.waiting[place]
        elif room.waiting:
            # Handed on, not freed: a start that arrives before the next one's task has run cannot get in front of it.
            room.waiting.popitem(last=False)[0].take()
        else:
            room.running -= 1
            if not room.running:
                del self._rooms[place.user]
