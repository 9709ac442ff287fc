"""One tool call: the pair of events around it, on every exit."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Self

import trio

from actors.errors import RunClosed, RunFailed, ToolTimeout, UnserialisableEvent
from actors.failures import text_of
from actors.loop.trio_internals import footing, has_left_open, leave_open_ones
from actors.runs._outcome import Outcome, ended, failed
from actors.runs._raised import only_cancelled, settled, settling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from actors.runs._recorder import RunRecorder
    from actors.runs._run import Run


class ToolCall:
    """``async with run.tool(name, arguments) as call: call.result = …``: the pair of events, whatever happens inside.

    Made by :meth:`Run.tool`, entered once. Entering raises what cannot be sent and then has emitted nothing; leaving
    emits ``tool_completed`` and never waits, so that no cancellation comes between. A ``result`` that cannot be sent
    completes the call as ``error`` and raises :class:`~actors.UnserialisableEvent`.
    """

    __slots__ = (
        "_arguments",
        "_begun",
        "_entered",
        "_recorder",
        "_run",
        "_started",
        "_timed_out",
        "id",
        "name",
        "result",
    )

    def __init__(
        self, run: Run, recorder: RunRecorder, call_id: str, name: str, arguments: Mapping[str, object]
    ) -> None:
        self._run = run
        self._recorder = recorder
        self._arguments = arguments
        self._entered = self._timed_out = self._begun = False
        self._started = 0.0
        self.id = call_id
        """The call's id: two calls of one tool at once are told apart by it."""
        self.name = name
        self.result: Any = None
        """What the call is completed with; any JSON value."""

    async def __aenter__(self) -> Self:
        recorder = self._recorder
        if self._entered:
            raise RuntimeError(
                f"call {self.id} of {self.name} was entered already: its id stands for one pair of events"
            )
        data = recorder.encode({"tool": self.name, "arguments": self._redacted()})
        await self._run.ready()
        self._entered = True
        self._started = trio.current_time()
        recorder.record("tool_executing", data, self._run.id, self.id, name=self.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        outcome = self._outcome(error)
        try:
            self._complete(outcome)
        except (UnserialisableEvent, RecursionError) as unserialisable:
            self._complete(failed(unserialisable))
            raise

    async def perform(self, function: Callable[..., object], seconds: float | None) -> object:
        """Call ``function`` with the arguments; raises :class:`~actors.ToolTimeout` after ``seconds``.

        An async function is awaited; any other runs in a thread of its user's (``tool_threads_per_user``), which a
        timeout or cancellation leaves behind. Waiting for one counts: what then got none in time was not called.
        """
        async with self:
            with trio.move_on_after(float("inf") if seconds is None else seconds) as scope:
                self._run.waits.add(scope)
                try:
                    self.result = await _orderly(scope, settling(self._called(function)))
                finally:
                    self._run.waits.discard(scope)
            if scope.cancelled_caught and self._run.closed:
                raise RunClosed(f"run {self._run.id} of {self._run.agent} is over")
            if scope.cancelled_caught:
                self._timed_out = True
                late = "took longer than" if self._begun else "was not called: no thread was free within"
                raise ToolTimeout(f"{self.name} {late} {seconds:g} s")
        return self.result

    async def _called(self, function: Callable[..., object]) -> object:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 - the method is looked at, not called
            self._begun = True
            result: Awaitable[object] = function(**self._arguments)  # type: ignore[assignment] # what an async function returns
            return await result

        threads, deepest = self._recorder.threads, self._recorder.settings.max_run_depth
        if threads.depth() > deepest:
            run, deep = self._run, f"{deepest} sync tools wait for each other already"
            raise RunFailed(run.id, self.name, "error", "too_deep", deep)

        def begun() -> None:
            self._begun = True

        # In a list: trio refuses a coroutine as what a thread gives back, and here it is only still to be awaited.
        (returned,) = await threads.run(self._run.user, lambda: [function(**self._arguments)], begun)
        return await returned if inspect.isawaitable(returned) else returned

    def _redacted(self) -> object:
        try:
            return self._recorder.redact(dict(self._arguments))
        except RecursionError as error:
            deep = "the arguments are nested too deeply or in a cycle, or the redact hook calls itself without end"
            raise UnserialisableEvent(deep) from error

    def _complete(self, outcome: Outcome) -> None:
        if not self._run.closed:
            spent = round((trio.current_time() - self._started) * 1000)
            data = self._recorder.encode_closing(outcome, tool=self.name, duration_ms=spent)
            self._recorder.close("tool_completed", data, self._run.id, self.id)

    def _outcome(self, error: BaseException | None) -> Outcome:
        if error is None:
            return Outcome("ok", self.result)
        if self._timed_out:
            return ended("timeout", text_of(error))
        if only_cancelled(error):
            return ended(self._run.cancelled_as, "the call was cancelled")
        return failed(error)


async def _orderly(scope: trio.CancelScope, call: Awaitable[object]) -> object:
    """Return what a tool returns that is called inside ``scope``. Raise RuntimeError where it left a scope open."""
    before, returned, raised = footing(), None, None
    try:
        returned = await call
    except GeneratorExit:  # somebody closes this coroutine: it may wait for nothing
        raise
    except BaseException as error:
        if not has_left_open(scope, before):
            raise
        raised = error
    if has_left_open(scope, before):
        raised = settled(await leave_open_ones(scope, before, raised))
    try:
        if raised is not None:
            raise raised
        return returned
    finally:
        del raised  # its traceback holds this frame


def tool_name(function: Callable[..., object]) -> str:
    """Name a tool for its events: its function's name, also behind a partial; a callable object's class."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
