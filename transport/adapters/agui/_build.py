"""The events of AG-UI 1.0 as dicts, as they are sent. Pure.

The names of the fields are those of the specification (https://ag-ui.com/spec/1.0/schema.json). An optional field
without a value is left out: AG-UI refuses null there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import JSON, ToolCompleted

AguiEvent: TypeAlias = "dict[str, Any]"
"""An event of AG-UI, as it is sent in JSON."""

PROTOCOL_VERSION = "1.0"
STATE_SNAPSHOT = "agui.state_snapshot"
STATE_DELTA = "agui.state_delta"
ACTIVITY = "agui.activity"
ACTIVITY_DELTA = "agui.activity_delta"

COUNTS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "reasoning_tokens": "reasoningTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
}
"""The counts of a run's usage: their names here, and in AG-UI."""

_MAX_COUNT = 2**53 - 1
_LABELS = ("model", "provider")
_NEEDS_VALUE = {"add", "replace", "test"}
_NEEDS_FROM = {"move", "copy"}
_OPERATIONS = {*_NEEDS_VALUE, *_NEEDS_FROM, "remove"}


def run_started(thread: str, run_id: str) -> AguiEvent:
    """Return the event that begins an AG-UI run."""
    return {"type": "RUN_STARTED", "threadId": thread, "runId": run_id, "protocolVersion": PROTOCOL_VERSION}


def run_finished(thread: str, run_id: str, outcome: Mapping[str, object], **more: object) -> AguiEvent:
    """Return the event that ends an AG-UI run which did not fail."""
    return {"type": "RUN_FINISHED", "threadId": thread, "runId": run_id, **more, "outcome": dict(outcome)}


def run_error(code: str, message: str, **more: object) -> AguiEvent:
    """Return the event that ends an AG-UI run which failed."""
    return {"type": "RUN_ERROR", "message": message or code, "code": code, **more}


def text_opened(kind: str, message_id: str, tag: Mapping[str, str]) -> list[AguiEvent]:
    """Return the events that begin a message (``kind`` is ``text``) or the agent's reasoning."""
    if kind == "text":
        return [{"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant", **tag}]
    return [
        {"type": "REASONING_START", "messageId": message_id, **tag},
        {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning", **tag},
    ]


def text_piece(kind: str, message_id: str, text: str, tag: Mapping[str, str]) -> AguiEvent:
    """Return the event with a piece of a message or of the agent's reasoning."""
    name = "TEXT_MESSAGE_CONTENT" if kind == "text" else "REASONING_MESSAGE_CONTENT"
    return {"type": name, "messageId": message_id, "delta": text, **tag}


def text_closed(kind: str, message_id: str, tag: Mapping[str, str]) -> list[AguiEvent]:
    """Return the events that end a message or the agent's reasoning."""
    if kind == "text":
        return [{"type": "TEXT_MESSAGE_END", "messageId": message_id, **tag}]
    return [
        {"type": "REASONING_MESSAGE_END", "messageId": message_id, **tag},
        {"type": "REASONING_END", "messageId": message_id, **tag},
    ]


def user_text(message_id: str, text: str) -> list[AguiEvent]:
    """Return the events of a whole message of the user. A message without text gives none."""
    if not text:
        return []
    return [
        {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "user"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text},
        {"type": "TEXT_MESSAGE_END", "messageId": message_id},
    ]


def tool_called(call_id: str, tool: str, arguments: JSON, tag: Mapping[str, str]) -> list[AguiEvent]:
    """Return the events of the beginning of a tool call, with all of its arguments."""
    text = orjson.dumps({} if arguments is None else arguments).decode()
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool, **tag},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": text, **tag},
        {"type": "TOOL_CALL_END", "toolCallId": call_id, **tag},
    ]


def tool_result(event: ToolCompleted, tag: Mapping[str, str]) -> AguiEvent:
    """Return the event with the result of a tool call: its text, other JSON, or an object with the error."""
    if event.status != "ok":
        return tool_failed(str(event.call_id), event.status, tag, event.error)
    return _tool_told(str(event.call_id), event.result, tag)


def tool_failed(
    call_id: str, status: str, tag: Mapping[str, str], error: Mapping[str, JSON] | None = None
) -> AguiEvent:
    """Return the event for a tool call that has no result."""
    return _tool_told(call_id, {"error": {**(error or {}), "status": status}}, tag)


def tool_message(call_id: str, content: JSON, error: str | None) -> dict[str, Any]:
    """Return the message with which a client told the result of a tool of its own."""
    message = {"id": f"{call_id}:result", "role": "tool", "toolCallId": call_id, "content": _text(content)}
    return message if error is None else {**message, "error": error}


def _tool_told(call_id: str, content: JSON, tag: Mapping[str, str]) -> AguiEvent:
    about = {"messageId": f"{call_id}:result", "toolCallId": call_id, "role": "tool"}
    return {"type": "TOOL_CALL_RESULT", **about, "content": _text(content), **tag}


def _text(content: JSON) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def custom(name: str, value: JSON, tag: Mapping[str, str]) -> AguiEvent:
    """Return the event for a ``custom`` event: of the state or of an activity if its name says so, else CUSTOM.

    *A client ends the whole run at an event that does not fit the specification.* So a value that does not fit its name
    is sent as CUSTOM.
    """
    if name == STATE_SNAPSHOT:
        return {"type": "STATE_SNAPSHOT", "snapshot": value, **tag}
    if name == STATE_DELTA and _is_patch(value):
        return {"type": "STATE_DELTA", "delta": value, **tag}
    if name == ACTIVITY and _is_activity(value) and isinstance(value.get("content"), dict):
        more = {"replace": value["replace"]} if isinstance(value.get("replace"), bool) else {}
        return {"type": "ACTIVITY_SNAPSHOT", **_activity(value), "content": value["content"], **more, **tag}
    if name == ACTIVITY_DELTA and _is_activity(value) and _is_patch(value.get("patch")):
        return {"type": "ACTIVITY_DELTA", **_activity(value), "patch": value["patch"], **tag}
    return {"type": "CUSTOM", "name": name, "value": value, **tag}


def usage_of(usage: JSON) -> dict[str, Any]:
    """Return the field ``usage`` of the end of a run, or nothing: the counts and labels that the specification has.

    ``usage`` is an object for one model, or a list of such objects.
    """
    entries = [_usage_entry(each) for each in (usage if isinstance(usage, list) else [usage]) if isinstance(each, dict)]
    found = [each for each in entries if each]
    return {"usage": found} if found else {}


def _usage_entry(usage: dict[str, JSON]) -> dict[str, Any]:
    entry: dict[str, Any] = {name: usage[name] for name in _LABELS if isinstance(usage.get(name), str)}
    for ours, theirs in COUNTS.items():
        count = usage.get(ours)
        if type(count) is int and 0 <= count <= _MAX_COUNT:
            entry[theirs] = count
    return entry


def _is_activity(value: JSON) -> TypeGuard[dict[str, JSON]]:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("messageId", "activityType"))


def _activity(value: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value[name] for name in ("messageId", "activityType")}


def _is_patch(value: JSON) -> bool:
    """Return whether a value is a JSON Patch (RFC 6902)."""
    return isinstance(value, list) and all(map(_is_operation, value))


def _is_operation(value: JSON) -> bool:
    if not isinstance(value, dict) or value.get("op") not in _OPERATIONS or not _is_pointer(value.get("path")):
        return False
    if value["op"] in _NEEDS_FROM:
        return _is_pointer(value.get("from"))
    return value["op"] not in _NEEDS_VALUE or "value" in value


def _is_pointer(value: JSON) -> bool:
    """Return whether a value is a JSON Pointer (RFC 6901): "~" stands only before 0 or 1."""
    if not isinstance(value, str):
        return False
    rest = value.replace("~0", "").replace("~1", "")
    return "~" not in rest and (not value or value.startswith("/"))
