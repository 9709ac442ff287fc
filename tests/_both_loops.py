"""Tests that run twice, on trio and on asyncio, each in virtual time.

A test for both loops waits with anyio and with the functions here. The client under test is the client of the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

import transport.client.asyncio
from transport.client import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from selectors import SelectorKey

    from transport.client import Client


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits: it moves the loop's time to the next timer instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.settled: list[asyncio.Future[None]] = []

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.settled:
            for future in self.settled:
                future.set_result(None)
            self.settled = []
        elif timeout is None:
            raise RuntimeError("every task waits for another one")
        else:
            self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time. Its sockets must lead to other sockets of the same loop."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time, which begins at 0."""
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        """Move the time, as if the loop had been blocked for so long."""
        self._jumping.now += seconds

    async def settle(self) -> None:
        """Wait until all other tasks wait for a time."""
        future = self.create_future()
        self._jumping.settled.append(future)
        await future


def on_asyncio() -> bool:
    """Return whether the caller is an asyncio task."""
    return not trio.lowlevel.in_trio_task()


async def settle() -> None:
    """Wait until all other tasks are blocked."""
    if on_asyncio():
        await cast("VirtualLoop", asyncio.get_running_loop()).settle()
    else:
        await trio.testing.wait_all_tasks_blocked()


def jump(seconds: float) -> None:
    """Move the time, as if the event loop had been blocked for so long."""
    if on_asyncio():
        cast("VirtualLoop", asyncio.get_running_loop()).jump(seconds)
    else:
        cast("trio.testing.MockClock", trio.lowlevel.current_clock()).jump(seconds)


def client_of_this_loop(*args: Any, **options: Any) -> AbstractAsyncContextManager[Client]:
    """Connect the client of the running event loop."""
    return (transport.client.asyncio.connect if on_asyncio() else connect)(*args, **options)


def _run_trio(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0), strict_exception_groups=True)


def _run_asyncio(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()
        left = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        assert not left, f"tasks are left: {left}"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


RUNNERS = {"asyncio": _run_asyncio, "trio": _run_trio}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make two tests of an async test: on asyncio and on trio. Marks go above this decorator."""

    @pytest.mark.parametrize("loop", sorted(RUNNERS))
    def run(loop: str, **arguments: Any) -> None:
        RUNNERS[loop](partial(test, **arguments))

    own = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    attributes = {name: getattr(test, name) for name in ("__name__", "__qualname__", "__doc__", "__module__")}
    attributes["__signature__"] = own.replace(parameters=[*own.parameters.values(), loop])  # pytest reads it
    for name, value in attributes.items():
        setattr(run, name, value)
    result: Callable[..., None] = run
    return result
