"""Timers of an actor: messages that it sends to itself later."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, Protocol

import attrs
import trio

from actors.checks import check_seconds
from actors.errors import SpecError
from actors.failures import shown
from actors.runtime._typed import Defaults, Message_contra

if TYPE_CHECKING:
    from collections.abc import Hashable


class Owner(Protocol):
    """The incarnation (an actor's life between two restarts) that sets timers."""

    @property
    def stopping_begun(self) -> bool:
        """Whether the actor's ``stopping()`` was called."""
        ...

    def check_place(self) -> None:
        """Raise RuntimeError outside the trio run of the system."""
        ...

    def open_nursery(self) -> trio.Nursery | None:
        """Return the nursery of the actor's own tasks; None if the nursery is closed permanently."""
        ...

    def wake(self) -> None:
        """Wake the actor, so that it handles a stop, a kill, Terminated messages and timers."""
        ...


@attrs.frozen(eq=False)
class Timer:
    """One timer that was set. If a timer with the same key is set again, a new Timer object is made."""

    key: Hashable
    message: object
    period: float | None
    """Seconds between two messages; None for a timer that fires once."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Timers(Defaults, Generic[Message_contra]):
    """The timers of an actor. All of them end when the actor ends or is restarted, even timers that are due.

    The message of a due timer is handled before the messages in the mailbox, and needs no room in the mailbox. After
    each timer message, one message of the mailbox is handled, if there is any. If the actor is too slow for a periodic
    timer, the timer skips messages: a timer has at most one message that waits to be handled.
    """

    __slots__ = ("_due", "_owner", "_timers")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._timers: dict[Hashable, Timer] = {}
        self._due: dict[Timer, None] = {}
        """The due timers with a message that was not handled yet, oldest first."""

    def once(self, key: Hashable, message: Message_contra, seconds: float) -> None:
        """Send ``message`` to this actor once, after ``seconds`` seconds.

        If a timer of the same key is set, it is cancelled, and its message is dropped.

        Args:
            key: Name of the timer.
            message: The message.
            seconds: Seconds until the message is sent, 0 or more.

        Raises:
            SpecError: ``seconds`` is no time, or ``key`` is not hashable.
            RuntimeError: The actor is stopping, or this is not the trio run of its system.
        """
        check_seconds(seconds, "seconds")
        self._set(Timer(key, message, None), seconds)

    def every(self, key: Hashable, message: Message_contra, seconds: float) -> None:
        """Send ``message`` to this actor again and again, every ``seconds`` seconds.

        If a timer of the same key is set, it is cancelled, and its message is dropped.

        Args:
            key: Name of the timer.
            message: The message.
            seconds: Seconds until the first message, and between two messages. More than 0.

        Raises:
            SpecError: ``seconds`` is no time or 0, or ``key`` is not hashable.
            RuntimeError: The actor is stopping, or this is not the trio run of its system.
        """
        check_seconds(seconds, "seconds")
        if seconds == 0:  # such a timer would always be due
            raise SpecError("seconds of a period must be more than 0")
        self._set(Timer(key, message, seconds), seconds)

    def cancel(self, key: Hashable) -> bool:
        """Cancel the timer with that key. If its message waits to be handled, drop the message.

        Return False if there is no such timer.
        """
        self._owner.check_place()
        timer = self._timers.pop(key, None)
        if timer is None:
            return False
        self._due.pop(timer, None)
        timer.scope.cancel()
        return True

    def __contains__(self, key: Hashable) -> bool:
        return key in self._timers

    def __len__(self) -> int:
        return len(self._timers)

    def _set(self, timer: Timer, seconds: float) -> None:
        try:
            hash(timer.key)
        except Exception as error:
            raise SpecError(f"key of a timer must be hashable, not {shown(timer.key)}") from error
        self._owner.check_place()
        nursery = self._owner.open_nursery()
        if nursery is None or self._owner.stopping_begun:
            raise RuntimeError("an actor that is stopping sets no timers")
        self.cancel(timer.key)
        self._timers[timer.key] = timer
        nursery.start_soon(self._run, timer, seconds, name=f"timer {shown(timer.key)}")

    async def _run(self, timer: Timer, seconds: float) -> None:
        """Wait until the timer is due, then wake the actor. If the timer has a period, repeat this."""
        due = trio.current_time() + seconds
        with timer.scope:
            while True:
                await trio.sleep_until(due)
                if timer not in self._due:  # else the actor has not handled the last beat: skip this one
                    self._due[timer] = None
                    self._owner.wake()
                if timer.period is None:
                    return
                due = next_beat(due, timer.period, trio.current_time())

    @property
    def are_due(self) -> bool:
        """Whether the message of a due timer waits to be handled."""
        return bool(self._due)

    def collect(self) -> object:
        """Return the message of the timer that became due first. If the timer does not repeat, remove it."""
        timer = next(iter(self._due))
        del self._due[timer]
        if timer.period is None:
            del self._timers[timer.key]
        return timer.message


def next_beat(due: float, period: float, now: float) -> float:
    """Return the next due time of a periodic timer: the first beat that is later than both ``due`` and ``now``."""
    beat = due + period  # exact as long as the actor keeps up: the beats do not drift
    return beat if beat > now else now + period - math.fmod(now - due, period)
