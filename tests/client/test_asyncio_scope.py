"""The cancel scope of the client on asyncio: deadlines, cancellation, and the tasks that wait."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from _both_loops import (
    jump,
    run_on_asyncio,
    settle,
)

from transport.client._asyncio_loop import AsyncioLot, AsyncioScope


def scope_of(deadline: float = math.inf) -> AsyncioScope:
    """Return a scope of the running loop."""
    return AsyncioScope(asyncio.get_running_loop(), deadline)


def test_later_deadline_does_not_undo_a_cancel() -> None:
    """A scope that was cancelled ends, even if its deadline moves before the cancellation takes effect."""

    async def main() -> None:
        async with scope_of(5) as scope:
            scope.cancel()
            scope.deadline = 100
            await anyio.sleep_forever()
        assert asyncio.get_running_loop().time() == 0
        scope = scope_of()
        scope.cancel()
        async with scope:
            await anyio.sleep_forever()
        scope.cancel()  # after the block, this does nothing
        async with scope_of() as moved:
            moved.deadline = 7
            await anyio.sleep_forever()
        assert asyncio.get_running_loop().time() == 7
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # this is a task

    run_on_asyncio(main)


def test_scope_ends_for_its_own_reasons_only() -> None:
    """A cancellation from outside and a TimeoutError of the block pass through a scope, even one that has expired."""

    async def wait(scope: AsyncioScope) -> None:
        async with scope:
            await anyio.sleep_forever()

    async def main() -> None:
        for cancel_both in (False, True):
            scope = scope_of()
            task = asyncio.create_task(wait(scope))
            await settle()
            task.cancel()
            if cancel_both:
                scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TimeoutError, match="mine"):
            async with scope_of(5):
                raise TimeoutError("mine")

    run_on_asyncio(main)


def test_cancel_of_a_scope_that_expires() -> None:
    """If another task cancels a scope that has just expired, nothing happens: the block ends once."""
    faults: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        scope = scope_of(5)
        task = asyncio.create_task(wait(scope))
        await settle()
        loop.call_at(6, scope.cancel)
        jump(10)
        await task

    async def wait(scope: AsyncioScope) -> None:
        async with scope:
            await anyio.sleep_forever()

    run_on_asyncio(main)
    assert faults == []


def test_parked_task_that_is_cancelled() -> None:
    """A task that is cancelled while it is parked leaves the lot, also if it is woken at the same moment."""

    async def main() -> None:
        lot = AsyncioLot(asyncio.get_running_loop())
        for wake_too in (False, True):
            task, other = asyncio.create_task(lot.park()), asyncio.create_task(lot.park())
            await settle()
            assert len(lot) == 2
            task.cancel()
            if wake_too:
                lot.unpark_all()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(lot) == (0 if wake_too else 1)
            lot.unpark_all()
            await other

    run_on_asyncio(main)
