"""A subscription: the committed events of a session as an async iterator of batches.

This is the reading loop that every way of delivery needs: take from memory, read the log when the reader has fallen
behind, wait when nothing is new, and stop with a reason. Server-sent events, AG-UI and other protocols add a format::

    subscription = Subscription()
    attachment = await sessions.attach(user, session, Attach(connection, subscription, resume=position))
    with subscription.follow(attachment.cursor):
        async for lines in subscription:
            await send(lines)
        print(subscription.end)  # SubscriptionEnd.CLOSED, say
    attachment.detach()
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Self

import trio

from actors.errors import Trimmed
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.streams._cursor import Cursor, SessionEnding

MAX_EVENTS = 256
"""Default maximum number of lines (events) in a batch that a subscription returns."""

MAX_BYTES = 256 * 1024
"""Default maximum size of a batch that a subscription returns, in bytes."""


class SubscriptionEnd(StrEnum):
    """The reason why a subscription to a session's events has ended and returns no more batches."""

    DETACHED = "detached"
    """The owner has detached the subscription."""
    SHUTDOWN = "shutdown"
    """The session was stopped; all its committed events were returned."""
    CRASHED = "crashed"
    """The session failed; all its committed events were returned."""
    CLOSED = "closed"
    """The session was closed permanently; all its committed events were returned."""
    MOVED = "moved"
    """The session goes on at another server, or again at this one: attach again with the same position."""
    SUSPENDED = "suspended"
    """This server has been cut off from its cluster for too long."""
    TRIMMED = "trimmed"
    """The reader was too slow: the log no longer has the event that the subscription must return next."""


class Subscription:
    """An async iterator over the committed events of a session, in batches of encoded lines.

    A subscription is the listener of its cursor: attach the subscription to a session, and pass the cursor to
    :meth:`follow`. One task iterates at a time. The contract:

    - Lines (encoded events) come in order of seq, each once, without a gap. A batch is never empty.
    - A batch comes from memory, or from the log if the reader has fallen behind. A slow reader costs no memory.
    - When the session ends, the batches up to its last committed event come first, and then the iteration stops.
      :attr:`end` is the reason.
    - If the log cannot be read, the iteration raises the error, but the subscription does not end: iterate again.

    Signals are ignored. A subclass can override :meth:`on_signal`, which must not wait.

    Args:
        max_events: Maximum number of lines in a batch.
        max_bytes: Maximum size of a batch, one separator byte for each line included. A line that is larger comes
            alone.
    """

    def __init__(self, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._cursor: Cursor | None = None
        self._session_end: SubscriptionEnd | None = None
        self._news = Wakeup()
        self.end: SubscriptionEnd | None = None
        """The reason why the subscription has ended; None while it has not ended."""

    @property
    def position(self) -> int:
        """Seq of the last event that the subscription returned. A new subscription can continue at this seq."""
        return self._require_cursor().position

    def follow(self, cursor: Cursor) -> Self:
        """Begin to read events from ``cursor``. This subscription must be the cursor's listener. Call this only once.

        The owner must :meth:`detach` the subscription in the end, or use it in a ``with`` block, which detaches it.
        """
        if self._cursor is not None:
            raise RuntimeError("the subscription follows a cursor already: make one for each cursor")
        self._cursor = cursor
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """End the subscription with the reason ``detached``, unless it has ended already. Never waits. Idempotent.

        A task that waits for the next batch is woken, and its iteration stops.
        """
        if self._cursor is not None:
            self._cursor.detach()
        self._stop(SubscriptionEnd.DETACHED)
        # The session no longer notifies a detached listener, so a task that waits is woken here.
        self._news.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[bytes]:
        """Wait for the next batch and return it. Always a checkpoint.

        Raises:
            StopAsyncIteration: The subscription has ended; :attr:`end` is the reason.
            LogError: The log could not be read. Nothing was lost, and the iteration can continue.

        Cancellation:
            Nothing is lost: the next call returns the batch that the cancelled call would have returned.
        """
        # If the batch is in memory, this is the only checkpoint. It is before the batch is taken, so that a
        # cancellation loses nothing.
        await trio.lowlevel.checkpoint()
        while self.end is None:
            lines = await self._next_lines()
            if lines:
                return lines
        raise StopAsyncIteration

    async def _next_lines(self) -> Sequence[bytes]:
        """Return the next batch of lines (encoded events), from memory or from the log.

        If no event is left, wait for the next event or end the subscription, and then return an empty batch.
        """
        cursor = self._require_cursor()
        lines = cursor.take(self._max_events, self._max_bytes)
        if lines:
            return lines
        if cursor.behind:
            try:
                return await cursor.fetch(self._max_events, self._max_bytes)
            except Trimmed:
                self._stop(SubscriptionEnd.TRIMMED)
                return ()
        # Nothing is left to read. Only now does the end of the session end the subscription.
        if self._session_end is not None:
            self._stop(self._session_end)
        elif cursor.detached:
            self._stop(SubscriptionEnd.DETACHED)
        else:
            await self._news.wait()
        return ()

    # The session notifies its listener

    def on_events(self) -> None:
        """Wake the task that iterates over the subscription. The session calls this after each commit of its events."""
        self._news.wake()

    def on_signal(self, name: str, data: bytes) -> None:
        """Ignore a signal of the session. A subclass can override this method."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Store the reason why the session ended. The subscription ends when all committed events were returned."""
        self._session_end = SubscriptionEnd(reason)
        self._news.wake()

    def _stop(self, end: SubscriptionEnd) -> None:
        """End the subscription for the reason ``end``. If this is called more than once, the first reason counts."""
        if self.end is None:
            self.end = end

    def _require_cursor(self) -> Cursor:
        if self._cursor is None:
            raise RuntimeError("the subscription has no cursor yet: attach it to a session and call follow()")
        return self._cursor
