"""A run: what an agent's function is given to tell its user what it does."""

from __future__ import annotations

import secrets
from threading import get_ident
from typing import TYPE_CHECKING, Any

import orjson
import trio

from actors.errors import RunClosed, RunFailed, UnserialisableEvent
from actors.events.encoding import encode, encode_text, is_text
from actors.events.line import TEXT_BEGIN, TEXT_END, envelope
from actors.failures import shown
from actors.loop.boundary import ROOM_FRAMES
from actors.loop.stack import require_room
from actors.loop.threads import hop, require_task
from actors.loop.trio_internals import footing, has_left_open, leave_open_ones, leave_scopes
from actors.runs._context import RUN_CONTEXT, RunContext
from actors.runs._outcome import Outcome, ended, failed
from actors.runs._question import Question
from actors.runs._raised import has_cancelled, only_cancelled, settled
from actors.runs._tools import ToolCall, tool_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from actors.events.types import JSON
    from actors.runs._agents import AgentFunction
    from actors.runs._recorder import RunRecorder

EXIT_FRAMES = 32
"""Calls that must fit on the stack where a run, call or question is opened: its end, in the same place, needs fewer."""

_STOPPED = ("cancelled", "interrupted", "timeout")
"""How a run may complete that was asked to stop."""

FINISHING_SECONDS = 5.0
"""How long :meth:`Run.shield` holds off cancellation, unless told otherwise."""


class Run:
    """One run of an agent, from ``agent_started`` to ``agent_completed``. Made by Greenroom, given to the agent.

    An emit is a plain call into the session: no task switch, except a checkpoint every 16 events and a wait while 64 of
    the session's events are not committed. What it was given is encoded before it returns: later changes to the object
    reach nobody. A cancelled emit has emitted. Every emit raises :class:`~actors.RunClosed` after the run's end,
    :class:`~actors.UnserialisableEvent` for what is not JSON, :class:`~actors.LogUnavailable` when the log has failed.

    A run belongs to the loop of its session. In a thread of that loop (a sync tool's) what is not async works as it is,
    and what is async through ``trio.from_thread.run``; anywhere else all of it raises RuntimeError and does nothing.
    """

    __slots__ = (
        "_append",
        "_calls",
        "_envelopes",
        "_limit",
        "_recorder",
        "_root",
        "_stream",
        "_usage",
        "agent",
        "closed",
        "context",
        "id",
        "outcome",
        "parent",
        "result",
        "scope",
        "started_at",
        "stopped_as",
        "subruns",
        "waits",
    )

    def __init__(self, recorder: RunRecorder, agent: str, parent: Run | None = None) -> None:
        self._recorder = recorder
        self._stream = recorder.stream
        self._append = recorder.stream.put
        self._limit = recorder.settings.max_event_bytes
        self._envelopes: dict[str, bytes] = {}
        self._calls = 0
        self.id = f"r-{secrets.token_hex(8)}"
        """Unique, also across restarts."""
        self.agent = agent
        """The agent's name."""
        self.parent = parent
        """The run that this one is a sub-agent of, None for one that a user started."""
        self.started_at = 0.0
        """When it started, on trio's clock, in seconds."""
        self.context = self.context_until(float("inf"))
        """All of this as values, with its deadline; what :func:`~actors.current_run` gives inside the run."""
        self.result: Any = None
        """What ``agent_completed`` carries when the run ends well; an agent's function returns it instead."""
        self._usage: bytes | None = None
        self.scope = trio.CancelScope()
        self.stopped_as: str | None = None
        self._root: Run | None = None if parent is None else parent.root
        self.subruns = 0
        """Of a root run: the runs below it that are open."""
        self.waits: set[trio.CancelScope] = set()
        """Around calls and questions that are open: one that a tool's thread awaits is in no scope of the run's."""
        self.closed = False
        self.outcome: Outcome | None = None

    @property
    def root(self) -> Run:
        """The run that a user started, this one or one above it."""
        return self if self._root is None else self._root  # a reference to itself would be left to the collector

    @property
    def user(self) -> str:
        """Whose run it is."""
        return self._recorder.key.user

    @property
    def session(self) -> str:
        """The session's name, unique within its user."""
        return self._recorder.key.session

    @property
    def usage(self) -> JSON:
        """Tokens or whatever else was used, for ``agent_completed``. Setting it raises what cannot be sent."""
        return None if self._usage is None else orjson.loads(self._usage)

    @usage.setter
    def usage(self, value: object) -> None:
        if get_ident() != self._stream.thread:
            hop("usage", setattr, self, "usage", value)
            return
        self._usage = None if value is None else self._recorder.encode(value)

    @property
    def cancelled(self) -> bool:
        """Whether this run, or one that it is part of, was asked to stop or has run out of time."""
        if get_ident() != self._stream.thread:
            return hop("cancelled", lambda: self.cancelled)
        return any(run.scope.cancel_called for run in self._lineage())

    @property
    def cancelled_as(self) -> str:
        """The status of what a cancellation ends now: the nearest stopped run's, else that of the session's own end."""
        for run in self._lineage():
            if run.stopped_as is not None:
                return run.stopped_as
            if run.scope.cancel_called:
                return "cancelled"
        return self._recorder.abandoned

    async def thinking(self, text: str) -> None:
        """Tell what the agent considers."""
        # As in output(), both written out: two calls less an event. What is wrong with a text, encode_text() says.
        if self.closed:
            self._require_open()
        head = self._envelopes.get("agent_thinking") or self._envelope("agent_thinking", TEXT_BEGIN)
        try:
            data = orjson.dumps(text) if type(text) is str else b""
        except TypeError:
            data = b""
        if not data or len(data) > self._limit:
            data = encode_text(text, self._limit)
        if self._append(head, data, TEXT_END):
            await self._stream.admit()

    async def output(self, text: str) -> None:
        """Give a piece of the answer; the pieces are concatenated by whoever shows them."""
        if self.closed:
            self._require_open()
        head = self._envelopes.get("agent_output") or self._envelope("agent_output", TEXT_BEGIN)
        try:
            data = orjson.dumps(text) if type(text) is str else b""
        except TypeError:
            data = b""
        if not data or len(data) > self._limit:
            data = encode_text(text, self._limit)
        if self._append(head, data, TEXT_END):
            await self._stream.admit()

    async def custom(self, name: str, value: object = None) -> None:
        """Emit an event of the application's own."""
        data = encode({"name": _string(name), "value": value}, self._limit)
        if self.closed:
            self._require_open()
        if self._append(self._envelopes.get("custom") or self._envelope("custom"), data):
            await self._stream.admit()

    def signal(self, name: str, data: object = None) -> None:
        """Show ``data``, any JSON value, to whoever is attached now: without a number and a promise. Never waits."""
        if get_ident() != self._stream.thread:
            hop("signal()", self.signal, name, data)
            return
        self._require_open()
        if not is_text(_string(name)):  # elsewhere a name is encoded with the rest
            raise UnserialisableEvent("the signal's name has a lone surrogate")
        self._recorder.signals.send(name, self._recorder.encode(data))

    def typing(self, active: bool) -> None:  # noqa: FBT001 - the one argument of a toggle
        """Show that the agent is typing, or that it stopped; its run's end also ends its typing. Never waits."""
        if get_ident() != self._stream.thread:
            hop("typing()", self.typing, active)
            return
        self._require_open()
        self._recorder.signals.set_typing("agent", self.id, active=bool(active))

    def tool(self, name: str, arguments: Mapping[str, object] | None = None) -> ToolCall:
        """Tell of a tool that runs elsewhere: ``async with run.tool("search", {"q": …}) as call: call.result = …``."""
        if get_ident() != self._stream.thread:
            return hop("tool()", self.tool, name, arguments)
        return ToolCall(self, self._recorder, self._next_call(), _string(name), arguments or {})

    async def call_tool(
        self,
        function: Callable[..., Any],
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - what ends is the tool alone, with an event
        **arguments: object,
    ) -> Any:  # what the tool returns
        """Call a tool, an async function or (in a thread) any other, and tell of it; returns what it returned.

        Raises :class:`~actors.ToolTimeout` after ``timeout`` seconds, or what the tool raised. Cancelled: the tool is
        cancelled (a thread is left behind) and the call completed as ``cancelled``.
        """
        return await self.tool(tool_name(function), arguments).perform(function, timeout)

    # The wire calls it input, and so do its users.
    async def call_agent(self, agent: str | AgentFunction, input: object = None) -> Any:  # noqa: A002 - as said
        """Run another agent as a child of this run, here and now; returns what it returned.

        Raises :class:`~actors.RunFailed` (from the agent's own exception) when it does not end ``ok``, with the code
        ``too_deep`` or ``overloaded`` when there are too many runs above or beside it, and
        :class:`~actors.CommandRefused` when there is no such agent or the input does not fit it.
        """
        require_task(self._stream.thread, "call_agent()")
        found = self._recorder.agents.find(agent)
        self.require_place(found.name)
        text = self._recorder.encode(input)
        value = found.fit(orjson.loads(text))
        child = Run(self._recorder, found.name, self)
        try:
            async with RunScope(child, text, timeout=found.timeout):
                child.result = await found(child, value)
        except GeneratorExit:  # somebody closes this coroutine
            raise
        except BaseException as error:
            if child.outcome is None or has_cancelled(error):  # it never began, or this run is cancelled
                raise
            raise _run_failed(child, child.outcome) from error
        if child.outcome is not None and child.outcome.status != "ok":
            raise _run_failed(child, child.outcome)
        return child.result

    def subrun(self, name: str, input: object = None) -> RunScope:  # noqa: A002 - its name on the wire
        """Open a child run written inline: ``async with run.subrun("plan", …) as child: child.result = …``.

        Several may be open at once, in the tasks of one nursery. What is raised inside completes the child and goes on.
        Raises :class:`~actors.RunFailed`, here or on entry, with the code ``too_deep`` or ``overloaded``.
        """
        if get_ident() != self._stream.thread:
            return hop("subrun()", self.subrun, name, input)
        self._recorder.encode(_string(name))
        text = self._recorder.encode(input)
        self.require_place(name)
        return RunScope(Run(self._recorder, name, self), text)

    async def ask_user(
        self,
        prompt: str,
        *,
        schema: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - what ends is the question alone
    ) -> Any:  # JSON
        """Ask the user and wait for the answer, any JSON value; raises ``TimeoutError`` after ``timeout`` seconds.

        ``schema`` (a JSON Schema, say) tells the pages that show the question what is wanted; no answer is checked by
        it. Cancelled, or too late: the question is withdrawn (``input_withdrawn``, unless the whole run was asked to
        stop and so ends with it), and an answer to it is refused as ``not_waiting``.
        """
        waiting = trio.move_on_after(float("inf") if timeout is None else timeout)  # raises what is no time, first
        require_task(self._stream.thread, "ask_user()")
        call_id = self._next_call()
        data = {"prompt": _string(prompt)} if schema is None else {"prompt": _string(prompt), "schema": schema}
        text = self._recorder.encode(data)
        await self.ready()
        question = Question(self.id)
        self._recorder.record("input_requested", text, self.id, call_id)
        self._recorder.questions[call_id] = question
        stopping = self.cancelled
        self.waits.add(waiting)
        try:
            with waiting:
                await question.answered()
            # An answer that was taken in the moment in which the time was over counts: its sender was told so.
            if question.is_answered:
                return question.value
            self._require_open()
            self._recorder.withdraw(self.id, call_id, "timeout")
            raise TimeoutError(f"nobody answered within {timeout:g} s")
        except trio.Cancelled:
            # A run that is told to stop meanwhile ends soon, and its question with it: one event says so, not two.
            if self.cancelled == stopping and not self._recorder.scope.cancel_called:
                self._recorder.withdraw(self.id, call_id, "cancelled")
            raise
        finally:
            self.waits.discard(waiting)
            self._recorder.questions.pop(call_id, None)

    def shield(self, seconds: float = FINISHING_SECONDS) -> trio.CancelScope:
        """Hold off cancellation for ``seconds`` at most: ``with run.shield(): …`` finishes what must be finished."""
        return trio.move_on_after(seconds, shield=True)

    def stop(self, status: str = "cancelled") -> None:
        """Ask the run to stop: it is cancelled where it waits, and completes with ``status``. The first call counts.

        ``status`` is ``cancelled``, ``interrupted`` or ``timeout``; raises ValueError for anything else.
        """
        if get_ident() != self._stream.thread:
            hop("stop()", self.stop, status)
            return
        if type(status) is not str or status not in _STOPPED:
            raise ValueError(f"a run is stopped as one of {', '.join(_STOPPED)}, not {shown(status)}")
        if self.stopped_as is None:
            self.stopped_as = status
            self.scope.cancel()

    def abandon(self, outcome: Outcome) -> None:
        """Note that the run was closed with its parent; what is still at work in it is cancelled."""
        self.stop(outcome.status)
        self.over(outcome)

    def context_until(self, deadline: float) -> RunContext:
        """Make the run's context, its time being over at ``deadline`` or with the run above it."""
        key, parent = self._recorder.key, self.parent
        return RunContext(
            user=key.user,
            session=key.session,
            run_id=self.id,
            agent=self.agent,
            parent_run_id=None if parent is None else parent.id,
            depth=0 if parent is None else parent.context.depth + 1,
            deadline=deadline if parent is None else min(deadline, parent.context.deadline),
        )

    def over(self, outcome: Outcome) -> None:
        """Note that the run was closed: nothing of it may follow. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.outcome = outcome
        self.root.subruns -= self is not self.root
        del self._recorder.runs[self.id]
        for scope in self.waits:
            scope.cancel()
        self._recorder.signals.set_typing("agent", self.id, active=False)

    def completed(self, outcome: Outcome, spent_ms: int) -> bytes:
        """Encode the payload of ``agent_completed``; raises UnserialisableEvent for a result that cannot be sent."""
        usage = {} if self._usage is None else {"usage": orjson.Fragment(self._usage)}
        return self._recorder.encode_closing(outcome, agent=self.agent, duration_ms=spent_ms, **usage)

    async def ready(self) -> None:
        """Wait until there is room to open something; raises :class:`~actors.RunClosed` after the run's end.

        Raises RuntimeError outside of the session's loop, and RecursionError where the stack is about to end.
        """
        require_task(self._stream.thread, "this")
        require_room(EXIT_FRAMES)
        self._require_open()
        await self._stream.admit()
        self._require_open()

    def require_place(self, name: str) -> None:
        """Raise :class:`~actors.RunFailed` where a run called ``name`` may not be opened below this one."""
        settings = self._recorder.settings
        if self.context.depth >= settings.max_run_depth:
            deep = f"{settings.max_run_depth} runs are within each other already"
            raise RunFailed(self.id, name, "error", "too_deep", deep)
        if self.root.subruns >= settings.max_subruns:
            many = f"{settings.max_subruns} runs are open below {self.root.id} already"
            raise RunFailed(self.id, name, "error", "overloaded", many)

    def _lineage(self) -> Iterator[Run]:
        """Yield this run and those that it is part of, innermost first."""
        run: Run | None = self
        while run is not None:
            yield run
            run = run.parent

    def _envelope(self, event: str, begun: bytes = b"") -> bytes:
        """Make what all events of that type have in common, ``begun`` being the beginning of their data; once a run."""
        parent = self.parent.id if self.parent is not None else None
        head = self._envelopes[event] = envelope(event, self.id, parent) + begun
        return head

    def _require_open(self) -> None:
        if self.closed:
            raise RunClosed(f"run {self.id} of {self.agent} is over")

    def _next_call(self) -> str:
        self._calls += 1
        return f"{self.id}.{self._calls}"


class RunScope:
    """Opens a run on entry and closes it on every exit. Made by :meth:`Run.subrun` and by the session; entered once."""

    __slots__ = ("_command_id", "_footing", "_input", "_outer", "_recorder", "_timeout", "run")

    def __init__(self, run: Run, input_: bytes, *, timeout: float | None = None, command_id: str | None = None) -> None:
        self.run = run
        self._input = input_
        self._timeout = timeout
        self._command_id = command_id
        self._recorder = run._recorder  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  two halves of one thing

    def open(self) -> None:
        """Emit ``agent_started``. Never waits; raises :class:`~actors.RunClosed` for a run that is over."""
        run, recorder = self.run, self._recorder
        if run.closed:
            raise RunClosed(f"run {run.id} of {run.agent} is over: a run begins once")
        parent = run.parent.id if run.parent is not None else None
        data = b'{"agent":%b,"input":%b' % (orjson.dumps(run.agent), self._input)
        if self._command_id is not None:
            data += b',"command_id":%b' % orjson.dumps(self._command_id)
        run.started_at = trio.current_time()
        recorder.record("agent_started", data + b"}", run.id, parent_run_id=parent, name=run.agent)
        recorder.runs[run.id] = run  # before any call: what has begun is found by what closes it
        if self._command_id is not None:
            recorder.stream.remember_done(self._command_id, {"run_id": run.id})
        run.root.subruns += run is not run.root

    async def __aenter__(self) -> Run:
        run = self.run
        if run.parent is not None:
            require_room(EXIT_FRAMES + ROOM_FRAMES)  # its end is signalled where it was typing
            await run.parent.ready()
            run.parent.require_place(run.agent)
            self.open()
        if self._timeout is not None:
            run.scope.deadline = trio.current_time() + self._timeout
        run.context = run.context_until(run.scope.deadline)
        self._outer = RUN_CONTEXT.get()
        RUN_CONTEXT.set(run.context)
        run.scope.__enter__()
        self._footing = footing()
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        # Not by token: a generator that nobody finished may be closed in another context than it was begun in.
        if RUN_CONTEXT.get() is self.run.context:
            RUN_CONTEXT.set(self._outer)
        told, raised = error, None if error is None else settled(error)
        # A run inside that is still open is closed below, as `cancelled`: to leave one open is no failure.
        inside = {run.scope for run in self._recorder.runs.values() if run is not self.run}
        leave_scopes(self.run.scope, self._footing, inside)
        # Not in a coroutine that is being closed: it may wait for nothing, and its task is in other things by then.
        if has_left_open(self.run.scope, self._footing) and (self.run.parent is None or kind is not GeneratorExit):
            told = raised = settled(await leave_open_ones(self.run.scope, self._footing, raised))
        try:
            self._close_as(self._outcome(told))
        except BaseException as failure:
            self.run.scope.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if self.run.scope.__exit__(None if raised is None else type(raised), raised, traceback):
            return True
        if raised is None or raised is error:
            return False
        try:
            raise raised
        finally:
            del told, raised  # their tracebacks hold this frame

    def _close_as(self, outcome: Outcome) -> None:
        """Close the run; one whose result cannot be sent ends as ``error``, and raises what :func:`encode` does."""
        try:
            self.close(outcome)
        except (UnserialisableEvent, RecursionError) as unserialisable:
            self.close(failed(unserialisable))
            raise

    def close(self, outcome: Outcome) -> None:
        """Emit ``agent_completed``, after closing what the run left open. Never waits; raises UnserialisableEvent.

        Nothing happens when its parent ended first and took it along.
        """
        run, recorder = self.run, self._recorder
        if run.closed:
            return
        data = run.completed(outcome, round((trio.current_time() - run.started_at) * 1000))
        recorder.close_within(run.id)
        recorder.close("agent_completed", data, run.id)
        run.over(outcome)

    def _outcome(self, error: BaseException | None) -> Outcome:
        run = self.run
        if error is None:
            return Outcome("ok", run.result)
        if not only_cancelled(error):
            return failed(error)
        if run.scope.cancel_called and run.stopped_as is None and self._timeout is not None:
            return ended("timeout", f"the run took longer than {self._timeout:g} s")
        return ended(run.cancelled_as, "the run was cancelled")


def _run_failed(child: Run, outcome: Outcome) -> RunFailed:
    error = outcome.error or {}
    return RunFailed(child.id, child.agent, outcome.status, str(error.get("code", "")), str(error.get("message", "")))


def _string(text: str) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  agents need not be typed
        raise UnserialisableEvent(f"expected a string, got {type(text).__name__}")
    return text
