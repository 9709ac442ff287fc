"""Trio, as the event loop of a client."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from types import TracebackType

T = TypeVar("T")


class TrioLoop:
    """The trio run in which a client lives: an :class:`~transport.client._loop.EventLoop`.

    Raise ``RuntimeError`` if the caller is not a trio task.
    """

    def __init__(self) -> None:
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "this client needs trio, and no trio task is running here: use trio.run, or in asyncio "
                "transport.client.asyncio.connect"
            )
        self._token = trio.lowlevel.current_trio_token()

    def now(self) -> float:
        return trio.current_time()

    def check(self) -> None:
        if not trio.lowlevel.in_trio_task() or trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError(
                "a client can be used only in the trio run that connected it: from a thread, call it with "
                "trio.from_thread.run"
            )

    async def checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def foreign(self, awaitable: Awaitable[T]) -> T:
        return await awaitable

    def lot(self) -> trio.lowlevel.ParkingLot:
        return trio.lowlevel.ParkingLot()

    def scope(self, deadline: float = math.inf) -> TrioScope:
        return TrioScope(deadline)

    @asynccontextmanager
    async def tasks(self) -> AsyncGenerator[TrioTasks]:
        async with trio.open_nursery() as nursery:
            yield TrioTasks(nursery)

    def busy(self, message: str) -> Exception:
        return trio.BusyResourceError(message)


class TrioScope:
    """A cancel scope of trio: a :class:`~transport.client._loop.Scope`."""

    def __init__(self, deadline: float) -> None:
        self._scope = trio.CancelScope(deadline=deadline)

    @property
    def deadline(self) -> float:
        return self._scope.deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._scope.deadline = value

    def cancel(self) -> None:
        self._scope.cancel()

    async def __aenter__(self) -> Self:
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))


class TrioTasks:
    """A nursery: a :class:`~transport.client._loop.Tasks`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._nursery.start_soon(function)

    def cancel(self) -> None:
        self._nursery.cancel_scope.cancel()
