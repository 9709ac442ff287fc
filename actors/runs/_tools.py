"""One tool call: it emits one event at its beginning, and always one event at its end."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Self

import trio

from actors.errors import RunClosed, RunFailed, ToolTimeout, UnserialisableEvent
from actors.events.types import Status
from actors.failures import text_of
from actors.loop.trio_internals import footing, has_left_open, leave_open_ones
from actors.runs._outcome import Outcome
from actors.runs._raised import only_cancelled, settled, settling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from actors.runs._protocols import Caller
    from actors.runs._recorder import RunRecorder
    from actors.runs._tracing import Span


class ToolCall:
    """The call of a tool, as a ``with`` block: ``async with run.tool(name, arguments) as call: call.result = …``.

    :meth:`Run.tool` makes this object, and the block can be entered only once. Entry emits ``tool_executing``. If entry
    raises, nothing was emitted. Exit always emits ``tool_completed``. Exit never waits, so it cannot be cancelled.

    A ``result`` that is not JSON or too large ends the call as ``error`` and raises
    :class:`~actors.UnserialisableEvent`.
    """

    __slots__ = (
        "_arguments",
        "_before",
        "_begun",
        "_entered",
        "_recorder",
        "_run",
        "_span",
        "_started",
        "_timed_out",
        "id",
        "name",
        "result",
    )

    def __init__(
        self, run: Caller, recorder: RunRecorder, call_id: str, name: str, arguments: Mapping[str, object]
    ) -> None:
        self._run = run
        self._recorder = recorder
        self._arguments = arguments
        self._entered = self._timed_out = self._begun = False
        self._started = 0.0
        self._span: Span | None = None
        self._before: object = None
        self.id = call_id
        """Id of the call. By the id, several calls of the same tool can be told apart."""
        self.name = name
        """Name of the tool that is called."""
        self.result: Any = None
        """Result of the call: any JSON value. Clients see the result in ``tool_completed``."""

    async def __aenter__(self) -> Self:
        data = self._encoded()
        await self._run.ready()
        self._record(data)
        if self._span is not None:
            self._before = self._span.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.leave(self._before)
        self.close(self._outcome(error))

    def open(self) -> None:
        """Emit ``tool_executing`` without waiting. The caller must :meth:`close` the call."""
        data = self._encoded()
        self._run.require_ready()
        self._record(data)

    def close(self, outcome: Outcome) -> None:
        """Emit ``tool_completed`` without waiting. Do nothing if the run is closed: its end has closed this call.

        Raise UnserialisableEvent, and close the call as ``error``, if the result is not JSON or too large.
        """
        try:
            self._complete(outcome)
        except (UnserialisableEvent, RecursionError) as unserialisable:
            outcome = Outcome.failed(unserialisable)
            self._complete(outcome)
            raise
        finally:
            if self._span is not None:
                self._span.end(outcome)

    async def perform(
        self, function: Callable[..., object], seconds: float | None, invoke: Callable[[], object] | None = None
    ) -> object:
        """Call the tool with the arguments of this call, record the call, and return the tool's result.

        An async function is awaited. Any other function runs in one of the user's threads (``tool_threads_per_user``).
        The wait for a thread counts towards the time limit: if no thread is free in time, the function is not called.

        Args:
            function: The tool.
            seconds: Time limit in seconds. None means no limit.
            invoke: Calls the tool with arguments that are not those of the events. By default it gets the same ones.

        Raises:
            ToolTimeout: The tool was not done after ``seconds``. If it has a thread, the thread runs until the function
                returns.
            RunClosed: The run was closed during the call.

        Cancellation:
            The tool is cancelled. If it has a thread, the thread runs until the function returns. Its result is lost.
        """
        async with self:
            with trio.move_on_after(float("inf") if seconds is None else seconds) as scope:
                # If a tool's thread awaits this call, the run's own cancel scope is not around it.
                self._run.waits.add(scope)
                try:
                    self.result = await _call_orderly(scope, settling(self._called(function, invoke)))
                finally:
                    self._run.waits.discard(scope)
            if scope.cancelled_caught:
                raise self._cut_short(seconds)
        return self.result

    def _cut_short(self, seconds: float | None) -> Exception:
        """Return the error of a call that was cut short: by the end of the run, or else by the time limit."""
        if self._run.closed:
            return RunClosed(f"run {self._run.id} of {self._run.agent} is over")
        self._timed_out = True
        late = "took longer than" if self._begun else "was not called: no thread was free within"
        return ToolTimeout(f"{self.name} {late} {seconds:g} s")

    async def _called(self, function: Callable[..., object], invoke: Callable[[], object] | None) -> object:
        invoke = functools.partial(function, **self._arguments) if invoke is None else invoke
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 - the method is looked at, not called
            self._begun = True
            result: Awaitable[object] = invoke()  # type: ignore[assignment] # it is async
            return await result
        returned = await self._called_in_thread(invoke)
        return await returned if inspect.isawaitable(returned) else returned

    async def _called_in_thread(self, invoke: Callable[[], object]) -> object:
        """Call a sync tool in a thread and return its result. This is trio code."""
        # Each of these tools holds a thread while it waits for the next.
        threads, deepest = self._recorder.threads, self._recorder.settings.max_run_depth
        if threads.depth() > deepest:
            run, deep = self._run, f"{deepest} sync tools wait for each other already"
            raise RunFailed(run.id, self.name, "error", "too_deep", deep)

        def begun() -> None:
            self._begun = True

        # In a list: trio refuses a coroutine as the result of a thread, and this one is awaited here.
        (returned,) = await threads.run(self._run.user, lambda: [invoke()], begun)
        return returned

    def _encoded(self) -> bytes:
        """Return the data of ``tool_executing``. Raise RuntimeError if the call was opened before."""
        if self._entered:
            raise RuntimeError(
                f"call {self.id} of {self.name} was entered already: its id stands for one pair of events"
            )
        return self._recorder.encode({"tool": self.name, "arguments": self._redacted()})

    def _record(self, data: bytes) -> None:
        self._entered = True
        self._started = self._recorder.clock()
        self._recorder.record("tool_executing", data, self._run.id, self.id, name=self.name)
        if (tracer := self._recorder.agents.tracer) is not None:
            self._span = tracer.begin_tool(self._run, self.id, self.name, data)

    def _redacted(self) -> object:
        try:
            return self._recorder.redact(dict(self._arguments))
        except RecursionError as error:
            deep = "the arguments are nested too deeply or in a cycle, or the redact hook calls itself without end"
            raise UnserialisableEvent(deep) from error

    def _complete(self, outcome: Outcome) -> None:
        # If the run is closed, its end has already closed this call.
        if not self._run.closed:
            recorder, spent = self._recorder, self._recorder.clock() - self._started
            data = recorder.encode_closing(outcome, tool=self.name, duration_ms=round(spent * 1000))
            if recorder.close("tool_completed", data, self._run.id, self.id):
                recorder.meter.tool_ended(self.name, outcome.status, spent)

    def _outcome(self, error: BaseException | None) -> Outcome:
        return Outcome(Status.OK, self.result) if error is None else self.outcome_of(error)

    def outcome_of(self, error: BaseException) -> Outcome:
        """Return the outcome of a call that ends with ``error``."""
        if self._timed_out:
            return Outcome.stopped(Status.TIMEOUT, text_of(error))
        if self._is_cancelled(error):
            return Outcome.stopped(self._run.cancelled_as, "the call was cancelled")
        return Outcome.failed(error)

    def _is_cancelled(self, error: BaseException) -> bool:
        """Return whether ``error`` is only a cancellation."""
        return only_cancelled(error)


async def _call_orderly(scope: trio.CancelScope, call: Awaitable[object]) -> object:
    """Await ``call`` in ``scope`` and return its result. Raise RuntimeError if ``call`` leaves a cancel scope open."""
    before, returned, raised = footing(), None, None
    try:
        returned = await call
    except GeneratorExit:  # this coroutine is being closed: it may not wait
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
    """Return the name of a tool, as the events of its calls show it.

    For a function, also inside a ``functools.partial``, this is the name of the function. For a callable object it is
    the name of the object's class.
    """
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
