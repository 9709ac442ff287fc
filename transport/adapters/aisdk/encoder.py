"""The events of one run as chunks of a UI message stream, version 1 (Vercel AI SDK 6). Pure.

A run becomes one message. What the run itself does becomes parts of the message: text, reasoning and tool calls. Each
sub-agent is one data part, which the client replaces whenever a newer one with the same id comes. All ids are made of
the events, so a stream that begins again at the run's start makes the same message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import attrs

from actors.events.types import EventType, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Chunk = dict[str, Any]
Event = dict[str, Any]
Handlers: TypeAlias = "Mapping[str, Callable[[Any, Event, Chunk], list[Chunk]]]"
"""The method for each type of event. Any: the encoder itself."""

SUBAGENT = "data-subagent"
SUBAGENT_TEXT = "data-subagent-text"
SUBAGENT_TOOL = "data-subagent-tool"
QUESTION = "data-question"
OWN_DATA = frozenset({SUBAGENT, SUBAGENT_TEXT, SUBAGENT_TOOL, QUESTION})
"""The types of data parts that the encoder makes itself. A ``custom`` event of such a name gets another type."""


@attrs.define
class _Subagent:
    """A sub-agent that runs: its data part, with the text that it has written so far."""

    data: Chunk
    text: list[str] = attrs.field(factory=list[str])


class Encoder:
    """The chunks of one run. Feed it the events of the session from the run's start on, in their order.

    Events of other runs are left out.

    Args:
        run_id: Id of the run, which is also the id of the message.
    """

    def __init__(self, run_id: str) -> None:
        self._root = run_id
        self._open: tuple[str, str] | None = None
        """The kind (text or reasoning) and the id of the part that still grows."""
        self._subagents: dict[str, _Subagent] = {}
        self._questions: dict[str, Chunk] = {}
        self.started = False
        """Whether the run's start was fed."""
        self.over = False
        """Whether the run's end was fed. Later events make no chunks."""

    def feed(self, event: Event) -> list[Chunk]:
        """Return the chunks of one event, as it is on the wire."""
        run_id, kind = event.get("run_id"), event["type"]
        if self.over:
            return []
        if kind == EventType.AGENT_STARTED:
            return self._on_started(event, event["data"])
        if not self.started or (run_id != self._root and run_id not in self._subagents):
            return []
        handlers = self._OF_ROOT if run_id == self._root else self._OF_SUBAGENTS
        handler = handlers.get(kind)
        return [] if handler is None else handler(self, event, event["data"])

    # The start and the end of runs

    def _on_started(self, event: Event, data: Chunk) -> list[Chunk]:
        run_id, parent = event["run_id"], event.get("parent_run_id")
        if run_id == self._root:
            self.started = True
            metadata = {"runId": run_id, "agent": data["agent"], "startedAt": event["ts"]}
            return [{"type": "start", "messageId": run_id, "messageMetadata": metadata}, {"type": "start-step"}]
        if not self.started or (parent != self._root and parent not in self._subagents):
            return []
        shown = {"runId": run_id, "agent": data["agent"], "parentRunId": parent, "status": "running", "text": ""}
        self._subagents[run_id] = _Subagent(shown)
        return [{"type": SUBAGENT, "id": run_id, "data": shown}]

    def _on_completed(self, event: Event, data: Chunk) -> list[Chunk]:
        chunks = [*self._close(), *self._withdraw_all(event["run_id"], data["status"])]
        self.over = True
        if data["status"] != Status.OK:
            # "abort" and "error" leave nothing in the message: a page that is loaded later would show a success.
            failed = {"type": "message-metadata", "messageMetadata": {"status": data["status"], "error": _fault(data)}}
            is_cancelled = data["status"] == Status.CANCELLED
            abort = {"type": "abort", "reason": Status.CANCELLED.value}
            return [*chunks, failed, abort if is_cancelled else {"type": "error", "errorText": _fault(data)}]
        told = {"durationMs": data.get("duration_ms"), "result": data.get("result"), "usage": data.get("usage")}
        metadata = {name: value for name, value in told.items() if value is not None}
        finish = {"type": "finish", "finishReason": "stop", "messageMetadata": metadata}
        return [*chunks, {"type": "finish-step"}, finish]

    def _on_subagent_completed(self, event: Event, data: Chunk) -> list[Chunk]:
        run_id = event["run_id"]
        subagent = self._subagents.pop(run_id)
        shown = {**subagent.data, "status": data["status"], "text": "".join(subagent.text)}
        if data["status"] == Status.OK:
            shown |= {"result": data["result"]} if data.get("result") is not None else {}
        else:
            shown["error"] = data.get("error")
        withdrawn = self._withdraw_all(run_id, data["status"])
        return [*withdrawn, {"type": SUBAGENT, "id": run_id, "data": shown}]

    # Text

    def _on_output(self, event: Event, data: Chunk) -> list[Chunk]:
        return self._grow("text", event, data["text"])

    def _on_thinking(self, event: Event, data: Chunk) -> list[Chunk]:
        return self._grow("reasoning", event, data["text"])

    def _grow(self, kind: str, event: Event, text: str) -> list[Chunk]:
        if not text:
            return []
        chunks: list[Chunk] = []
        if self._open is None or self._open[0] != kind:
            chunks = self._close()
            self._open = kind, f"{self._root}:{event['seq']}"
            chunks.append({"type": f"{kind}-start", "id": self._open[1]})
        return [*chunks, {"type": f"{kind}-delta", "id": self._open[1], "delta": text}]

    def _close(self) -> list[Chunk]:
        """End the part that grows."""
        if self._open is None:
            return []
        (kind, id_), self._open = self._open, None
        return [{"type": f"{kind}-end", "id": id_}]

    def _on_subagent_output(self, event: Event, data: Chunk) -> list[Chunk]:
        self._subagents[event["run_id"]].text.append(data["text"])
        return self._subagent_text("text", event, data)

    def _on_subagent_thinking(self, event: Event, data: Chunk) -> list[Chunk]:
        return self._subagent_text("reasoning", event, data)

    def _subagent_text(self, kind: str, event: Event, data: Chunk) -> list[Chunk]:
        shown = {"runId": event["run_id"], "kind": kind, "delta": data["text"]}
        return [{"type": SUBAGENT_TEXT, "data": shown, "transient": True}] if data["text"] else []

    # Tools

    def _on_tool(self, event: Event, data: Chunk) -> list[Chunk]:
        # "providerExecuted" keeps the client from running the tool, and from sending its result.
        call = {"toolCallId": event["call_id"], "toolName": data["tool"], "input": data.get("arguments")}
        chunk = {"type": "tool-input-available", **call, "dynamic": True, "providerExecuted": True}
        return [*self._close(), chunk]

    def _on_tool_completed(self, event: Event, data: Chunk) -> list[Chunk]:
        call = {"toolCallId": event["call_id"], "dynamic": True, "providerExecuted": True}
        if data["status"] == Status.OK:
            return [*self._close(), {"type": "tool-output-available", **call, "output": data.get("result")}]
        return [*self._close(), {"type": "tool-output-error", **call, "errorText": _fault(data)}]

    def _on_subagent_tool(self, event: Event, data: Chunk) -> list[Chunk]:
        status = data.get("status", "running")
        shown = {"runId": event["run_id"], "callId": event["call_id"], "tool": data["tool"], "status": status}
        return [{"type": SUBAGENT_TOOL, "data": shown, "transient": True}]

    # Questions

    def _on_question(self, event: Event, data: Chunk) -> list[Chunk]:
        shown = {"runId": event["run_id"], "callId": event["call_id"], "prompt": data["prompt"], "state": "open"}
        if data.get("schema") is not None:
            shown["schema"] = data["schema"]
        self._questions[event["call_id"]] = shown
        return [*self._close(), {"type": QUESTION, "id": event["call_id"], "data": shown}]

    def _on_answer(self, event: Event, data: Chunk) -> list[Chunk]:
        return self._settle(event["call_id"], state="answered", value=data["value"])

    def _on_withdrawn(self, event: Event, data: Chunk) -> list[Chunk]:
        return self._settle(event["call_id"], state="withdrawn", reason=data["reason"])

    def _settle(self, call_id: str, **change: object) -> list[Chunk]:
        shown = self._questions.pop(call_id) | change
        return [{"type": QUESTION, "id": call_id, "data": shown}]

    def _withdraw_all(self, run_id: str, status: str) -> list[Chunk]:
        """Show the questions of a run that has ended as withdrawn."""
        left = [call_id for call_id, shown in self._questions.items() if shown["runId"] == run_id]
        return [chunk for call_id in left for chunk in self._settle(call_id, state="withdrawn", reason=status)]

    # The application's own events

    def _on_custom(self, event: Event, data: Chunk) -> list[Chunk]:
        kind = f"data-{data['name']}"
        if kind in OWN_DATA:
            kind = f"data-custom-{data['name']}"
        close = self._close() if event["run_id"] == self._root else []
        return [*close, {"type": kind, "id": f"{event['run_id']}:{event['seq']}", "data": data["value"]}]

    _COMMON: ClassVar[Handlers] = {
        EventType.INPUT_REQUESTED: _on_question,
        EventType.INPUT_RECEIVED: _on_answer,
        EventType.INPUT_WITHDRAWN: _on_withdrawn,
        EventType.CUSTOM: _on_custom,
    }
    _OF_ROOT: ClassVar[Handlers] = {
        EventType.AGENT_OUTPUT: _on_output,
        EventType.AGENT_THINKING: _on_thinking,
        EventType.TOOL_EXECUTING: _on_tool,
        EventType.TOOL_COMPLETED: _on_tool_completed,
        EventType.AGENT_COMPLETED: _on_completed,
        **_COMMON,
    }
    _OF_SUBAGENTS: ClassVar[Handlers] = {
        EventType.AGENT_OUTPUT: _on_subagent_output,
        EventType.AGENT_THINKING: _on_subagent_thinking,
        EventType.TOOL_EXECUTING: _on_subagent_tool,
        EventType.TOOL_COMPLETED: _on_subagent_tool,
        EventType.AGENT_COMPLETED: _on_subagent_completed,
        **_COMMON,
    }


def _fault(data: Chunk) -> str:
    """Return the text of a failure: its status, and the message of its error."""
    error: dict[str, Any] = data.get("error") or {}
    message = error.get("message", "")
    return f"{data['status']}: {message}" if message else str(data["status"])
