"""A block that a cancellation from outside does not reach: the tasks inside end afterwards, in their own order."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


@asynccontextmanager
async def kept(block: AbstractAsyncContextManager[T], seconds: float) -> AsyncGenerator[T]:
    """Enter ``block`` in a task of its own, and leave it when this block ends.

    The tasks in ``block`` go on until then, although this block is cancelled from outside. *A server's actors would
    otherwise all be cancelled at the same time as the code around them, and the log before its last commit.*

    Args:
        block: The block. It must be entered without a wait. If it ends with an error, this block is cancelled.
        seconds: Maximum time for leaving ``block`` if this block was cancelled or interrupted. Then it is cancelled.

    Raises:
        BaseExceptionGroup: Both this block and ``block`` failed.
    """
    keeper = _Keeper(block)
    own: Exception | None = None
    async with trio.open_nursery() as nursery:
        # Not nursery.start(): cancelled before the block is entered, it would wait for the end of the shielded task.
        nursery.start_soon(keeper.run, nursery.cancel_scope)
        with trio.CancelScope(shield=True):
            await keeper.entered.wait()
        try:
            try:
                for value in keeper.values:
                    yield value
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery can wrap it in a group
                own = error
            await keeper.leave()
        except BaseException:
            await keeper.leave_within(seconds)
            raise
    raised = keeper.failures if own is None else [own, *keeper.failures]
    if len(raised) > 1:
        raise BaseExceptionGroup("the block failed, and what it kept", raised)
    if raised:
        raise raised[0]


class _Keeper(Generic[T]):
    """The task of a kept block."""

    def __init__(self, block: AbstractAsyncContextManager[T]) -> None:
        self._block = block
        self._scope = trio.CancelScope(shield=True)
        self._leave, self._ended = trio.Event(), trio.Event()
        self.entered = trio.Event()
        """Set when the block was entered, or has failed."""
        self.values: list[T] = []
        """The value of the block, once it was entered."""
        self.failures: list[BaseException] = []
        """The exception with which the block ended, if there is one."""

    async def run(self, around: trio.CancelScope) -> None:
        """Keep the block open. If it fails, cancel ``around``."""
        try:
            with self._scope:
                async with self._block as value:
                    self.values.append(value)
                    self.entered.set()
                    await self._leave.wait()
        except BaseException as error:  # noqa: BLE001 - trio's nursery would format it outside of all tasks
            self.failures.append(error)
            around.cancel()
        finally:
            self.entered.set()
            self._ended.set()

    async def leave(self) -> None:
        """Leave the block, and wait for its end. Cancellation: the block is left nevertheless."""
        self._leave.set()
        await self._ended.wait()

    async def leave_within(self, seconds: float) -> None:
        """Leave the block, and cancel it after ``seconds``. A cancellation does not end the wait."""
        with trio.move_on_after(seconds, shield=True):
            await self.leave()
        self._scope.cancel()
