"""The run: the object through which an agent emits events, calls tools and asks its user."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from threading import get_ident
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import orjson
import trio

from actors.errors import RunFailed
from actors.events.types import Status
from actors.loop.threads import require_task
from actors.runs._asking import AskingRun
from actors.runs._emits import string_of
from actors.runs._open_call import OpenCall
from actors.runs._raised import has_cancelled
from actors.runs._scope import RunScope
from actors.runs._tools import ToolCall, tool_name
from actors.runs._wrapped import as_tool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from actors.runs._agents import Agent, AgentFunction
    from actors.runs._outcome import Outcome
    from actors.runs._recorder import RunRecorder

P = ParamSpec("P")
T = TypeVar("T")

FINISHING_SECONDS = 5.0
"""Default time for which :meth:`Run.shield` delays a cancellation, in seconds."""


class Run(AskingRun):
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

    __slots__ = ()

    @property
    def fence(self) -> str | None:
        """The token with which this server of a cluster writes for the user, as text. None without a cluster.

        A tool that is running goes on when another server takes the user over, because this one is cut off. To protect
        a system that it changes, pass the token on: the number at its beginning grows with each server that takes the
        user over. The system must refuse a token with a lower number than it has seen for the user.
        """
        return self._stream.fence

    def tool(self, name: str, arguments: Mapping[str, object] | None = None) -> ToolCall:
        """Record a ``with`` block of the agent's own code as a tool call. Clients see an ordinary tool call.

        Use it as ``async with run.tool("search", {"q": …}) as call: call.result = …``.
        """
        if get_ident() != self._stream.thread:
            return self._hop("tool()", self.tool, name, arguments)
        return ToolCall(self, self._recorder, self._next_call(), string_of(name), arguments or {})

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

    @overload
    def wrap(
        self, function: Callable[P, Awaitable[T]], /, *, timeout: float | None = None, name: str | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def wrap(
        self, function: Callable[P, T], /, *, timeout: float | None = None, name: str | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def wrap(
        self, function: Callable[..., Any], /, *, timeout: float | None = None, name: str | None = None
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return an async function that calls ``function`` as a tool, with the same parameters and type.

        A framework can register the result as a tool: it has the name, docstring, signature and annotations of
        ``function``. Clients see the arguments by name, also those that are passed by position.

        Args:
            function: The tool: an async function, or any other callable, which is called in a thread.
            timeout: Time limit for each call, in seconds.
            name: Name of the tool, also as ``__name__`` of the result. By default the name of ``function``.

        Raises:
            ValueError: ``function`` has no signature, like some functions that are written in C.

        The result raises TypeError for arguments that do not fit, and the errors of :meth:`call_tool`.
        """
        return as_tool(self, function, timeout, None if name is None else string_of(name))

    def call_started(self, name: str, arguments: Mapping[str, object] | None = None) -> OpenCall:
        """Record that a tool call has started, and return it. Never wait. Your code must report the end of the call.

        Use this for frameworks that report the start and the end of a tool call as two events::

            call = run.call_started("search", {"query": "tea"})
            call.completed(["tea 1", "tea 2"])

        Write ``await run.call_started(…)`` to wait while too many events are not stored yet. Raises as :meth:`tool`.
        """
        if get_ident() != self._stream.thread:
            return self._hop("call_started()", self.call_started, name, arguments)
        return OpenCall(self, self.tool(name, arguments))

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
        text, value = self._input_for(found, input)
        child = make_run(self._recorder, found, self)
        scope = RunScope(child, self._recorder, text, timeout=found.timeout)
        return await self._result_of(child, scope, partial(found, child, value))

    def _input_for(self, agent: Agent, value: object) -> tuple[bytes, object]:
        """Return the input for a sub-agent, as JSON text and as its function takes it. Raise as :meth:`call_agent`."""
        self.check_limits(agent.name)
        text = self._recorder.encode(value)
        return text, agent.fit(orjson.loads(text), self._recorder.redact)

    async def _result_of(
        self, child: Run, scope: AbstractAsyncContextManager[Run], call: Callable[[], Awaitable[object]]
    ) -> Any:
        """Call a sub-agent in ``scope``, and return its result. Raise RunFailed if it ends with another status."""
        try:
            async with scope:
                child.result = await call()
        except GeneratorExit:  # this coroutine is being closed
            raise
        except BaseException as error:
            if child.outcome is None or self._has_cancelled(error):  # it never began, or this run is cancelled
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
            return self._hop("subrun()", self.subrun, name, input)
        text = self._subrun_input(name, input)
        return RunScope(type(self)(self._recorder, name, self), self._recorder, text)

    def _subrun_input(self, name: str, value: object) -> bytes:
        """Return the input of a ``subrun`` block as JSON text. Raise the errors of :meth:`subrun`."""
        self._recorder.encode(string_of(name))
        text = self._recorder.encode(value)
        self.check_limits(name)
        return text

    def shield(self, seconds: float = FINISHING_SECONDS) -> trio.CancelScope:
        """Delay cancellation inside the block ``with run.shield(): …``, for at most ``seconds``.

        Use it to finish important work.
        """
        return trio.move_on_after(seconds, shield=True)

    def _has_cancelled(self, error: BaseException) -> bool:
        """Return whether ``error`` contains a cancellation, which must always propagate."""
        return has_cancelled(error)


def make_run(recorder: RunRecorder, agent: Agent, parent: Run | None = None) -> Run:
    """Return a new run of an agent: an :class:`~actors.AsyncioRun` for an asyncio agent."""
    if agent.host == "trio":
        return Run(recorder, agent.name, parent)
    # Loaded by name, and only now: a server without asyncio agents never loads asyncio.
    kind: type[Run] = import_module("actors.runs._asyncio_run").AsyncioRun
    return kind(recorder, agent.name, parent)


def _run_failed(child: Run, outcome: Outcome) -> RunFailed:
    error = outcome.error or {}
    code, message = str(error.get("code", "")), str(error.get("message", ""))
    return RunFailed(child.id, child.agent, outcome.status.value, code, message)
