"""Observers: code of the server that gets committed events of all sessions, without a client and without delivery.

An observer has a bounded queue. After each commit the hub (:class:`Observers`) adds the chosen lines to each queue, and
never waits. An event is decoded when its observer takes it. So a slow observer costs only itself: it misses events, and
gets their number.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self, cast

import attrs
import trio

from actors.events.decoding import decode_line
from actors.loop.wakeup import Wakeup
from actors.streams._observed import EventChoice, Lagged, Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actors.eventlog.base import Batch, StreamKey
    from actors.events.types import Event
    from actors.streams._committer import Committer, Source


@attrs.frozen
class ObserversStatistics:
    """Statistics of all observers of a server."""

    observers: int
    """Number of open observers. Each function of ``app.on`` has one."""
    waiting: int
    """Number of events that wait in the queues of observers, all together."""
    missed: int
    """Number of events that observers missed because they were too slow, since the start of the server."""


class _Stream(Protocol):
    @property
    def epoch(self) -> str: ...


class ObservedQueue:
    """The events that wait for one observer, as lines. Beyond a limit the oldest are dropped, and counted.

    This class knows no event loop: ``on_news`` is called when there is something to take, and must not wait.
    """

    __slots__ = ("__weakref__", "_items", "_max_bytes", "_max_events", "_size", "choice", "ended", "missed", "on_news")

    def __init__(self, choice: EventChoice, max_events: int, max_bytes: int, on_news: Callable[[], None]) -> None:
        self.choice = choice
        self.on_news = on_news
        self.ended = False
        """Whether no more events come. Waiting events can still be taken."""
        self.missed = 0
        """Number of events that were dropped and not told yet. They came before all events that wait."""
        self._items: deque[tuple[StreamKey, str, bytes]] = deque()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._size = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: StreamKey, epoch: str, lines: Sequence[bytes]) -> int:
        """Add lines (encoded events) of one session. Return the number of lines that were dropped for them."""
        items = self._items
        items.extend([(key, epoch, line) for line in lines])
        self._size += sum(map(len, lines))
        dropped = 0
        # The newest event stays, however large it is.
        while len(items) > self._max_events or (self._size > self._max_bytes and len(items) > 1):
            self._size -= len(items.popleft()[2])
            dropped += 1
        self.missed += dropped
        self.on_news()
        return dropped

    def take(self) -> Observed | Lagged | None:
        """Return the next event, or the number of events that are missing before it. Return None if there is none."""
        if self.missed:
            lagged = Lagged(self.missed)
            self.missed = 0
            return lagged
        if not self._items:
            return None
        key, epoch, line = self._items.popleft()
        self._size -= len(line)
        return Observed(key.user, key.session, epoch, decode_line(line))

    def forget(self, user: str) -> None:
        """Drop the waiting events of a user, because everything of the user is removed. They do not count as missed."""
        self._items = deque(item for item in self._items if item[0].user != user)
        self._size = sum(len(line) for _, _, line in self._items)

    def end(self) -> None:
        """Add no more events, and notify the observer."""
        self.ended = True
        self.on_news()


class Observers:
    """The hub of all observers of a server: it distributes the committed events to their queues.

    Without observers it costs nothing: the committer knows of the hub only while a queue is open. The hub does not keep
    a queue in memory: an observer that was left open and forgotten is freed like any object.
    """

    def __init__(self, committer: Committer, max_events: int, max_bytes: int) -> None:
        self._committer = committer
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._queues: dict[weakref.ref[ObservedQueue], None] = {}
        self._missed = 0

    def observe(self, types: Iterable[str | type[Event]], user: str | None = None) -> Observer:
        """Return a new observer of the events that are committed from now on. See :meth:`transport.Greenroom.observe`.

        Raises:
            ConfigError: There is no such event type, or ``user`` is not a string.
        """
        return Observer(self, EventChoice(types, user))

    def open(self, choice: EventChoice, on_news: Callable[[], None]) -> ObservedQueue:
        """Return a queue that gets the chosen events of all later commits, until it is closed or freed.

        ``on_news`` is called whenever events were added. It is the seam for observers in other event loops.
        """
        queue = ObservedQueue(choice, self._max_events, self._max_bytes, on_news)
        self._queues[weakref.ref(queue, self._forget)] = None
        self._committer.watchers[self._on_commit] = None
        return queue

    def close(self, queue: ObservedQueue) -> None:
        """Add no more events to ``queue``. Idempotent."""
        self._forget(weakref.ref(queue))
        queue.end()

    def end(self) -> None:
        """End all observers, because the server has ended. They still get the events that wait for them."""
        for queue in self._living():
            self.close(queue)

    def forget(self, user: str) -> None:
        """Drop the events of a user that wait for observers. Never wait."""
        for queue in self._living():
            queue.forget(user)

    def statistics(self) -> ObserversStatistics:
        """Return statistics of all observers."""
        queues = self._living()
        return ObserversStatistics(len(queues), sum(map(len, queues)), self._missed)

    def _forget(self, reference: weakref.ref[ObservedQueue]) -> None:
        self._queues.pop(reference, None)
        if not self._queues:
            self._committer.watchers.pop(self._on_commit, None)

    def _living(self) -> list[ObservedQueue]:
        return [queue for reference in tuple(self._queues) if (queue := reference()) is not None]

    def _on_commit(self, committed: Sequence[tuple[Source, Batch]]) -> None:
        for queue in self._living():
            for source, batch in committed:
                if lines := queue.choice.of(batch.key.user, batch.lines):
                    self._missed += queue.add(batch.key, cast("_Stream", source).epoch, lines)


class Observer:
    """An async iterator of committed events, on trio. ``app.observe`` returns it.

    It begins with the events that are committed after its making. Items come in the order of commits, and the events of
    a session in order of seq. A :class:`Lagged` comes in place of events that were dropped, because more than
    ``observer_events`` (or ``observer_bytes``) waited. One task iterates at a time.

    Close it with ``async with`` or :meth:`aclose`. An observer that is no longer referenced costs nothing.
    """

    def __init__(self, hub: Observers, choice: EventChoice) -> None:
        self._hub = hub
        self._news = Wakeup()
        self._queue = hub.open(choice, self._news.wake)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Observed | Lagged:
        """Wait for the next item and return it. Always a checkpoint.

        Raises:
            StopAsyncIteration: The observer was closed, or the server has ended, and all its events were returned.

        Cancellation:
            Nothing is lost: the next call returns the item that the cancelled call would have returned.
        """
        await trio.lowlevel.checkpoint()
        while (item := self._queue.take()) is None:
            if self._queue.ended:
                raise StopAsyncIteration
            await self._news.wait()
        return item

    @property
    def waiting(self) -> int:
        """Number of events that wait for the observer."""
        return len(self._queue)

    def close(self) -> None:
        """Take no more events from later commits. Never waits. Idempotent.

        A task that iterates gets the events that wait, and then stops.
        """
        self._hub.close(self._queue)

    async def aclose(self) -> None:
        """Close the observer, as :meth:`close` does. Always a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()  # without a checkpoint: a cancellation here would replace the exception of the block
