"""The run: the object through which an agent emits events, calls tools and asks its user."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Self

import orjson
import trio

from actors.errors import RunFailed, UnserialisableEvent
from actors.events.encoding import encode, encode_text, is_text
from actors.events.line import TEXT_BEGIN, TEXT_END, envelope
from actors.events.types import Status
from actors.loop.threads import hop, require_task
from actors.runs._node import RunNode
from actors.runs._raised import has_cancelled
from actors.runs._scope import RunScope
from actors.runs._tools import ToolCall, tool_name
from actors.streams._signals import Typist

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.runs._agents import AgentFunction
    from actors.runs._outcome import Outcome
    from actors.runs._recorder import RunRecorder

FINISHING_SECONDS = 5.0
"""Default time for which :meth:`Run.shield` delays a cancellation, in seconds."""


class Run(RunNode):
    """One run of an agent, from ``agent_started`` to ``agent_completed``. Greenroom passes it to the agent's function.

    An emit (a method that emits an event) is usually a plain call into the session, without a task switch. Every 16
    events an emit passes a checkpoint. While 64 events of the session are not yet committed to the log, an emit waits.
    The argument of an emit is encoded before the emit returns, so later changes to the argument are not sent. If an
    emit is cancelled, its event is emitted anyway.

    Every emit raises :class:`~actors.RunClosed` if the run has ended, :class:`~actors.UnserialisableEvent` for a value
    that is not JSON, and :class:`~actors.LogUnavailable` if the log has failed.

    A run belongs to the event loop of its session. A sync tool runs in a thread that this loop started. In this thread,
    methods of the run that are not async can be called directly, and async methods through ``trio.from_thread.run``. In
    any other thread or loop, all methods raise RuntimeError and do nothing.
    """

    __slots__ = ("_append", "_calls", "_envelopes", "_limit", "_stream")

    def __init__(self, recorder: RunRecorder, agent: str, parent: Self | None = None) -> None:
        super().__init__(recorder, agent, parent)
        # Bound once: a few lookups less for each event.
        self._stream = recorder.stream
        self._append = recorder.stream.put
        self._limit = recorder.settings.max_event_bytes
        self._envelopes: dict[str, bytes] = {}
        self._calls = 0

    async def thinking(self, text: str) -> None:
        """Emit ``agent_thinking``, with a piece of the agent's thoughts."""
        # Written out here and in output(), which saves two calls an event. encode_text() finds what is wrong with a
        # text, and says so.
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
        """Emit ``agent_output``, with a piece of the agent's answer. Clients join the pieces in order."""
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
        """Emit ``custom``: an event that the application defines, with a name and any JSON value."""
        data = encode({"name": _string(name), "value": value}, self._limit)
        if self.closed:
            self._require_open()
        if self._append(self._envelopes.get("custom") or self._envelope("custom"), data):
            await self._stream.admit()

    def signal(self, name: str, data: object = None) -> None:
        """Send a signal to the clients that are now connected to the session. Never waits.

        ``data`` can be any JSON value. A signal has no sequence number, is not stored, and can be lost.
        """
        if get_ident() != self._stream.thread:
            hop("signal()", self.signal, name, data)
            return
        self._require_open()
        if not is_text(_string(name)):  # elsewhere a name is encoded, and so checked, with the rest
            raise UnserialisableEvent("the signal's name has a lone surrogate")
        self._recorder.signals.send(name, self._recorder.encode(data))

    def typing(self, active: bool) -> None:  # noqa: FBT001 - the one argument of a toggle
        """Tell clients whether the agent is typing. Never waits. When the run ends, the agent no longer types."""
        if get_ident() != self._stream.thread:
            hop("typing()", self.typing, active)
            return
        self._require_open()
        self._recorder.signals.set_typing(Typist.AGENT, self.id, active=bool(active))

    def tool(self, name: str, arguments: Mapping[str, object] | None = None) -> ToolCall:
        """Record a ``with`` block of the agent's own code as a tool call. Clients see an ordinary tool call.

        Use it as ``async with run.tool("search", {"q": …}) as call: call.result = …``.
        """
        if get_ident() != self._stream.thread:
            return hop("tool()", self.tool, name, arguments)
        return ToolCall(self, self._recorder, self._next_call(), _string(name), arguments or {})

    async def call_tool(
        self,
        function: Callable[..., Any],
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends only the tool, with an event
        **arguments: object,
    ) -> Any:  # the tool's result
        """Call a function as a tool, record the call for the clients, and return the tool's result.

        Args:
            function: The tool: an async function, or any other callable, which is called in a thread.
            timeout: Time limit for the tool, in seconds.
            **arguments: Arguments of ``function``. Clients see them, after the redact hook has removed secrets.

        Raises:
            ToolTimeout: The tool took longer than ``timeout``.
            Exception: Any exception that the tool raises.

        Cancellation:
            The tool is cancelled, and the call is recorded as ``cancelled``. A thread cannot be cancelled: it continues
            until the function returns, and its result is lost.
        """
        return await self.tool(tool_name(function), arguments).perform(function, timeout)

    # The wire calls it input, and so do its users.
    async def call_agent(self, agent: str | AgentFunction, input: object = None) -> Any:  # noqa: A002 - as said
        """Run another agent as a sub-agent of this run, in the same task, and return its result.

        Args:
            agent: Name or function of a registered agent.
            input: Input for the sub-agent, any JSON value.

        Raises:
            RunFailed: The sub-agent ended with a status other than ``ok``; the cause is its exception. Or the sub-agent
                could not start: too many runs are above it (``too_deep``) or are open in the whole tree
                (``overloaded``).
            CommandRefused: There is no such agent, or it does not accept the input.
        """
        require_task(self._stream.thread, "call_agent()")
        found = self._recorder.agents.find(agent)
        self.check_limits(found.name)
        text = self._recorder.encode(input)
        value = found.fit(orjson.loads(text))
        child = Run(self._recorder, found.name, self)
        try:
            async with RunScope(child, self._recorder, text, timeout=found.timeout):
                child.result = await found(child, value)
        except GeneratorExit:  # this coroutine is being closed
            raise
        except BaseException as error:
            if child.outcome is None or has_cancelled(error):  # it never began, or this run is cancelled
                raise
            raise _run_failed(child, child.outcome) from error
        if child.outcome is not None and child.outcome.status != Status.OK:
            raise _run_failed(child, child.outcome)
        return child.result

    def subrun(self, name: str, input: object = None) -> RunScope[Run]:  # noqa: A002 - its name on the wire
        """Open a sub-agent. Its code is the body of an ``async with`` block.

        Use it as ``async with run.subrun("plan", …) as child: child.result = …``. The code in the block acts as the
        sub-agent. Several sub-agents can be open at once, in the tasks of one nursery. If the block raises an
        exception, the sub-agent ends as ``error``, and the exception propagates.

        Args:
            name: Name that clients see as the name of the agent.
            input: Input that clients see, any JSON value.

        Raises:
            RunFailed: Too many runs are above the sub-agent (``too_deep``), or are open in the whole tree
                (``overloaded``). Raised by this call or on entry to the block.
        """
        if get_ident() != self._stream.thread:
            return hop("subrun()", self.subrun, name, input)
        self._recorder.encode(_string(name))
        text = self._recorder.encode(input)
        self.check_limits(name)
        return RunScope(Run(self._recorder, name, self), self._recorder, text)

    async def ask_user(
        self,
        prompt: str,
        *,
        schema: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends only the question
    ) -> Any:  # JSON
        """Ask the user a question, wait for the answer, and return it. The answer can be any JSON value.

        Args:
            prompt: The question.
            schema: A JSON value, such as a JSON Schema, that tells clients which answer is expected. The answer is not
                checked against the schema.
            timeout: Time limit for the answer, in seconds.

        Raises:
            TimeoutError: There was no answer within ``timeout``. The question is withdrawn, as by a cancellation.
            RunFailed: The user has ``open_questions_per_user`` open questions already; the code is ``overloaded``.

        Cancellation:
            The question is withdrawn (``input_withdrawn``). If the whole run is stopping, the end of the run closes the
            question instead. Later answers are refused, usually as ``not_waiting``.
        """
        waiting = trio.move_on_after(float("inf") if timeout is None else timeout)  # first: it checks `timeout`
        require_task(self._stream.thread, "ask_user()")
        call_id = self._next_call()
        data = {"prompt": _string(prompt)} if schema is None else {"prompt": _string(prompt), "schema": schema}
        text = self._recorder.encode(data)
        await self.ready_to_ask()
        self._recorder.record("input_requested", text, self.id, call_id)
        question = self._recorder.open_question(self.id, call_id)
        stopping = self.cancelled
        self.waits.add(waiting)
        try:
            with waiting:
                await question.answered()
            # An answer that came in the moment of the timeout counts: its sender was told that it was taken.
            if question.is_answered:
                return question.value
            self._require_open()
            self._recorder.withdraw(self.id, call_id, "timeout")
            raise TimeoutError(f"the user did not answer within {timeout:g} s")
        except trio.Cancelled:
            # A run that was told to stop meanwhile ends soon, and its question with it: one event says so, not two.
            if self.cancelled == stopping and not self._recorder.scope.cancel_called:
                self._recorder.withdraw(self.id, call_id, "cancelled")
            raise
        finally:
            self.waits.discard(waiting)
            self._recorder.forget_question(call_id)

    def shield(self, seconds: float = FINISHING_SECONDS) -> trio.CancelScope:
        """Delay cancellation inside the block ``with run.shield(): …``, for at most ``seconds``.

        Use it to finish important work.
        """
        return trio.move_on_after(seconds, shield=True)

    def _envelope(self, event: str, begun: bytes = b"") -> bytes:
        """Return the bytes with which each event of this type begins in this run.

        ``begun`` is the beginning of the event's data. The bytes are built once for each event type, and kept for later
        events.
        """
        parent = self.parent.id if self.parent is not None else None
        head = self._envelopes[event] = envelope(event, self.id, parent) + begun
        return head

    def _next_call(self) -> str:
        self._calls += 1
        return f"{self.id}.{self._calls}"


def _run_failed(child: Run, outcome: Outcome) -> RunFailed:
    error = outcome.error or {}
    code, message = str(error.get("code", "")), str(error.get("message", ""))
    return RunFailed(child.id, child.agent, outcome.status.value, code, message)


def _string(text: str) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  agents need not be typed
        raise UnserialisableEvent(f"expected a string, got {type(text).__name__}")
    return text
