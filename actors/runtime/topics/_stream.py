"""A stream of events for code that is no actor: a context manager, and an async iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import trio

from actors.loop.wakeup import Wakeup
from actors.runtime.topics._buffer import DEFAULT_BUFFER, EventBuffer

if TYPE_CHECKING:
    from types import TracebackType

EventT = TypeVar("EventT")


class Bus(Protocol):
    """The event bus, as a stream uses it."""

    def add(self, subscriber: EventStream[EventT]) -> None:
        """Deliver events to the stream from now on."""
        ...

    def remove(self, subscriber: EventStream[EventT]) -> None:
        """Deliver no more events to the stream."""
        ...


class EventStream(EventBuffer, Generic[EventT]):
    """A stream of events for one subscriber. Enter it by ``with`` to subscribe, and read it by ``async for``.

    Leaving the ``with`` block ends the subscription. The stream holds a limited number of events. If the reader is too
    slow, the oldest events are dropped, and ``missed`` counts them. Cancelling the reader loses no event. Several tasks
    can read: each event goes to one of them. When the block has been left, or the system has ended, the remaining
    events can still be read; then the iteration ends.
    """

    __slots__ = ("_bus", "_is_open", "_readers")

    def __init__(self, bus: Bus, kind: type[EventT], topic: str | None = None, size: int = DEFAULT_BUFFER) -> None:
        super().__init__(kind, topic, size)
        self._bus = bus
        self._readers = Wakeup()
        self._is_open: bool | None = None
        """Whether the stream accepts events; None before the ``with`` block was entered."""

    @property
    def reader(self) -> Self:
        """Reader of the events: each stream has its own."""
        return self

    def deliver(self, event: object) -> None:
        """Append an event to the stream. The runtime calls this."""
        self.put(event)
        self._readers.wake()

    def close(self) -> None:
        """Accept no more events. The runtime calls this."""
        self._is_open = False
        self._readers.wake()

    def __enter__(self) -> Self:
        if self._is_open is not None:
            raise RuntimeError("a stream of events is entered once: every subscriber has one of its own")
        self._is_open = True
        self._bus.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bus.remove(self)
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        if self._is_open is None:
            raise RuntimeError("a stream of events is entered first: with system.events.subscribe(…) as events")
        # Always a checkpoint, so that a reader of many events lets other tasks run.
        await trio.lowlevel.checkpoint()
        while not self.events:
            if not self._is_open:
                raise StopAsyncIteration
            await self._readers.wait()
        event: EventT = self.events.popleft()
        return event
