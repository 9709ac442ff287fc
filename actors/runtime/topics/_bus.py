"""The event bus of a system: it delivers each published event to the subscribers of the event's classes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from actors.loop.stack import require_room
from actors.runtime.topics._buffer import DEFAULT_BUFFER, check_topic
from actors.runtime.topics._stream import EventStream

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from actors.runtime._home import Home

EventT = TypeVar("EventT")

PUBLISH_FRAMES = 32
"""Number of nested calls that a publish needs on the stack, down to trio's scheduler."""


class Subscriber(Protocol):
    """One subscription, as the bus uses it."""

    @property
    def kind(self) -> type[Any]:
        """Class of the events. Events of its subclasses are included."""
        ...

    @property
    def topic(self) -> str | None:
        """Topic of the events; None for events that were published without a topic."""
        ...

    @property
    def reader(self) -> Hashable:
        """Reader of the events. An event is delivered once to each reader, even if it has several subscriptions."""
        ...

    def deliver(self, event: object) -> None:
        """Store an event for the subscriber, and wake it. Never waits."""
        ...

    def close(self) -> None:
        """Receive the notice that no more events come: the system has ended."""
        ...


@attrs.frozen
class EventBusStatistics:
    """The state of a system's event bus."""

    published: int
    """Number of events that were published by ``publish``, since the system was opened."""
    topics: int
    """Number of named topics that have a subscriber now."""
    subscriptions: int
    """Number of subscriptions now, of actors and of other code."""


class Demand:
    """A flag that tells whether some subscriber wants events of one class. Events without demand need not be made."""

    __slots__ = ("exists", "kind")

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.exists = False

    def update(self, kinds: Iterable[type[Any]]) -> None:
        """Compute the flag again, from the classes that have a subscriber."""
        own = self.kind.__mro__
        self.exists = any(kind in own or self.kind in kind.__mro__ for kind in kinds)


_Table = dict[type[Any], dict[Subscriber, None]]


class EventBus:
    """Events between actors: ``system.events``. It has no public constructor.

    An event is any object. It is delivered to the subscribers of its class and of the base classes. A topic is a text
    by which events are kept apart: an event that is published to a topic reaches only the subscribers of that topic.
    A publisher never waits. A subscriber that is too slow misses the oldest events, and is told how many.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._tables: dict[str | None, _Table] = {}
        self._demands: list[Demand] = []
        self._is_open = True
        self._published = 0

    def publish(self, event: object, topic: str | None = None) -> None:
        """Deliver an event to its subscribers, without waiting. If there are none, nothing happens.

        Subscribers receive the events of one publisher in the order of these calls.

        Args:
            event: The event. All subscribers receive the same object: it must not be changed afterwards.
            topic: Name of the topic.

        Raises:
            SpecError: ``topic`` is no text.
            RuntimeError: This is not the trio run of the system. In a thread, use ``trio.from_thread.run_sync``.
        """
        self._home.check()
        check_topic(topic)
        table = self._tables.get(topic)
        if table:
            require_room(PUBLISH_FRAMES)
            self._deliver(event, table)
        self._published += 1

    def subscribe(
        self, kind: type[EventT], *, topic: str | None = None, buffer: int = DEFAULT_BUFFER
    ) -> EventStream[EventT]:
        """Return a stream of events: ``with events.subscribe(Order) as orders: async for …``.

        It is for code that is no actor. An actor calls :meth:`Context.subscribe`.

        Args:
            kind: Class of the events. Events of its subclasses are included; ``object`` stands for all events.
            topic: Name of a topic. None: the events that are published without a topic.
            buffer: Maximum number of events that wait for the reader.

        Raises:
            SpecError: An argument is invalid.
        """
        return EventStream(self, kind, topic, buffer)

    def statistics(self) -> EventBusStatistics:
        """Return the current statistics of the bus."""
        counts = [len(subscribers) for table in self._tables.values() for subscribers in table.values()]
        return EventBusStatistics(self._published, len(self._tables.keys() - {None}), sum(counts))

    # For the runtime itself

    def demand(self, kind: type[Any]) -> Demand:
        """Return a flag that tells, from now on, whether some subscriber wants events of the class ``kind``."""
        demand = Demand(kind)
        self._demands.append(demand)
        return demand

    def deliver(self, event: object) -> None:
        """Deliver an event of the runtime itself to its subscribers."""
        table = self._tables.get(None)
        if table:
            self._deliver(event, table)

    def add(self, subscriber: Subscriber) -> None:
        """Deliver events to ``subscriber`` from now on. If the system has ended, close the subscriber at once."""
        self._home.check()
        if not self._is_open:
            subscriber.close()
            return
        table = self._tables.setdefault(subscriber.topic, {})
        table.setdefault(subscriber.kind, {})[subscriber] = None
        self._update(subscriber.topic)

    def remove(self, subscriber: Subscriber) -> None:
        """Deliver no more events to ``subscriber``. If it is not subscribed, nothing happens."""
        table = self._tables.get(subscriber.topic, {})
        subscribers = table.get(subscriber.kind, {})
        subscribers.pop(subscriber, None)
        if not subscribers:
            table.pop(subscriber.kind, None)
        if not table:
            self._tables.pop(subscriber.topic, None)
        self._update(subscriber.topic)

    def close(self) -> None:
        """End all subscriptions: the system has ended."""
        self._is_open = False
        tables, self._tables = self._tables, {}
        self._update(None)
        for table in tables.values():
            for subscribers in table.values():
                for subscriber in subscribers:
                    subscriber.close()

    def _update(self, topic: str | None) -> None:
        if topic is None:
            for demand in self._demands:
                demand.update(self._tables.get(None, {}))

    @staticmethod
    def _deliver(event: object, table: _Table) -> None:
        readers: dict[Hashable, Subscriber] = {}
        # By type(): a class can define what its instances' __class__ is.
        for kind in type(event).__mro__:
            for subscriber in table.get(kind, ()):
                readers.setdefault(subscriber.reader, subscriber)
        for subscriber in readers.values():
            # At the end of the stack the event is stored, and its subscriber is woken by the next one.
            with contextlib.suppress(RecursionError):
                subscriber.deliver(event)
