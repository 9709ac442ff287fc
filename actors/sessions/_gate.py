"""How many runs of one user go on at once, over all of the user's sessions (pure)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from actors.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define(eq=False)
class Ticket:
    """One run's place. ``start`` is called when its turn has come, at once or when another leaves; it must not raise.

    Its caller may be the run of another session that leaves. A ``start`` that no longer wants to may leave at once.
    """

    user: str
    start: Callable[[], None]
    running: bool = False


@attrs.frozen
class GateStatistics:
    """How many runs there are."""

    users: int
    """Users with a run."""
    running: int
    """Runs that go on."""
    queued: int
    """Runs that wait for their turn."""


class RunGate:
    """At most ``running`` runs of a user at once; ``queued`` more wait in order; the next is refused as overloaded."""

    def __init__(self, running: int, queued: int) -> None:
        self._limit = running
        self._queue_limit = queued
        self._running: dict[str, int] = {}
        self._queues: dict[str, deque[Ticket]] = {}

    def enter(self, ticket: Ticket) -> None:
        """Start the ticket's run now or later; raises ``CommandRefused("overloaded")`` when too many wait."""
        if self._running.get(ticket.user, 0) < self._limit:
            self._start(ticket)
            return
        queue = self._queues.setdefault(ticket.user, deque())
        if len(queue) >= self._queue_limit:
            raise CommandRefused("overloaded", f"{self._limit} runs go on and {len(queue)} wait: try again later")
        queue.append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Hear that the ticket's run is over, or no longer wanted; the next one starts. Idempotent."""
        queue = self._queues.get(ticket.user)
        if not ticket.running:
            if queue is not None and ticket in queue:
                queue.remove(ticket)
            self._tidy(ticket.user)
            return
        ticket.running = False
        self._running[ticket.user] -= 1
        if queue:
            self._start(queue.popleft())
        self._tidy(ticket.user)

    def statistics(self) -> GateStatistics:
        """Count the runs there are."""
        return GateStatistics(
            users=len(self._running.keys() | self._queues.keys()),
            running=sum(self._running.values()),
            queued=sum(map(len, self._queues.values())),
        )

    def _start(self, ticket: Ticket) -> None:
        self._running[ticket.user] = self._running.get(ticket.user, 0) + 1
        ticket.running = True
        ticket.start()

    def _tidy(self, user: str) -> None:
        if not self._running.get(user):
            self._running.pop(user, None)
        if not self._queues.get(user):
            self._queues.pop(user, None)
