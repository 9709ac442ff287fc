"""Tool calls of asyncio code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves
from actors.loop.asyncio_host import without_exits
from actors.runs._task_scope import TaskScope
from actors.runs._tools import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._protocols import Caller
    from actors.runs._recorder import RunRecorder


class AsyncioToolCall(ToolCall):
    """The call of a tool by asyncio code. In a trio task it works as any :class:`ToolCall`."""

    __slots__ = ("_host",)

    def __init__(  # noqa: PLR0913 - those of a tool call, and the loop
        self,
        run: Caller,
        recorder: RunRecorder,
        call_id: str,
        name: str,
        arguments: Mapping[str, object],
        *,
        host: AsyncioHost,
    ) -> None:
        super().__init__(run, recorder, call_id, name, arguments)
        self._host = host

    async def perform(
        self, function: Callable[..., object], seconds: float | None, invoke: Callable[[], object] | None = None
    ) -> object:
        """Call the tool, as :meth:`ToolCall.perform` does. An async function is awaited in the caller's task."""
        if trio.lowlevel.in_trio_task():
            return await super().perform(function, seconds, invoke)
        async with self:
            async with TaskScope(seconds) as scope:
                self._run.waits.add(scope)
                try:
                    # A tool may run in a task of its own, and an exit would then end the whole loop.
                    self.result = await without_exits(self._called, (function, invoke))
                finally:
                    self._run.waits.discard(scope)
            if scope.cancelled_caught:
                raise self._cut_short(seconds)
        return self.result

    async def _called_in_thread(self, invoke: Callable[[], object]) -> object:
        if trio.lowlevel.in_trio_task():
            return await super()._called_in_thread(invoke)
        return await self._host.run(super()._called_in_thread, invoke)

    def _is_cancelled(self, error: BaseException) -> bool:
        return all(is_a(leaf, (trio.Cancelled, asyncio.CancelledError)) for leaf in leaves(error))
