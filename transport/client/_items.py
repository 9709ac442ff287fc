"""The waiting of tasks: for the next event or signal, for a frame to send, for room in the buffer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from transport.errors import ClientClosed, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.client._loop import EventLoop, Lot
    from transport.protocol.server_frames import Signal

T = TypeVar("T")


class Wakeups:
    """The points where tasks wait: one lot for each thing that a task can wait for."""

    def __init__(self, loop: EventLoop) -> None:
        self.events = loop.lot()
        self.signals = loop.lot()
        self.outgoing = loop.lot()
        """The writing task waits here. This task is woken when there is perhaps a frame to send."""
        self.room = loop.lot()
        """The reading task waits here while the buffer is full. This task is woken when there is perhaps room."""
        self.states = loop.lot()
        self.expiry = loop.lot()
        """The task that renews the token waits here. It is woken when the server says when the token expires."""


class Items(Generic[T]):
    """An async iterator over events or signals. When all arrived items were returned, the iterator waits for more.

    The iterator stops when the application closes the client, and raises when the client has ended by an error. If
    ``anext`` is cancelled, no item is lost. Only one task at a time is allowed to wait, since two tasks would each get
    only a part of the items: a second task gets the exception :meth:`EventLoop.busy`.
    """

    def __init__(self, loop: EventLoop, take: Callable[[], T | None], more: Lot, check: Callable[[], None]) -> None:
        self._loop = loop
        self._take = take
        self._more = more
        self._check = check

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._loop.check()
        # A task is parked here already.
        if len(self._more):
            raise self._loop.busy("another task is waiting for these already")
        await self._loop.checkpoint()
        while (item := self._take()) is None:
            try:
                self._check()
            except ClientClosed:  # the application has left the client's block: a normal end
                raise StopAsyncIteration from None
            except TransportError as error:
                # Without the client's own functions: *a refused token was explained in the last of 19 lines*.
                raise error.with_traceback(None) from error.__cause__
            await self._more.park()
        return item


class States(Generic[T]):
    """An async iterator over the states of a client: the present state, then each new state, until the last.

    A state that passed while the application did something else is skipped. Several tasks can iterate at the same time,
    each over its own iterator.
    """

    def __init__(self, loop: EventLoop, current: Callable[[], T], changed: Lot, last: T) -> None:
        self._loop = loop
        self._current = current
        self._changed = changed
        self._last = last
        self._seen: T | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._loop.check()
        await self._loop.checkpoint()
        if self._seen == self._last:
            raise StopAsyncIteration
        while (state := self._current()) == self._seen:
            await self._changed.park()
        self._seen = state
        return state


class SignalBuffer:
    """The newest signals that the application has not taken, at most ``size``.

    Older signals are dropped and counted.
    """

    def __init__(self, size: int) -> None:
        self._signals: deque[Signal] = deque(maxlen=size)
        self.dropped = 0

    def put(self, signal: Signal) -> None:
        """Append a signal. If there is no room, drop the oldest signal."""
        self.dropped += len(self._signals) == self._signals.maxlen
        self._signals.append(signal)

    def take(self) -> Signal | None:
        """Remove the oldest signal and return it. Return None if there is none."""
        return self._signals.popleft() if self._signals else None
