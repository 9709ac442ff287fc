"""A stream of AG-UI events as a run: an agent of another framework, or of another server, behind one of your own."""

from __future__ import annotations

from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

from actors import GreenroomError
from actors.events.types import Status
from actors.failures import class_name
from actors.spi import Outcome
from transport.adapters.agui import _build as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from actors import OpenCall, Run

AguiStream: TypeAlias = "AsyncIterable[object]"
"""The events of one AG-UI run: dicts as they are sent in JSON, or objects of the package ``ag-ui-protocol``."""
Resume: TypeAlias = "Sequence[Mapping[str, Any]]"
"""The answers with which an AG-UI run goes on: the field ``resume`` of ``RunAgentInput``."""

_TEXTS = {"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK"}
_THOUGHTS = {"REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK"}
_ENDS = {"RUN_FINISHED", "RUN_ERROR"}
_ENVELOPE = {"type", "timestamp", "rawEvent", "metadata", "subagentRunId"}


class RelayFailed(GreenroomError):
    """The relayed AG-UI run has failed, was cancelled, asked its user, or ended without its last event.

    Args:
        code: The code of ``RUN_ERROR``, or ``cancelled``, ``interrupt`` or ``incomplete``.
        message: The reason, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """The code of the failure."""


async def relay(run: Run, events: AguiStream | Callable[[Resume], AguiStream]) -> Any:
    """Emit the events of an AG-UI stream as events of ``run``, and return the result of the AG-UI run.

    Texts, reasoning, tool calls, sub-agents, the state, activities, CUSTOM and the usage become events of the run. The
    function works in trio and in asyncio, as ``run`` and the stream do.

    Args:
        run: The run, also an :class:`~actors.AsyncioRun`.
        events: The stream, or a function that returns one. The function gets the answers to the interrupts of the
            stream before, first none. An interrupt is then asked by ``run.ask_user``, and the next stream goes on.

    Raises:
        RelayFailed: The AG-UI run has not ended as a success.
        TypeError: The stream contains something else than events.

    Cancellation:
        The stream is closed, if it is a generator. Its open tool calls and sub-agents end with the run.
    """
    made = _Relay(run)
    stream = events([]) if callable(events) else events
    while True:
        last = await made.take(stream)
        asked = _outcome(last).get("interrupts", [])
        if not asked or not callable(events):
            return made.finish(last)
        stream = events([await made.ask(interrupt) for interrupt in asked])


class _Relay:
    """The state of a relayed run: its sub-agents, its open tool calls, and the message that came last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._subagents: dict[str, Any] = {}  # id in the stream -> the scope of a sub-agent, which is never entered
        self._names: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self._calls: dict[str, OpenCall] = {}
        self._user_messages: set[str] = set()
        self._messages: dict[str, str | None] = {}  # run -> the last message that had text
        # A chunk without an id continues the last message, or the last call.
        self._last_message = self._last_call = ""

    async def take(self, stream: AguiStream) -> dict[str, Any]:
        """Emit the events of a stream, and return its last event. Raise RelayFailed if it has none."""
        generator: Any = stream
        closing: AbstractAsyncContextManager[Any] = aclosing(generator) if hasattr(stream, "aclose") else nullcontext()
        async with closing:
            async for each in stream:
                event = _as_dict(each)
                if event["type"] in _ENDS:
                    return event
                await self._emit(event)
        raise RelayFailed("incomplete", "the AG-UI stream ended without RUN_FINISHED or RUN_ERROR")

    def finish(self, last: dict[str, Any]) -> Any:
        """Return the result of the AG-UI run. Raise RelayFailed unless it was a success."""
        entries: list[dict[str, Any]] = last.get("usage") or []
        if usage := [_plain_usage(each) for each in entries]:
            self._run.usage = usage[0] if len(usage) == 1 else usage
        for call in self._calls.values():
            call.failed("the AG-UI run ended without a result of this call")
        if last["type"] == "RUN_ERROR":
            raise RelayFailed(str(last.get("code") or "error"), str(last.get("message") or "the AG-UI run failed"))
        outcome = _outcome(last).get("type", "success")
        if outcome != "success":
            raise RelayFailed(outcome, f"the AG-UI run ended with the outcome {outcome}")
        for subagent in reversed(self._subagents.values()):
            subagent.close(Outcome(Status.OK))
        return last.get("result")

    async def ask(self, interrupt: dict[str, Any]) -> dict[str, Any]:
        """Ask the user about an interrupt, and return the answer as an entry of ``resume``."""
        prompt = str(interrupt.get("message") or interrupt.get("reason") or "")
        value = await self._run_of(interrupt).ask_user(prompt, schema=interrupt.get("responseSchema"))
        return {"interruptId": interrupt["id"], "status": "resolved", "payload": value}

    def _run_of(self, event: dict[str, Any]) -> Run:
        """Return the run that an event belongs to: a sub-agent if it is open, else the run itself."""
        scope = self._subagents.get(event.get("subagentRunId", ""))
        found: Run = self._run if scope is None else scope.run
        return found

    async def _emit(self, event: dict[str, Any]) -> None:
        kind, run = event["type"], self._run_of(event)
        if kind == "TEXT_MESSAGE_START" or kind in _TEXTS:
            await self._text(event, run)
        elif kind in _THOUGHTS:
            await run.thinking(event.get("delta") or "")
        elif kind.startswith("TOOL_CALL_"):
            await self._tool(event, run)
        elif kind.startswith("SUBAGENT_"):
            await self._subagent(event)
        elif kind == "CUSTOM":
            await run.custom(event["name"], event.get("value"))
        elif kind == "STATE_SNAPSHOT":
            await run.custom(build.STATE_SNAPSHOT, event.get("snapshot"))
        elif kind == "STATE_DELTA":
            await run.custom(build.STATE_DELTA, event["delta"])
        elif kind in {"ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA"}:
            await run.custom(build.ACTIVITY if kind == "ACTIVITY_SNAPSHOT" else build.ACTIVITY_DELTA, _content(event))
        elif kind in {"MESSAGES_SNAPSHOT", "STEP_STARTED", "STEP_FINISHED"}:
            await run.custom(f"agui.{kind.lower()}", _content(event))

    async def _text(self, event: dict[str, Any], run: Run) -> None:
        """Emit a piece of a message. Messages of the user are left out: the session has them already."""
        self._last_message = message = event.get("messageId") or self._last_message
        if event.get("role") == "user":
            self._user_messages.add(message)
        text = event.get("delta") or ""
        if not text or message in self._user_messages:
            return
        before = self._messages.get(run.id)
        self._messages[run.id] = message
        # The answer of a run is one text: without a gap, two messages would run into each other.
        await run.output(text if before in {None, message} else f"\n\n{text}")

    async def _tool(self, event: dict[str, Any], run: Run) -> None:
        kind = event["type"]
        self._last_call = id_ = event.get("toolCallId") or self._last_call
        if event.get("toolCallName"):
            self._names[id_] = event["toolCallName"]
        if kind in {"TOOL_CALL_ARGS", "TOOL_CALL_CHUNK"}:
            self._arguments[id_] = self._arguments.get(id_, "") + (event.get("delta") or "")
        if kind in {"TOOL_CALL_END", "TOOL_CALL_RESULT"} and id_ in self._names:
            name, arguments = self._names.pop(id_), self._arguments.pop(id_, "")
            self._calls[id_] = await run.call_started(name, _arguments(arguments))
        if kind == "TOOL_CALL_RESULT" and id_ in self._calls:
            await self._calls.pop(id_).completed(event.get("content"))

    async def _subagent(self, event: dict[str, Any]) -> None:
        id_ = event["subagentRunId"]
        scope = self._subagents.get(id_)
        if event["type"] == "SUBAGENT_STARTED":
            if scope is None:  # else it was suspended, and goes on
                parent = self._run_of({"subagentRunId": event.get("parentSubagentRunId", "")})
                await parent.ready()
                # Not entered: sub-agents end in any order, and blocks within a task end in the reverse one.
                self._subagents[id_] = made = parent.subrun(event["name"])
                made.open()
            return
        if scope is None or _outcome(event).get("type") == "suspended":
            return
        del self._subagents[id_]
        if event["type"] == "SUBAGENT_FINISHED":
            scope.close(Outcome(Status.OK, event.get("result")))
        else:
            error = {"code": event.get("code") or "error", "message": event.get("message") or ""}
            scope.close(Outcome(Status.ERROR, error=error))


def _as_dict(event: object) -> dict[str, Any]:
    """Return an event as a dict with the names of the JSON. Raise TypeError if it is no event."""
    dump = getattr(event, "model_dump", None)
    found: Any = event if dump is None else dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(found, dict) or not isinstance(cast("dict[str, Any]", found).get("type"), str):
        raise TypeError(f"an AG-UI event is a dict with a type, or an object of ag_ui.core, not {class_name(event)}")
    return cast("dict[str, Any]", found)


def _outcome(event: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of the end of a run or of a sub-agent, which may be absent."""
    outcome: dict[str, Any] = event.get("outcome") or {}
    return outcome


def _content(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in _ENVELOPE}


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a tool call. Text that is no JSON object is kept as an argument of its own."""
    try:
        value: Any = orjson.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"arguments": value}


def _plain_usage(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the usage with the names of this project."""
    names = {theirs: ours for ours, theirs in build.COUNTS.items()}
    return {names.get(name, name): value for name, value in entry.items()}
