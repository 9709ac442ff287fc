"""The event loop of a client, as its code sees it: time, waiting, tasks and cancellation. Pure.

The client's code is written once, against :class:`EventLoop`. ``_trio_loop.py`` and ``_asyncio_loop.py``
implement it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")


class Lot(Protocol):
    """A point where tasks wait until another task wakes all of them. ``len`` is the number of waiting tasks."""

    def __len__(self) -> int: ...

    async def park(self) -> None:
        """Wait for the next :meth:`unpark_all`. Safe to cancel."""
        ...

    def unpark_all(self) -> object:
        """Wake all waiting tasks. A task that parks later is not woken."""
        ...


class Scope(Protocol):
    """An ``async with`` block that ends early at its deadline, or when another task calls :meth:`cancel`.

    The cancellation does not leave the block: the task continues after it. A cancellation from outside passes through.
    """

    @property
    def deadline(self) -> float:
        """Time at which the block ends, on the clock :meth:`EventLoop.now`. Infinite if there is no deadline."""
        ...

    @deadline.setter
    def deadline(self, value: float) -> None: ...

    def cancel(self) -> None:
        """End the block. If the task has not entered the block yet, the block ends at its first wait.

        Do nothing after the block.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...


class Tasks(Protocol):
    """The tasks that an ``async with`` block has started. The block ends after the last of them.

    If a task raises, the other tasks and the block are cancelled, and the block raises an exception group.
    """

    def start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that runs ``function``."""
        ...

    def cancel(self) -> None:
        """Cancel the tasks that were started."""
        ...


class EventLoop(Protocol):
    """The event loop in which a client lives."""

    def now(self) -> float:
        """Return the loop's time in seconds. The clock never goes back."""
        ...

    def check(self) -> None:
        """Raise ``RuntimeError`` if the caller runs in another event loop or thread, where a call would do harm."""
        ...

    async def checkpoint(self) -> None:
        """Let other tasks run, and let a cancellation take effect."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for this number of seconds."""
        ...

    async def foreign(self, awaitable: Awaitable[T]) -> T:
        """Await a function of the application. Only a cancellation of the calling task counts as a cancellation.

        *Otherwise a function that waits for another task would end the client's task if that other task is cancelled.*
        """
        ...

    def lot(self) -> Lot:
        """Return a new point where tasks can wait."""
        ...

    def scope(self, deadline: float = math.inf) -> Scope:
        """Return a new scope that ends at ``deadline``."""
        ...

    def tasks(self) -> AbstractAsyncContextManager[Tasks]:
        """Return a new group of tasks."""
        ...

    def busy(self, message: str) -> Exception:
        """Return this loop's usual exception for a thing that another task waits for already."""
        ...
