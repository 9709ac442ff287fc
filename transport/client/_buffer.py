"""The events between the socket and the application: each once, in order, bounded.

The buffer knows two positions. *Received* is what the next ``resume`` asks to go on after; *applied* moves as the
application takes events, and is what an application may persist. Between them lie the events that wait here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from actors.events.decoding import decode_event
from actors.events.types import Event, Position
from transport.client._frames import Reset
from transport.errors import ServerBrokeProtocol

if TYPE_CHECKING:
    from transport.client._frames import Welcome


class GapError(Exception):
    """An event is missing: ``seq`` came where an earlier one was due. The connection is to be dropped and resumed.

    It never leaves the client.
    """


class _Waiting(NamedTuple):
    item: Event | Reset
    position: Position
    size: int


@attrs.define
class EventBuffer:
    """Events that arrived and were not taken; full at ``max_events`` of them or ``max_bytes`` of wire text.

    It may hold one message more than that: a message is taken as a whole. What arrives while it :attr:`skipping` is not
    kept: the server's log has it, and a later resume brings it.
    """

    max_events: int
    max_bytes: int
    received: Position | None
    applied: Position | None
    skipping: bool = attrs.field(default=False, init=False)
    missed: bool = attrs.field(default=False, init=False)
    """Whether something was not kept: the connection must be resumed before more can be."""
    duplicates: int = attrs.field(default=0, init=False)
    skipped: int = attrs.field(default=0, init=False)
    _waiting: deque[_Waiting] = attrs.field(factory=deque[_Waiting], init=False)
    _size: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether either bound is reached."""
        return len(self._waiting) >= self.max_events or self._size >= self.max_bytes

    @property
    def roomy(self) -> bool:
        """Whether at least half of both bounds is free: worth a reconnect."""
        return len(self._waiting) * 2 <= self.max_events and self._size * 2 <= self.max_bytes

    def attach(self, welcome: Welcome, *, latest: bool) -> Reset | None:
        """Begin a connection's stream where its welcome says; the reset that was put in the stream, if it was.

        ``latest`` is whether ``hello`` asked for what is new only. Events that wait from before a reset stay: they were
        true, and where the log was trimmed they can be had nowhere else.
        """
        self.skipping = self.missed = False
        known = self.received
        if welcome.recovered:
            if known is None or known.epoch != welcome.epoch:
                raise ServerBrokeProtocol(reason="recovered a position that was not asked for")
            return None
        from_latest = latest and known is None
        self.received = Position(welcome.epoch, welcome.latest if from_latest else welcome.oldest - 1)
        if known is None:
            self.applied = self.received
            return None
        reset = Reset(welcome.reset or "unknown")
        self._waiting.append(_Waiting(reset, self.received, 0))
        return reset

    def add(self, events: list[Any], size: int) -> int:
        """Append those of a message's events that are new; how many were. ``size`` is the message's length.

        Raises :class:`GapError` at the first event that is too far on (those before it are kept), and
        :class:`ServerBrokeProtocol` at one that is none.
        """
        if self.skipping:
            self.skipped += len(events)
            self.missed = self.missed or bool(events)
            return 0
        share = size // max(len(events), 1)
        return sum(self._add(event, share) for event in events)

    def _add(self, obj: Any, size: int) -> bool:
        last = self.received
        if last is None:
            raise ServerBrokeProtocol(reason="events before a welcome")
        event = _decode(obj)
        if event.seq <= last.seq:
            self.duplicates += 1
            return False
        if event.seq > last.seq + 1:
            raise GapError(f"{event.seq} came after {last.seq}")
        self.received = Position(last.epoch, event.seq)
        self._waiting.append(_Waiting(event, self.received, size))
        self._size += size
        return True

    def take(self) -> Event | Reset | None:
        """Hand the oldest item to the application, whose position moves past it; None if nothing waits."""
        if not self._waiting:
            return None
        item, self.applied, size = self._waiting.popleft()
        self._size -= size
        return item


def _decode(obj: Any) -> Event:
    if not isinstance(obj, dict):
        raise ServerBrokeProtocol(reason="an event that is not an object")
    try:
        return decode_event(obj)  # pyright: ignore[reportUnknownArgumentType]  parsed JSON: its keys are strings
    except ValueError as error:
        raise ServerBrokeProtocol(reason=str(error)) from error


def decode_all(objects: list[Any]) -> tuple[Event, ...]:
    """Decode a page of history. Raises :class:`ServerBrokeProtocol`."""
    return tuple(_decode(obj) for obj in objects)
