"""Tests that run on trio and on asyncio: in virtual time, or with a real server.

A test for both loops waits with anyio and with the functions here. The client under test is the client of the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest
import trio
import trio.testing
import uvloop

import transport.client.asyncio
from transport.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from selectors import SelectorKey

    from transport import Greenroom
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


@asynccontextmanager
async def serving(app: Greenroom, **options: Any) -> AsyncGenerator[str]:
    """Run the server of ``app`` during the block, and return its URL. For a test on asyncio it runs in a thread."""
    if on_asyncio():
        thread = _ServerThread(app, options)
        await asyncio.to_thread(thread.start)
        try:
            yield thread.url
        finally:
            await asyncio.to_thread(thread.stop)
    else:
        async with app.running(**options) as server:
            yield server.url


class _ServerThread:
    """A thread with a trio run in which a server runs."""

    def __init__(self, app: Greenroom, options: dict[str, Any]) -> None:
        self._app = app
        self._options = options
        self._thread = threading.Thread(target=partial(trio.run, self._serve))
        self._changed = threading.Event()
        self._stopping: trio.Event
        self._token: trio.lowlevel.TrioToken
        self.url = ""

    async def _serve(self) -> None:
        self._stopping, self._token = trio.Event(), trio.lowlevel.current_trio_token()
        try:
            async with self._app.running(**self._options) as server:
                self.url = server.url
                self._changed.set()
                await self._stopping.wait()
        finally:
            self._changed.set()

    def start(self) -> None:
        self._thread.start()
        self._changed.wait()
        assert self.url, "the server did not start"

    def stop(self) -> None:
        self._token.run_sync_soon(self._stopping.set)
        self._thread.join()


def _run_trio(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


def _run_asyncio(new_loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()
        # asyncio itself leaves such a task for a moment, if a connection attempt is cancelled.
        left = [task for task in asyncio.all_tasks() if "staggered_race" not in repr(task.get_coro())]
        left.remove(cast("asyncio.Task[Any]", asyncio.current_task()))
        assert not left, f"tasks are left: {left}"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


Test: TypeAlias = "Callable[..., Awaitable[None]]"
IN_VIRTUAL_TIME: dict[str, Callable[[Test], None]] = {"asyncio": partial(_run_asyncio, VirtualLoop), "trio": _run_trio}
IN_REAL_TIME: dict[str, Callable[[Test], None]] = {
    "asyncio": partial(_run_asyncio, asyncio.new_event_loop),
    "trio": trio.run,
    "uvloop": partial(_run_asyncio, uvloop.new_event_loop),
}


def on_both_loops(test: Test) -> Callable[..., None]:
    """Make two tests of an async test: on asyncio and on trio, in virtual time. Marks go above this decorator."""
    return _on_loops(test, IN_VIRTUAL_TIME)


def on_real_loops(test: Test) -> Callable[..., None]:
    """Make three tests of an async test: on asyncio, trio and uvloop. Marks go above this decorator."""
    return _on_loops(test, IN_REAL_TIME)


def on_both_over_sockets(test: Test) -> Callable[..., None]:
    """Make two tests of an async test: on asyncio in virtual time, and on trio in real time. Marks go above it."""
    return _on_loops(test, {"asyncio": IN_VIRTUAL_TIME["asyncio"], "trio": IN_REAL_TIME["trio"]})


def on_asyncio_loops(test: Test) -> Callable[..., None]:
    """Make two tests of an async test: on asyncio and uvloop, in real time. Marks go above this decorator."""
    return _on_loops(test, {name: run for name, run in IN_REAL_TIME.items() if name != "trio"})


def _on_loops(test: Test, runners: dict[str, Callable[[Test], None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("loop", sorted(runners))
    def run(loop: str, **arguments: Any) -> None:
        runners[loop](partial(test, **arguments))

    own = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    attributes = {name: getattr(test, name) for name in ("__name__", "__qualname__", "__doc__", "__module__")}
    attributes["__signature__"] = own.replace(parameters=[*own.parameters.values(), loop])  # pytest reads it
    for name, value in attributes.items():
        setattr(run, name, value)
    result: Callable[..., None] = run
    return result


def run_on_asyncio(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on asyncio in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test())  # type: ignore[arg-type]  # each test is an async function
