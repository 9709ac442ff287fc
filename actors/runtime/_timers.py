"""Timers of an actor: messages that it sends later, to itself or to another actor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast, overload

import attrs
import trio

from actors.checks import check_seconds
from actors.errors import ActorTerminated, MailboxFull, SpecError
from actors.failures import shown
from actors.runtime._dead_letters import Undelivered
from actors.runtime._idle import IdleWatch
from actors.runtime._idle import Owner as IdleOwner
from actors.runtime._ref import cell_of
from actors.runtime._typed import ChildMessageT, Defaults, Message_contra

if TYPE_CHECKING:
    from collections.abc import Hashable

    from actors.runtime._mailbox import Mailbox
    from actors.runtime._ref import ActorRef


class Owner(IdleOwner, Protocol):
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


class Target(Protocol):
    """Another actor that gets the messages of a timer."""

    @property
    def mailbox(self) -> Mailbox:
        """Mailbox of the actor."""
        ...

    def discard(self, item: object, why: Undelivered) -> None:
        """Turn a message to the actor into a dead letter."""
        ...

    def drop_failed(self, item: object, error: Exception, cause: BaseException | None) -> None:
        """Turn a message to the actor into a dead letter with a cause, and count it as failed."""
        ...


@attrs.frozen(eq=False)
class Timer:
    """One timer that was set. If a timer with the same key is set again, a new Timer object is made."""

    key: Hashable
    message: object
    period: float | None
    """Seconds between two messages; None for a timer that fires once."""
    target: Target | None
    """Actor that gets the messages; None if that is the actor that set the timer."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Timers(Defaults, Generic[Message_contra]):
    """The timers of an actor. All of them end when the actor ends or is restarted, even timers that are due.

    The message of a due timer is handled before the messages in the mailbox, and needs no room in the mailbox. After
    each timer message, one message of the mailbox is handled, if there is any. If the actor is too slow for a periodic
    timer, the timer skips messages: a timer has at most one message that waits to be handled.

    A message to another actor (``to=…``) goes into that actor's mailbox, as by a ``tell``. If the mailbox is full, its
    overflow policy decides. If the policy is to wait, this one message waits for room, and the timer skips messages
    meanwhile. No other timer and no message of this actor waits. A message that is refused is a dead letter: that actor
    has ended or is stopping, or its mailbox is full and its policy is ``reject``.
    """

    __slots__ = ("_due", "_owner", "_timers", "idle")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._timers: dict[Hashable, Timer] = {}
        self._due: dict[Timer, None] = {}
        """The due timers with a message that was not handled yet, oldest first."""
        self.idle: IdleWatch | None = None
        """Watch over the actor's idle time; None if the actor has asked for none."""

    @overload
    def once(self, key: Hashable, message: Message_contra, seconds: float) -> None: ...

    @overload
    def once(
        self, key: Hashable, message: ChildMessageT, seconds: float, *, to: ActorRef[ChildMessageT, Any]
    ) -> None: ...

    def once(self, key: Hashable, message: object, seconds: float, *, to: ActorRef[Any, Any] | None = None) -> None:
        """Send ``message`` once, after ``seconds`` seconds, to this actor or to the actor of ``to``.

        If a timer of the same key is set, it is cancelled, and its message is dropped.

        Args:
            key: Name of the timer.
            message: The message.
            seconds: Seconds until the message is sent, 0 or more.
            to: Handle of another actor, which gets the message in its mailbox.

        Raises:
            SpecError: ``seconds`` is no time, ``key`` is not hashable, or ``to`` is no handle.
            RuntimeError: The actor is stopping, or this is not the trio run of its system.
        """
        check_seconds(seconds, "seconds")
        self._set(Timer(key, message, None, _target(to)), seconds)

    @overload
    def every(self, key: Hashable, message: Message_contra, seconds: float) -> None: ...

    @overload
    def every(
        self, key: Hashable, message: ChildMessageT, seconds: float, *, to: ActorRef[ChildMessageT, Any]
    ) -> None: ...

    def every(self, key: Hashable, message: object, seconds: float, *, to: ActorRef[Any, Any] | None = None) -> None:
        """Send ``message`` again and again, every ``seconds`` seconds, to this actor or to the actor of ``to``.

        If a timer of the same key is set, it is cancelled, and its message is dropped.

        Args:
            key: Name of the timer.
            message: The message.
            seconds: Seconds until the first message, and between two messages. More than 0.
            to: Handle of another actor, which gets the messages in its mailbox.

        Raises:
            SpecError: ``seconds`` is no time or 0, ``key`` is not hashable, or ``to`` is no handle.
            RuntimeError: The actor is stopping, or this is not the trio run of its system.
        """
        check_seconds(seconds, "seconds")
        if seconds == 0:  # such a timer would always be due
            raise SpecError("seconds of a period must be more than 0")
        self._set(Timer(key, message, seconds, _target(to)), seconds)

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
        nursery = self._open_nursery()
        self.cancel(timer.key)
        self._timers[timer.key] = timer
        nursery.start_soon(self._run, timer, seconds, name=f"timer {shown(timer.key)}")

    def _open_nursery(self) -> trio.Nursery:
        self._owner.check_place()
        nursery = self._owner.open_nursery()
        if nursery is None or self._owner.stopping_begun:
            raise RuntimeError("an actor that is stopping sets no timers")
        return nursery

    async def _run(self, timer: Timer, seconds: float) -> None:
        """Wait until the timer is due, then wake the actor. If the timer has a period, repeat this."""
        due = trio.current_time() + seconds
        with timer.scope:
            while True:
                await trio.sleep_until(due)
                if timer.target is not None:
                    await _send(timer.message, timer.target)
                elif timer not in self._due:  # else the actor has not handled the last beat: skip this one
                    self._due[timer] = None
                    self._owner.wake()
                if timer.period is None:
                    break
                due = next_beat(due, timer.period, trio.current_time())
        if timer.target is not None and self._timers.get(timer.key) is timer:
            del self._timers[timer.key]

    def set_idle(self, seconds: float) -> None:
        """Watch over the actor's idle time, or with 0 end that watch: see :meth:`Context.idle_after`."""
        idle = self.idle
        if not seconds:
            if idle is not None:
                idle.scope.cancel()
            self.idle = None
        elif idle is not None:
            idle.seconds = seconds
            idle.begin()
        else:
            nursery = self._open_nursery()
            self.idle = IdleWatch(self._owner, seconds)
            nursery.start_soon(self.idle.run, name="idle time")

    def count(self) -> int:
        """Return the number of timers that are set. The one of the idle time is included."""
        return len(self._timers) + (self.idle is not None)

    @property
    def are_due(self) -> bool:
        """Whether the message of a due timer waits to be handled, or an Idle message."""
        return bool(self._due) or (self.idle is not None and self.idle.is_due)

    def collect(self) -> object:
        """Return the message of the timer that became due first. If the timer does not repeat, remove it.

        If only the idle time is over, return an Idle message.
        """
        if not self._due and self.idle is not None:
            return self.idle.take()
        timer = next(iter(self._due))
        del self._due[timer]
        if timer.period is None:
            del self._timers[timer.key]
        return timer.message


def _target(to: ActorRef[Any, Any] | None) -> Target | None:
    """Return the actor of a handle. Raises SpecError if it is no handle, and RuntimeError if it is of another run."""
    if to is None:
        return None
    target = cast("Target", cell_of(to))
    target.mailbox.home.check()
    return target


async def _send(message: object, target: Target) -> None:
    """Put a timer's message into the mailbox of another actor, as a tell does. A refused message is a dead letter."""
    try:
        await target.mailbox.put(message)
    except ActorTerminated:
        target.discard(message, Undelivered.TERMINATED)
    except MailboxFull:
        target.mailbox.dropped += 1
        target.discard(message, Undelivered.OVERFLOW)
    except Exception as error:  # noqa: BLE001  -- whatever the key function of a pool raises: it is not this actor's
        target.drop_failed(message, error, error)


def next_beat(due: float, period: float, now: float) -> float:
    """Return the next due time of a periodic timer: the first beat that is later than both ``due`` and ``now``."""
    beat = due + period  # exact as long as the actor keeps up: the beats do not drift
    return beat if beat > now else now + period - math.fmod(now - due, period)
