"""The rules of AG-UI 1.0 for a stream: each event fits the schema, and the order is the one that clients accept.

The schema is that of the Python package ``ag-ui-protocol``, without unknown fields and without null for an optional
field. The order is that of ``verifyEvents`` in the package ``@ag-ui/client``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ag_ui.core import Event
from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Event)
_OPENING = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "TOOL_CALL_START": ("tool", "toolCallId"),
}
_INSIDE = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
    "TOOL_CALL_ARGS": ("tool", "toolCallId"),
}
_CLOSING = {
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "REASONING_END": ("span", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "TOOL_CALL_END": ("tool", "toolCallId"),
}


def check_schema(event: dict[str, Any]) -> None:
    """Raise if an event does not fit the schema exactly."""
    assert None not in [event.get(name, "") for name in event if name not in {"value", "snapshot", "result"}], event
    _check_model(_ADAPTER.validate_python(event, strict=False))


def _check_model(value: object) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, (type(value).__name__, value.model_extra)
        for name in type(value).model_fields:
            _check_model(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            _check_model(each)


class Verifier:
    """The check of one stream, event by event."""

    def __init__(self) -> None:
        self.active = False
        """Whether an AG-UI run is open."""
        self._open: dict[tuple[str, str], str | None] = {}
        self._subagents: set[str] = set()
        self._ended: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        """Check the next event."""
        check_schema(event)
        kind, subagent = event["type"], event.get("subagentRunId")
        if kind == "RUN_STARTED":
            assert not self.active
            self.active = True
            self._open.clear()
            self._subagents, self._ended = set(), set()
            return
        assert self.active, f"{kind} outside of a run"
        if kind in _OPENING:
            key = (_OPENING[kind][0], event[_OPENING[kind][1]])
            assert key not in self._open, event
            self._open[key] = subagent
        elif kind in _INSIDE or kind in _CLOSING:
            name, field = {**_INSIDE, **_CLOSING}[kind]
            assert self._open[name, event[field]] == subagent, event
            if kind in _CLOSING:
                del self._open[name, event[field]]
        self._take_end(kind, event)
        if subagent is not None and not kind.startswith("SUBAGENT_"):
            assert subagent in self._subagents, event

    def _take_end(self, kind: str, event: dict[str, Any]) -> None:
        if kind == "SUBAGENT_STARTED":
            assert event["subagentRunId"] not in self._subagents | self._ended
            assert event.get("parentSubagentRunId") in {None, *self._subagents}
            self._subagents.add(event["subagentRunId"])
        elif kind in {"SUBAGENT_FINISHED", "SUBAGENT_ERROR"}:
            self._subagents.remove(event["subagentRunId"])
            self._ended.add(event["subagentRunId"])
        elif kind == "RUN_FINISHED":
            assert not self._open
            assert not self._subagents
            self.active = False
        elif kind == "RUN_ERROR":
            self.active = False


def verify(events: Iterable[dict[str, Any]]) -> None:
    """Raise if a client would not accept a stream that ends after its last AG-UI run."""
    verifier = Verifier()
    for event in events:
        verifier.take(event)
    assert not verifier.active
