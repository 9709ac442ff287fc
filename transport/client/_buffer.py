"""The buffer of events between the socket and the application: each event once, in order, with a size limit.

The buffer has two positions. *Received* is the position of the newest event in the buffer: the next ``resume`` asks for
the events after it. *Applied* is the position of the newest event that the application took, and which the application
can store.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from actors.events.types import Event, Position
from transport.errors import ServerBrokeProtocol
from transport.protocol.server_frame_parser import read_event

if TYPE_CHECKING:
    from transport.protocol.server_frames import Welcome


class GapError(Exception):
    """An event is missing: the event ``seq`` arrived before an earlier event. The client must reconnect and resume.

    The client handles this error itself: the application never gets it.
    """


@attrs.frozen
class Reset:
    """The position is lost: discard everything that was built from earlier events, because the stream starts again.

    ``reason`` is ``epoch_changed``, ``trimmed`` or ``ahead``.
    """

    reason: str


class _Entry(NamedTuple):
    item: Event | Reset
    position: Position
    size: int


@attrs.define
class EventBuffer:
    """The events that have arrived and that the application has not taken yet.

    The buffer is full at ``max_events`` events, or at ``max_bytes`` of received text. The buffer can exceed these
    limits by one message, since all events of a message are added together. While :attr:`skipping` is True, the buffer
    adds no events: the server's log has these events, and a later resume brings them.
    """

    max_events: int
    max_bytes: int
    received: Position | None
    applied: Position | None
    skipping: bool = attrs.field(default=False, init=False)
    missed: bool = attrs.field(default=False, init=False)
    """Whether events were skipped. If so, the client must reconnect and resume before the buffer takes more."""
    duplicates: int = attrs.field(default=0, init=False)
    skipped: int = attrs.field(default=0, init=False)
    _entries: deque[_Entry] = attrs.field(factory=deque[_Entry], init=False)
    _size: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether the buffer has reached its limit on events or its limit on bytes."""
        return len(self._entries) >= self.max_events or self._size >= self.max_bytes

    @property
    def roomy(self) -> bool:
        """Whether the buffer is at most half full. The client waits for this before it fetches skipped events."""
        return len(self._entries) * 2 <= self.max_events and self._size * 2 <= self.max_bytes

    def attach(self, welcome: Welcome, *, from_latest: bool) -> Reset | None:
        """Prepare the buffer for a new connection. The events of this connection begin at the position in ``welcome``.

        If the old position is lost, add a :class:`Reset` to the buffer and return it; else return None. ``from_latest``
        is True if ``hello`` asked for new events only. Events from before a reset stay in the buffer for the
        application: these events did happen, and perhaps the server has deleted them since.
        """
        self.skipping = self.missed = False  # this connection brings what was skipped on the last one
        known = self.received
        if welcome.recovered:
            if known is None or known.epoch != welcome.epoch:
                raise ServerBrokeProtocol(reason="recovered a position that was not asked for")
            return None
        # A lost position starts again at the oldest event, even for a client that began at the latest.
        skip_old = from_latest and known is None
        self.received = Position(welcome.epoch, welcome.latest if skip_old else welcome.oldest - 1)
        if known is None:
            self.applied = self.received
            return None
        reset = Reset(welcome.reset or "unknown")
        self._entries.append(_Entry(reset, self.received, 0))
        return reset

    def add(self, events: list[Any], size: int) -> int:
        """Add the new events of a message of ``size`` characters. Return the number of events that were new.

        Raise :class:`GapError` if an event is missing before one of these events. The events before the gap are added.
        Raise :class:`~transport.protocol.client_frames.BadFrame` for a value that is not an event.
        """
        if self.skipping:
            self.skipped += len(events)
            self.missed = self.missed or bool(events)
            return 0
        # The sizes of single events are not known: each counts as an equal share of its message.
        share = size // max(len(events), 1)
        return sum(self._add(event, share) for event in events)

    def _add(self, obj: Any, size: int) -> bool:
        last = self.received
        if last is None:
            raise ServerBrokeProtocol(reason="events before a welcome")
        event = read_event(obj)
        if event.seq <= last.seq:
            self.duplicates += 1
            return False
        if event.seq > last.seq + 1:
            raise GapError(f"{event.seq} came after {last.seq}")
        self.received = Position(last.epoch, event.seq)
        self._entries.append(_Entry(event, self.received, size))
        self._size += size
        return True

    def take(self) -> Event | Reset | None:
        """Remove the oldest event or reset and return it. Return None if there is none.

        The position :attr:`applied` advances to the item that is returned.
        """
        if not self._entries:
            return None
        item, self.applied, size = self._entries.popleft()
        self._size -= size
        return item
