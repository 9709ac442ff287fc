"""The idle time of one actor: the time since its last message, and the message that tells the actor of it."""

from __future__ import annotations

import math
from typing import Protocol

import attrs
import trio


@attrs.frozen
class Idle:
    """The message that an actor receives when no message has come for some time: see :meth:`Context.idle_after`."""

    seconds: float
    """Seconds without a message, as the actor asked for."""


class Owner(Protocol):
    """The watched incarnation (an actor's life between two restarts)."""

    @property
    def handled(self) -> int:
        """Number of messages that the actor has handled."""
        ...

    @property
    def is_unoccupied(self) -> bool:
        """Whether the actor has no message, no lease, no deferred ask and no stop."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether the actor's task waits for a message now."""
        ...

    def wake(self) -> None:
        """Wake the actor, so that it handles the Idle message."""
        ...


class IdleWatch:
    """The watch over one actor's idle time. It is made only for an actor that asks for it.

    Handling a message does not touch this object. The actor calls it when it runs out of messages: the idle time begins
    there if the number of handled messages has changed. The timer is not set again for each message either. When it
    rings too early, it is set to the right time.
    """

    __slots__ = ("_due", "_owner", "_seen", "_since", "_skipped", "_skipped_at", "_skips", "_timer", "scope", "seconds")

    def __init__(self, owner: Owner, seconds: float) -> None:
        self.seconds = seconds
        self.scope = trio.CancelScope()
        """Cancel scope around :meth:`run`."""
        self._owner = owner
        self._timer = trio.CancelScope()
        """Cancel scope with the end of the idle time as its deadline, which is infinite while the actor is busy."""
        self._since = math.inf
        self._seen: int | None = None
        """Number of counted messages when the idle time began; None if the idle time begins with the next wait."""
        self._due = False
        self._skipped = 0
        """Number of handled messages that do not count."""
        self._skipped_at = -1
        self._skips = False
        self.begin()

    async def run(self) -> None:
        """Wait for the end of the idle time, again and again, and wake the actor."""
        with self.scope:
            while True:
                with self._timer:
                    await trio.sleep_forever()
                at = math.inf
                if self._owner.is_waiting and self._owner.is_unoccupied:
                    at = self._since + self.seconds
                    if at <= trio.current_time():
                        at, self._due = math.inf, True
                        self._owner.wake()
                # An actor that is busy calls on_wait() or begin() later.
                self._timer = trio.CancelScope(deadline=at)

    def begin(self) -> None:
        """Begin a new idle time: now if the actor waits for a message, else when it waits next."""
        self._due, self._seen = False, None
        if self._owner.is_waiting and self._owner.is_unoccupied:
            self.on_wait()

    def on_wait(self) -> None:
        """Receive the notice that the actor waits for a message now. A new idle time begins if it has handled one."""
        self._due = False
        counted = self._owner.handled - self._skipped
        if counted != self._seen:
            self._seen, self._since = counted, trio.current_time()
        if self._timer.deadline == math.inf:
            self._timer.deadline = self._since + self.seconds

    def on_notice(self, *, counts: bool) -> None:
        """Receive the notice that the actor has handled an event or a Terminated message, or that of a timer."""
        if counts and not self._skips:
            self.begin()
        self._skips = False

    def skip(self, *, in_mailbox: bool) -> None:
        """Do not count the current message. Idempotent."""
        if not in_mailbox:
            self._skips = True
        elif self._skipped_at != self._owner.handled:
            self._skipped_at = self._owner.handled
            self._skipped += 1

    @property
    def is_due(self) -> bool:
        """Whether the Idle message waits to be handled. It is withdrawn if a message comes first."""
        return self._due and self._owner.is_unoccupied

    def take(self) -> Idle:
        """Return the Idle message. A new idle time begins when it has been handled."""
        self._due, self._seen = False, None
        return Idle(self.seconds)
