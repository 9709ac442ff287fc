"""The context manager of a run: its entry opens the run, and every exit from it closes the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from actors.errors import RunClosed, UnserialisableEvent
from actors.events.types import Status
from actors.loop.boundary import ROOM_FRAMES
from actors.loop.stack import require_room
from actors.loop.trio_internals import footing, has_left_open, leave_open_ones, leave_scopes
from actors.runs._context import RUN_CONTEXT
from actors.runs._node import EXIT_FRAMES, RunNode
from actors.runs._outcome import Outcome
from actors.runs._raised import CodeEnded, only_cancelled, settled

if TYPE_CHECKING:
    from types import TracebackType

    import trio

    from actors.runs._recorder import RunRecorder

AnyRun = TypeVar("AnyRun", bound=RunNode)


class OpenedRun(Generic[AnyRun]):
    """The opening and the closing of a run, in any event loop. Subclasses are the context managers around its code."""

    __slots__ = ("_before", "_command_id", "_input", "_origin", "_recorder", "_timeout", "run")

    def __init__(  # noqa: PLR0913 - the parts of a run that is to begin
        self,
        run: AnyRun,
        recorder: RunRecorder,
        input_: bytes,
        *,
        timeout: float | None = None,
        command_id: str | None = None,
        origin: object = None,
    ) -> None:
        self.run = run
        self._recorder = recorder
        self._input = input_
        self._timeout = timeout
        self._command_id = command_id
        self._origin = origin
        self._before: object = None

    def open(self) -> None:
        """Emit ``agent_started``, which opens the run. Never wait.

        Raise :class:`~actors.RunClosed` if the run has ended.
        """
        run, recorder = self.run, self._recorder
        if run.closed:
            raise RunClosed(f"run {run.id} of {run.agent} is over: a run begins once")
        parent = run.parent.id if run.parent is not None else None
        data = b'{"agent":%b,"input":%b' % (orjson.dumps(run.agent), self._input)
        if self._command_id is not None:
            data += b',"command_id":%b' % orjson.dumps(self._command_id)
        run.started_at = recorder.clock()
        recorder.record("agent_started", data + b"}", run.id, parent_run_id=parent, name=run.agent)
        # Before any further call, which may fail: a run that has begun must be found and closed.
        recorder.runs[run.id] = run
        if self._command_id is not None:
            recorder.stream.remember_done(self._command_id, {"run_id": run.id})
        if run.parent is not None:
            run.root.subruns += 1
        if recorder.agents.tracer is not None:
            run.span = recorder.agents.tracer.begin_run(run, run.parent, self._input, self._origin)

    def _close_as(self, outcome: Outcome) -> None:
        """Close the run with ``outcome``. If its result cannot be encoded, close the run as ``error`` and raise."""
        try:
            self.close(outcome)
        except (UnserialisableEvent, RecursionError) as unserialisable:
            self.close(Outcome.failed(unserialisable))
            raise

    def close(self, outcome: Outcome) -> None:
        """Close everything that the run left open, then emit ``agent_completed``. Never wait.

        Raise UnserialisableEvent if the result of the run is not JSON or too large. Do nothing if the run is closed
        already, for example together with its parent.
        """
        run, recorder = self.run, self._recorder
        if run.closed:
            return
        spent = recorder.clock() - run.started_at
        data = run.encode_completed(outcome, round(spent * 1000))
        recorder.close_within(run.id)
        if recorder.close("agent_completed", data, run.id):
            recorder.meter.run_ended(run.agent, outcome.status, spent)
        run.end(outcome)

    def _outcome(self, error: BaseException | None) -> Outcome:
        """Return the outcome of the run. ``error`` is the exception of its code, or None if the code returned."""
        run = self.run
        if error is None:
            return Outcome(Status.OK, run.result)
        if type(error) is CodeEnded:  # a foreign exception may lie about its class
            return error.outcome
        if not self._is_cancelled(error):
            return Outcome.failed(error)
        if run.scope.cancel_called and run.stopped_as is None and self._timeout is not None:
            return Outcome.stopped(Status.TIMEOUT, f"the run took longer than {self._timeout:g} s")
        return Outcome.stopped(run.cancelled_as, "the run was cancelled")

    def _is_cancelled(self, error: BaseException) -> bool:
        """Return whether ``error`` is only a cancellation."""
        return only_cancelled(error)


class RunScope(OpenedRun[AnyRun]):
    """An async context manager that opens a run on entry and closes it on exit. It can be entered only once.

    :meth:`Run.subrun` makes this object for a sub-agent, and the session makes it for any other run.
    """

    __slots__ = ("_footing", "_outer", "_scope")

    _scope: trio.CancelScope

    async def __aenter__(self) -> AnyRun:
        run = self.run
        scope: Any = run.scope  # only asyncio code has a scope that is not trio's
        self._scope = scope
        if run.parent is not None:
            require_room(EXIT_FRAMES + ROOM_FRAMES)  # its end is signalled if the agent was typing
            await run.parent.ready()
            run.parent.check_limits(run.agent)
            self.open()
        if self._timeout is not None:
            # Trio makes an absolute deadline of it as the scope is entered: half of the calls of setting one.
            scope.relative_deadline = self._timeout
        self._outer = RUN_CONTEXT.get()
        scope.__enter__()
        RUN_CONTEXT.set(run.begin_until(scope.deadline))
        if run.span is not None:
            self._before = run.span.enter()
        self._footing = footing()
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        # Not by token: a generator that was never finished may be closed in another context than it began in.
        if RUN_CONTEXT.get() is self.run.context:
            RUN_CONTEXT.set(self._outer)
        if self.run.span is not None:
            self.run.span.leave(self._before)
        recorded, raised = error, None if error is None else settled(error)
        if has_left_open(self._scope, self._footing):
            # A run inside that is still open is closed below, as `cancelled`: to leave one open is no failure.
            inside = {run.scope for run in self._recorder.runs.values() if run is not self.run}
            leave_scopes(self._scope, self._footing, inside)
            # Not in a coroutine that is being closed: it may not wait, and its task has gone on elsewhere by then.
            if has_left_open(self._scope, self._footing) and (self.run.parent is None or kind is not GeneratorExit):
                recorded = raised = settled(await leave_open_ones(self._scope, self._footing, raised))
        try:
            self._close_as(self._outcome(recorded))
        except BaseException as failure:
            self._scope.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if self._scope.__exit__(None if raised is None else type(raised), raised, traceback):
            return True
        if raised is None or raised is error:
            return False
        try:
            raise raised
        finally:
            del recorded, raised  # their tracebacks hold this frame
