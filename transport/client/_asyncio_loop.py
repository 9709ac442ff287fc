"""The event loop of asyncio, as the event loop of a client. Any loop that implements asyncio's interface works."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from types import TracebackType

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop of the calling asyncio task. Return None in a thread without a loop, and in a trio task.

    While trio runs as a guest of asyncio, a trio task sees the loop of its host, but it must not wait for a future.
    """
    if trio.lowlevel.in_trio_task():
        return None
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class AsyncioLoop:
    """The asyncio loop in which a client lives: an :class:`~transport.client._loop.EventLoop`.

    Raise ``RuntimeError`` if the caller is not an asyncio task.
    """

    def __init__(self) -> None:
        loop = running_loop()
        if loop is None:
            raise RuntimeError(
                "this client needs asyncio, and no asyncio task is running here: use asyncio.run, or in trio "
                "transport.client.connect"
            )
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def check(self) -> None:
        if running_loop() is not self._loop:
            raise RuntimeError(
                "a client can be used only in the asyncio loop that connected it: from a thread, call it with "
                "asyncio.run_coroutine_threadsafe"
            )

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def foreign(self, awaitable: Awaitable[T]) -> T:
        try:
            return await awaitable
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError("it waited for a task that was cancelled") from error

    def lot(self) -> AsyncioLot:
        return AsyncioLot(self._loop)

    def scope(self, deadline: float = math.inf) -> AsyncioScope:
        return AsyncioScope(self._loop, deadline)

    @asynccontextmanager
    async def tasks(self) -> AsyncGenerator[AsyncioTasks]:
        async with asyncio.TaskGroup() as group:
            yield AsyncioTasks(group)

    def busy(self, message: str) -> Exception:
        return RuntimeError(message)


class AsyncioLot:
    """A point where asyncio tasks wait: a :class:`~transport.client._loop.Lot`."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order in which the tasks came

    def __len__(self) -> int:
        return len(self._waiting)

    async def park(self) -> None:
        future = self._loop.create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    def unpark_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():  # a task that was cancelled, but has not run since
                future.set_result(None)


class AsyncioScope:
    """A block that ends early, on ``asyncio.timeout_at``: a :class:`~transport.client._loop.Scope`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._loop = loop
        self._deadline = deadline
        self._cancelled = False
        self._timeout: asyncio.Timeout | None = None  # only inside the block

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline = value
        self._reschedule()

    def cancel(self) -> None:
        self._cancelled = True
        self._reschedule()

    def _reschedule(self) -> None:
        # A timeout that has fired cannot be changed: the block is about to end.
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(self._when())

    def _when(self) -> float | None:
        # A later deadline does not undo a `cancel` that has not taken effect yet.
        if self._cancelled:
            return self._loop.time()
        return None if self._deadline == math.inf else self._deadline

    async def __aenter__(self) -> Self:
        self._timeout = asyncio.timeout_at(self._when())
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        timeout, self._timeout = self._timeout, None
        assert timeout is not None  # noqa: S101 - the block was entered
        try:
            await timeout.__aexit__(kind, error, traceback)
        except TimeoutError:  # raised by the timeout itself; an error of the block is in `error`
            return True
        return False


class AsyncioTasks:
    """A task group: a :class:`~transport.client._loop.Tasks`."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._started: list[asyncio.Task[None]] = []

    def start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._started.append(self._group.create_task(function()))

    def cancel(self) -> None:
        for task in self._started:
            task.cancel()
