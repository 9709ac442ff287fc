"""Timers of an actor: messages it sends to itself later."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from actors.checks import check_seconds
from actors.errors import SpecError
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Hashable

    from actors.runtime._incarnation import Incarnation


@attrs.frozen(eq=False)
class Timer:
    """One setting of a timer; identity tells it from a later one of the same key."""

    key: Hashable
    message: object
    period: float | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Timers:
    """The timers of one incarnation: when it ends they are gone, also those that are due and not yet handled.

    A due timer goes before data and never waits for room, but after each a message that waits in the mailbox has its
    turn. It is in the queue at most once: a periodic one that the actor cannot keep up with skips beats.
    """

    __slots__ = ("_due", "_life", "_timers")

    def __init__(self, life: Incarnation) -> None:
        self._life = life
        self._timers: dict[Hashable, Timer] = {}
        self._due: dict[Timer, None] = {}
        """Those whose message has not been handled, the oldest first."""

    def once(self, key: Hashable, message: object, seconds: float) -> None:
        """Receive ``message`` in ``seconds``. Replaces a timer of the same key: its message does not come any more."""
        check_seconds(seconds, "seconds")
        self._set(Timer(key, message, None), seconds)

    def every(self, key: Hashable, message: object, seconds: float) -> None:
        """Receive ``message`` every ``seconds``, the first in ``seconds``. Replaces a timer of the same key."""
        check_seconds(seconds, "seconds")
        if seconds == 0:
            raise SpecError("seconds of a period must be more than 0")
        self._set(Timer(key, message, seconds), seconds)

    def cancel(self, key: Hashable) -> bool:
        """Forget a timer; its message does not come, even if it is due already. False when there is none."""
        self._life.cell.system.home.check()
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
        self._life.cell.system.home.check()
        nursery = self._life.room()
        if nursery is None or self._life.said_goodbye:
            raise RuntimeError("an actor that is stopping sets no timers")
        self.cancel(timer.key)
        self._timers[timer.key] = timer
        nursery.start_soon(self._run, timer, seconds, name=f"timer {shown(timer.key)}")

    async def _run(self, timer: Timer, seconds: float) -> None:
        due = trio.current_time() + seconds
        with timer.scope:
            while True:
                await trio.sleep_until(due)
                if timer not in self._due:
                    self._due[timer] = None
                    self._life.wake()
                if timer.period is None:
                    return
                due = next_beat(due, timer.period, trio.current_time())

    @property
    def are_due(self) -> bool:
        """Whether there are timers whose message is to be handled."""
        return bool(self._due)

    def collect(self) -> object:
        """Take the message of the timer that is due longest; one that fires once is done."""
        timer = next(iter(self._due))
        del self._due[timer]
        if timer.period is None:
            del self._timers[timer.key]
        return timer.message


def next_beat(due: float, period: float, now: float) -> float:
    """Return the first beat after ``due`` that is still to come: those that were missed are not made up for."""
    beat = due + period
    return beat if beat > now else now + period - math.fmod(now - due, period)
