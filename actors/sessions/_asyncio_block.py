"""Runs of which the code is a block of asyncio code, in a route of a web application for example."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from actors.events.types import Status
from actors.loop.asyncio_host import uninterrupted
from actors.runs._context import RUN_CONTEXT
from actors.runs._outcome import Outcome
from actors.runs._task_scope import TaskScope, is_ending, only_cancelled
from actors.sessions._run_block import NEVER_BEGUN, Companion, finish_block, raise_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from actors.runs._asyncio_run import AsyncioRun
    from actors.runs._run import Run


class AsyncioRunBlock:
    """An async context manager that opens a run on entry and closes it on exit. It can be entered only once.

    :meth:`AsyncioSession.run` makes this object.
    """

    __slots__ = ("_before", "_begin", "_companion", "_outer", "_run", "_scope")

    _run: AsyncioRun

    def __init__(self, begin: Callable[[Companion], Awaitable[Run]], abandon_seconds: float) -> None:
        self._begin = begin
        self._scope = TaskScope()
        self._companion = Companion(self._scope.cancel, abandon_seconds)
        self._outer: Any = None
        self._before: object = None

    async def __aenter__(self) -> AsyncioRun:
        try:
            self._run = run = cast("AsyncioRun", await self._begin(self._companion))
        except BaseException:
            # The run may have opened just as this task was cancelled.
            self._companion.finish(Outcome.stopped(Status.CANCELLED, NEVER_BEGUN))
            raise
        run.shielding = self._scope
        self._outer = RUN_CONTEXT.get()
        RUN_CONTEXT.set(run.context)
        if run.span is not None:
            self._before = run.span.enter()
        await self._scope.__aenter__()
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        run = self._run
        if RUN_CONTEXT.get() is run.context:
            RUN_CONTEXT.set(self._outer)
        if run.span is not None:
            run.span.leave(self._before)
        cancelled = error is not None and only_cancelled(error)
        # Asyncio that ends by force cancels all tasks, and the server has not told the session why.
        status = Status.INTERRUPTED if cancelled and is_ending(asyncio.get_running_loop()) else Status.CANCELLED
        unfit = finish_block(self._companion, run, error, cancelled=cancelled, status=status)
        late: asyncio.CancelledError | None = None
        closed = _Closed(asyncio.get_running_loop().create_future())
        if not run.closed:
            run.waits.add(closed)
            try:
                await uninterrupted(closed.future)
            except asyncio.CancelledError as cancellation:
                late = cancellation
        ending = error or late
        if await self._scope.__aexit__(None if ending is None else type(ending), ending, traceback):
            raise_cancelled(run)
        if error is None and late is not None:
            raise late
        if unfit is not None:
            raise unfit
        if error is None and run.outcome is not None and run.outcome.status is not Status.OK:
            raise_cancelled(run)
        return False


class _Closed:
    """A waiting task, in the place of a cancel scope: the end of a run cancels all scopes in ``run.waits``."""

    __slots__ = ("cancel_called", "future")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.cancel_called = False

    def cancel(self) -> None:
        """Wake the waiting task, because the run has ended."""
        self.cancel_called = True
        if not self.future.done():
            self.future.set_result(None)
