"""Dead letters: messages that were not handled. They are counted, and published as events."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeAlias

import attrs

from actors.runtime.topics._stream import EventStream

if TYPE_CHECKING:
    from actors.runtime.topics._bus import EventBus


class Undelivered(enum.StrEnum):
    """The reason why a message was not handled and became a dead letter."""

    TERMINATED = "terminated"
    """The actor ended before it handled the message."""
    OVERFLOW = "overflow"
    """The mailbox was full, and its overflow policy dropped the message."""
    FAILED = "failed"
    """The actor failed while it handled the message; ``cause`` is the exception."""
    LATE_REPLY = "late_reply"
    """The message is the reply to an ask, and the caller no longer waits."""
    UNHANDLED = "unhandled"
    """The actor returned UNHANDLED for the message."""


@attrs.frozen
class DeadLetter:
    """A message that was not handled. ``system.events`` publishes each of them."""

    message: object
    path: str
    """Path of the actor to which the message was sent.

    If the message is a late reply, the path of the actor that replied.
    """
    why: Undelivered
    cause: BaseException | None = None
    """Exception with which the actor failed; None if the actor did not fail."""


DeadLetters: TypeAlias = EventStream[DeadLetter]
"""A stream of dead letters for one subscriber."""


class DeadLetterOffice:
    """The object that counts a system's dead letters, and publishes them as events."""

    __slots__ = ("_demand", "_events", "count")

    def __init__(self, events: EventBus) -> None:
        self.count = 0
        self._events = events
        self._demand = events.demand(DeadLetter)

    def publish(self, message: object, path: str, why: Undelivered, cause: BaseException | None = None) -> None:
        """Count a dead letter, and publish it.

        A DeadLetter on which a subscriber failed becomes no dead letter: two such subscribers would never end.
        """
        if type(message) is DeadLetter:
            return
        self.count += 1
        # Without a subscriber, dead letters are only counted.
        if self._demand.exists:
            self._events.deliver(DeadLetter(message, path, why, cause))
