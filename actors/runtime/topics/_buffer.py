"""The bounded buffer of one subscriber: the events that wait for it, and the number of events that it missed."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import attrs

from actors.checks import check_count, check_kind

DEFAULT_BUFFER = 256
"""Maximum number of events that wait for one subscriber, if the subscriber does not say otherwise."""


def check_topic(topic: object) -> None:
    """Raise SpecError unless ``topic`` is a text or None."""
    if topic is not None:
        check_kind("topic", topic, str, "a text")


@attrs.frozen
class EventStreamStatistics:
    """The state of one subscriber's stream of events."""

    size: int
    """Maximum number of events in the stream."""
    depth: int
    """Number of events that wait in the stream now."""
    missed: int
    """Number of events that were dropped because the reader was slow."""


class EventBuffer:
    """The events that wait for one subscriber. When the buffer is full, each new event replaces the oldest one."""

    __slots__ = ("events", "kind", "missed", "size", "topic")

    def __init__(self, kind: type[Any], topic: str | None, size: int) -> None:
        check_kind("kind", kind, type, "a class")
        check_topic(topic)
        check_count(size, 1, "buffer")
        self.kind = kind
        """Class of the events. Events of its subclasses are included."""
        self.topic = topic
        """Topic of the events; None for events that were published without a topic."""
        self.size = min(size, sys.maxsize)  # a deque refuses a larger ``maxlen``
        self.events: deque[Any] = deque(maxlen=self.size)
        self.missed = 0
        """Number of events that were dropped because the subscriber was slow."""

    def put(self, event: object) -> bool:
        """Append an event. If the buffer is full, drop its oldest event, and return False."""
        has_room = len(self.events) < self.size
        self.missed += not has_room
        self.events.append(event)
        return has_room

    def statistics(self) -> EventStreamStatistics:
        """Return the current statistics of the buffer."""
        return EventStreamStatistics(self.size, len(self.events), self.missed)
