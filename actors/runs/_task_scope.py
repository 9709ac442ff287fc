"""A cancel scope for asyncio code: a block that can be cancelled without the task around it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from actors.failures import is_a, leaves

if TYPE_CHECKING:
    from types import TracebackType


def only_cancelled(error: BaseException) -> bool:
    """Return whether ``error`` is only a cancellation of the current task. A group counts if all of its members do.

    A CancelledError that code raises by itself, in a task that is not being cancelled, is an error like any other.
    """
    return all(is_a(leaf, asyncio.CancelledError) for leaf in leaves(error)) and _is_cancelling()


def has_cancelled(error: BaseException) -> bool:
    """Return whether ``error`` is, or contains, a cancellation of the current task, which must always propagate."""
    return any(is_a(leaf, asyncio.CancelledError) for leaf in leaves(error)) and _is_cancelling()


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_ending(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether asyncio is ending ``loop`` by force: every task but the caller's own is being cancelled."""
    others = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    return bool(others) and all(task.cancelling() for task in others)


class TaskScope:
    """A block of asyncio code that can be cancelled: ``async with TaskScope() as scope``.

    It works like :class:`trio.CancelScope`, and like ``asyncio.timeout`` inside: :meth:`cancel` cancels the task of the
    block, and the end of the block takes the cancellation back (``uncancel``). A cancellation by other code, during or
    after it, leaves the block as ever.

    Args:
        seconds: Time after which the block is cancelled; None for no limit.
    """

    __slots__ = (
        "_before",
        "_is_delivered",
        "_seconds",
        "_shield",
        "_task",
        "_timer",
        "cancel_called",
        "cancelled_caught",
    )

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._before = 0
        self._is_delivered = self._shield = False
        self.cancel_called = False
        """Whether the block was told to stop."""
        self.cancelled_caught = False
        """Whether the block ended by the cancellation of this scope, which did not propagate further."""

    @property
    def shield(self) -> bool:
        """Whether a cancellation is delayed until this is False again."""
        return self._shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self._shield = value
        self._deliver()

    def cancel(self) -> None:
        """Cancel the block. Only the first call counts. Never waits."""
        self.cancel_called = True
        self._deliver()

    def _deliver(self) -> None:
        if self.cancel_called and not self._shield and not self._is_delivered and self._task is not None:
            self._is_delivered = True
            self._task.cancel()

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio code outside of a task cannot be cancelled")
        self._task, self._before = task, task.cancelling()
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.cancel)
        self._deliver()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if task is None or not self._is_delivered:
            return False
        late, is_cancelled = None, error is not None and only_cancelled(error)
        if kind is not GeneratorExit and not is_cancelled:
            # A block that cancels itself may end before the cancellation reaches it: it must not reach later code.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as cancelled:
                late = cancelled
        if task.uncancel() > self._before:  # other code has cancelled the task too
            if late is not None:
                raise late
            return False
        self.cancelled_caught = is_cancelled
        return is_cancelled
