"""The context manager of a sub-agent in asyncio code: its entry opens the run, and every exit closes the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.boundary import ROOM_FRAMES
from actors.loop.stack import require_room
from actors.runs._context import RUN_CONTEXT
from actors.runs._node import EXIT_FRAMES
from actors.runs._scope import AnyRun, OpenedRun
from actors.runs._task_scope import TaskScope, only_cancelled

if TYPE_CHECKING:
    from types import TracebackType

    from actors.runs._recorder import RunRecorder


class AsyncioRunScope(OpenedRun[AnyRun]):
    """An async context manager that opens a run on entry and closes it on exit. It can be entered only once.

    :meth:`AsyncioRun.subrun` makes this object for a sub-agent.
    """

    __slots__ = ("_outer", "_scope")

    def __init__(self, run: AnyRun, recorder: RunRecorder, input_: bytes, *, timeout: float | None = None) -> None:
        super().__init__(run, recorder, input_, timeout=timeout)
        self._scope = run.scope = TaskScope(timeout)

    async def __aenter__(self) -> AnyRun:
        run = self.run
        require_room(EXIT_FRAMES + ROOM_FRAMES)  # its end is signalled if the agent was typing
        if run.parent is not None:
            await run.parent.ready()
            run.parent.check_limits(run.agent)
        self.open()
        seconds = float("inf") if self._timeout is None else self._timeout
        context = run.begin_until(trio.current_time() + seconds)
        self._outer = RUN_CONTEXT.get()
        RUN_CONTEXT.set(context)
        if run.span is not None:
            self._before = run.span.enter()
        await self._scope.__aenter__()
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        # Not by token: a generator that was never finished may be closed in another context than it began in.
        if RUN_CONTEXT.get() is self.run.context:
            RUN_CONTEXT.set(self._outer)
        if self.run.span is not None:
            self.run.span.leave(self._before)
        try:
            self._close_as(self._outcome(error))
        except BaseException as failure:
            await self._scope.__aexit__(type(failure), failure, failure.__traceback__)
            raise
        return await self._scope.__aexit__(kind, error, traceback)

    def _is_cancelled(self, error: BaseException) -> bool:
        return only_cancelled(error)
