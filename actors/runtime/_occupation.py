"""The present work of one incarnation of an actor: its current message, leases and deferred asks; or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.runtime._nurseries import Nurseries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.runtime._asks import LateAnswers
    from actors.runtime._idle import IdleWatch
    from actors.runtime._timers import Timers
    from actors.runtime._watching import Watching

NO_MESSAGE: Final = object()
"""Value of ``current`` while no message is handled. None cannot be used, because None can be a message."""


class Occupation(Nurseries):
    """The present work of one incarnation (an actor's life between two restarts).

    ``Incarnation`` has this class as a base.
    """

    __slots__ = ("_attention", "_notice", "asks", "current", "leases", "timers", "watching")

    # Set by the constructor of ``Incarnation``.
    current: object
    """Message that is being handled; if it is an ask, its PendingAsk (the message and its caller)."""
    _notice: object
    """Terminated message, timer message or event that is being handled."""
    leases: int
    """Number of :meth:`Context.lease` blocks that are open now. Each of these blocks marks the actor as busy."""
    # These three are made when they are first needed: most actors need none of them.
    timers: Timers | None
    asks: LateAnswers | None
    watching: Watching | None
    _attention: bool
    """Whether a stop, a kill, a Terminated message or a timer is perhaps waiting, so that the actor must look."""

    def wake(self) -> None:
        """Wake the actor, so that it handles a stop, a kill, Terminated messages and timers."""
        self._attention = True
        self.cell.mailbox.wake()

    @property
    def is_idle(self) -> bool:
        """Whether the actor is up and has nothing to do: no message, stop, kill, Terminated message or timer waits."""
        return self.cell.was_up and not (self._attention or self.cell.mailbox.items)

    def has_deferred(self) -> bool:
        """Return whether there are asks that the actor has deferred and has not answered yet."""
        return self.asks is not None and bool(self.asks.deferred)

    def take_unfinished(self) -> Sequence[object]:
        """Remove and return the messages that were being handled when the actor ended."""
        if self.current is NO_MESSAGE and self._notice is NO_MESSAGE:
            return ()
        unfinished = [item for item in (self._notice, self.current) if item is not NO_MESSAGE]
        self._notice = self.current = NO_MESSAGE
        return unfinished

    # As its stash and its deferred asks see it

    @property
    def is_cut_short(self) -> bool:
        """Whether the whole actor was cancelled, or its incarnation (life until the next restart) has ended."""
        return self.over or (self.scope is not None and self.scope.cancel_called)

    def on_all_answered(self) -> None:
        """Free the table of deferred asks, which is empty now.

        If a stop waited for the last of these answers, the stop continues.
        """
        if self.asks is not None and not self.asks.stash:
            self.asks = None  # an actor that defers now and then is to hold nothing for it while it is idle
        self.on_free()
        if self.cell.stop_asked is not None:
            self.wake()

    # As the watch over its idle time sees it

    @property
    def idle(self) -> IdleWatch | None:
        """Watch over the actor's idle time; None if the actor has asked for none."""
        return None if self.timers is None else self.timers.idle

    @property
    def handled(self) -> int:
        """Number of messages that the actor has handled."""
        handled: int = self.cell.handled
        return handled

    @property
    def is_unoccupied(self) -> bool:
        """Whether the actor has no message, no lease, no deferred ask and no stop."""
        cell = self.cell
        is_busy = cell.mailbox.items or self.current is not NO_MESSAGE or self.leases or self.has_deferred()
        return not is_busy and cell.stop_asked is None

    @property
    def is_waiting(self) -> bool:
        """Whether the actor's task waits for a message now."""
        is_awaited: bool = self.cell.mailbox.is_awaited
        return is_awaited

    def on_free(self) -> None:
        """Begin a new idle time, because the actor's last lease or last deferred ask has ended."""
        if (idle := self.idle) is not None:
            idle.begin()
