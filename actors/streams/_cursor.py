"""Cursors (a reader's position in a session's events), their listeners, and their feeds (the events to read)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence


class SessionEnding(StrEnum):
    """The reason why a session ended, as its listeners get it."""

    SHUTDOWN = "shutdown"
    """The session was stopped, because the server stops."""
    CRASHED = "crashed"
    """The session failed, or the listener that gets this reason failed."""
    CLOSED = "closed"
    """The session was closed permanently."""
    MOVED = "moved"
    """The session goes on, at another server of the cluster or at this one: attach again at the same position."""
    SUSPENDED = "suspended"
    """This server has been cut off from its cluster for too long to wait. Another server may have the session."""


class Listener(Protocol):
    """The interface of a listener: a session calls these methods to notify the owner of a cursor.

    The methods must not wait: they are called in the middle of other work. A listener that raises is detached, gets
    :meth:`on_ended` with ``crashed``, and is not called again. Other listeners are not affected.
    """

    def on_events(self) -> None:
        """Handle the news that the session has new committed events. Called once per commit, not once per event."""

    def on_signal(self, name: str, data: bytes) -> None:
        """Handle a signal: a short message to clients that is not stored. ``data`` is JSON text."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Handle the end of the session. No method of the listener is called after this.

        The events that were committed before the end can still be read until the owner detaches the cursor.
        """


class SliceOfLines(Protocol):
    """The type of a function that returns event lines from memory."""

    def __call__(self, after: int, until: int, /) -> Sequence[bytes]:
        """Return the lines with seq ``after + 1`` to ``until``. All of them must be in memory."""
        ...


class Feed(Protocol):
    """The interface through which a cursor (a reader's position in a session) reads committed events.

    :class:`~actors.streams._stream.SessionStream` is the feed of a session in this process. Another class can implement
    a feed for a session of another process.
    """

    @property
    def committed_seq(self) -> int:
        """Seq of the session's newest committed event."""
        ...

    @property
    def oldest_in_memory(self) -> int:
        """Lowest seq in memory, which :meth:`slice` can return. If no event is in memory, the seq of the next event."""
        ...

    @property
    def slice(self) -> SliceOfLines:
        """The function that returns event lines from memory.

        This is a property and not a method, for speed. The cursor gets a function of the ring (the events in memory),
        and calls this function directly.
        """
        ...

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read committed lines with a seq above ``after`` from the log: up to ``limit`` lines, about ``size`` bytes."""
        ...

    def detach(self, cursor: Cursor) -> None:
        """Stop notifying the listener of ``cursor``. Idempotent."""

    def adopt(self, cursor: Cursor) -> None:
        """Notify the listener of ``cursor`` from now on."""


class Cursor:
    """A reader's position in the events of a session. Through a cursor, new and older events are read in the same way.

    The caller that attached the cursor must :meth:`detach` it. A cursor holds no events: a slow reader costs no memory.
    """

    __slots__ = ("__weakref__", "_feed", "listener", "position")

    def __init__(self, feed: Feed, listener: Listener, position: int) -> None:
        self._feed = feed
        self.listener = listener
        self.position = position
        """Seq of the last event that the reader took. The next event has the seq ``position + 1``."""

    @property
    def waiting(self) -> int:
        """Number of committed events of the session that the reader has not taken yet."""
        return self._feed.committed_seq - self.position

    @property
    def behind(self) -> bool:
        """Whether the next event is no longer in memory. Then :meth:`take` returns nothing: call :meth:`fetch`."""
        return self.position + 1 < self._feed.oldest_in_memory and self.waiting > 0

    @property
    def detached(self) -> bool:
        """Whether the cursor was detached from its session by :meth:`detach`."""
        return type(self._feed) is _DetachedFeed

    def take(self, max_events: int, max_bytes: int) -> Sequence[bytes]:
        """Return the next committed lines from memory and advance :attr:`position`. This never waits.

        Return an empty sequence if nothing is new, or if the next line is no longer in memory (:attr:`behind`).

        Args:
            max_events: Maximum number of lines.
            max_bytes: Maximum size of all lines, each counted with one separator byte. A first line that is larger is
                returned alone.
        """
        # Written without the properties `waiting` and `behind`, for speed: this runs for each batch of each client.
        feed = self._feed
        until = min(feed.committed_seq, self.position + max_events)
        if until <= self.position or self.position + 1 < feed.oldest_in_memory:
            return ()
        lines = feed.slice(self.position, until)
        # Nearly always all of them fit, which this line finds without a loop in Python.
        if sum(map(len, lines)) + len(lines) > max_bytes:
            lines = _within(lines, max_bytes)
        self.position += len(lines)
        return lines

    async def fetch(self, max_events: int, max_bytes: int) -> Sequence[bytes]:
        """Read the next committed lines from the log and advance :attr:`position`.

        Return an empty sequence if the cursor was detached meanwhile.

        Args:
            max_events: As in :meth:`take`.
            max_bytes: As in :meth:`take`.

        Raises:
            Trimmed: The log no longer has the next event.
            LogError: The log could not be read.

        Cancellation:
            The position is not changed.
        """
        feed = self._feed
        while True:
            lines = await feed.read(self.position, max_events, max_bytes)
            if feed is self._feed:
                break
            feed = self._feed
            # The cursor was detached while the log was read: its owner must get nothing more.
            if type(feed) is _DetachedFeed:
                return ()
        lines = _within(lines, max_bytes)
        self.position += len(lines)
        return lines

    def take_over(self, other: Cursor) -> None:
        """Continue at the present position in the feed of ``other``, with its listener. This detaches ``other``.

        The feed must have the events of this cursor's feed.
        """
        self._feed, self.listener = other._feed, other.listener
        self._feed.adopt(self)
        other.detach()

    def detach(self) -> None:
        """End the cursor: its listener gets no more notifications, and no more events can be read. Idempotent.

        The cursor also releases its listener and the session. After the end of its session a cursor gets no
        notifications, but the committed events can still be read through it, until it is detached.
        """
        self._feed.detach(self)
        # An owner may keep a detached cursor, which must not keep the session's ring, megabytes, in memory.
        self._feed, self.listener = _DetachedFeed(self.position), NO_LISTENER


class _NoListener:
    """A listener that ignores all notifications."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: SessionEnding) -> None: ...


NO_LISTENER = _NoListener()
"""The listener of a detached cursor, and of a cursor that is only asked for its position."""


class _DetachedFeed:
    """The feed of a detached cursor: a feed without further events."""

    __slots__ = ("committed_seq",)

    oldest_in_memory = 0  # a detached cursor is never behind

    def __init__(self, position: int) -> None:
        self.committed_seq = position

    def slice(self, after: int, until: int, /) -> Sequence[bytes]:
        del after, until
        return ()

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return no lines, after a checkpoint, because the cursor is detached."""
        del after, limit, size
        await trio.lowlevel.checkpoint()
        return ()

    def detach(self, cursor: Cursor) -> None: ...
    def adopt(self, cursor: Cursor) -> None: ...


def _within(lines: Sequence[bytes], max_bytes: int) -> Sequence[bytes]:
    """Return the first lines that fit into ``max_bytes`` together, counting a separator byte for each line.

    At least one line is returned.
    """
    total = 0
    for count, text in enumerate(lines):
        total += len(text) + 1
        if total > max_bytes:  # the line at `count` does not fit any more
            return lines[: max(1, count)]
    return lines


class Readers(ABC):
    """The base class of feeds: the cursors that are attached to a feed. A subclass sets the other attributes."""

    __slots__ = ("committed_seq", "cursors", "oldest_in_memory", "slice")

    committed_seq: int
    oldest_in_memory: int
    slice: SliceOfLines

    def __init__(self) -> None:
        self.cursors: dict[Cursor, None] = {}
        """The attached cursors (readers), in the order in which they were attached."""

    def attach(self, listener: Listener, position: int) -> Cursor:
        """Attach a listener, and return its cursor, by which the events after ``position`` are read.

        The caller must detach the cursor in the end.
        """
        cursor = Cursor(self, listener, position)
        self.cursors[cursor] = None
        return cursor

    def detach(self, cursor: Cursor) -> None:
        """Stop notifying the listener of ``cursor``. Called by :meth:`Cursor.detach`. Idempotent."""
        self.cursors.pop(cursor, None)

    def adopt(self, cursor: Cursor) -> None:
        """Notify the listener of ``cursor`` from now on. Called by :meth:`Cursor.take_over`."""
        self.cursors[cursor] = None

    @abstractmethod
    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read committed lines with a seq above ``after`` from the log; see :meth:`Feed.read`."""
