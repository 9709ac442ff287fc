"""The subscriptions of one actor, and the events that wait to be handled by it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from actors.runtime.topics._buffer import EventBuffer

if TYPE_CHECKING:
    from actors.runtime.topics._bus import EventBus


@attrs.frozen
class EventsMissed:
    """The message that tells an actor how many events it missed, because its buffer for them was full.

    The actor receives it at the place of the missing events: before the next event of the same subscription.
    """

    kind: type[Any]
    """Class of the subscription."""
    topic: str | None
    """Topic of the subscription; None for events that were published without a topic."""
    count: int
    """Number of events that the actor missed since it was last told."""


class Owner(Protocol):
    """The incarnation (an actor's life between two restarts) that subscribes to events."""

    def wake(self) -> None:
        """Wake the actor, so that it handles a stop, a kill, Terminated messages, timers and events."""
        ...


class Subscription(EventBuffer):
    """One subscription of an actor."""

    __slots__ = ("reader", "untold")

    def __init__(self, lane: EventLane, kind: type[Any], topic: str | None, size: int) -> None:
        super().__init__(kind, topic, size)
        self.reader = lane
        self.untold = 0
        """Number of missed events of which the actor has not been told."""

    def deliver(self, event: object) -> None:
        """Store an event for the actor, and wake the actor."""
        self.reader.store(self, event)

    def close(self) -> None:
        """Do nothing: an actor ends before its system."""


class EventLane:
    """The subscriptions of one incarnation (an actor's life between two restarts). Made with the first subscription."""

    __slots__ = ("_bus", "_owner", "_subscriptions", "_turns", "is_next")

    def __init__(self, owner: Owner, bus: EventBus) -> None:
        self._owner = owner
        self._bus = bus
        self._subscriptions: dict[tuple[type[Any], str | None], Subscription] = {}
        self._turns: deque[Subscription] = deque()
        """The subscription of each waiting event, in the order in which the events are handled."""
        self.is_next = False
        """Whether an event is handled before a due timer, because the last one of the two was a timer."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def has_events(self) -> bool:
        """Whether an event waits to be handled."""
        return bool(self._turns)

    def subscribe(self, kind: type[Any], topic: str | None, size: int) -> None:
        """Add a subscription. If the actor has one for that class and topic, nothing happens."""
        subscription = Subscription(self, kind, topic, size)
        if (kind, topic) not in self._subscriptions:
            self._bus.add(subscription)
            self._subscriptions[kind, topic] = subscription

    def unsubscribe(self, kind: type[Any], topic: str | None) -> None:
        """End a subscription, and drop its waiting events. If there is no such subscription, nothing happens."""
        subscription = self._subscriptions.pop((kind, topic), None)
        if subscription is not None:
            self._bus.remove(subscription)
            self._turns = deque(each for each in self._turns if each is not subscription)

    def store(self, subscription: Subscription, event: object) -> None:
        """Store an event of a subscription, and wake the actor."""
        if subscription.put(event):
            self._turns.append(subscription)
        else:
            subscription.untold += 1
        self._owner.wake()

    def take(self) -> object:
        """Remove and return the next event. If events are missing before it, return an EventsMissed first."""
        subscription = self._turns[0]
        if subscription.untold:
            count, subscription.untold = subscription.untold, 0
            return EventsMissed(subscription.kind, subscription.topic, count)
        self._turns.popleft()
        event: object = subscription.events.popleft()
        return event

    def close(self) -> None:
        """End all subscriptions, and drop all waiting events."""
        for subscription in self._subscriptions.values():
            self._bus.remove(subscription)
        self._subscriptions.clear()
        self._turns.clear()
