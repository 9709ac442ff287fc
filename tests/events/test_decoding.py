"""The decoding of events."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events.decoding import decode_event
from actors.events.types import (
    EVENT_TYPES,
    AgentCompleted,
    AgentOutput,
    AgentStarted,
    Custom,
    InputReceived,
    ToolCompleted,
    UnknownEvent,
    UserMessage,
)

ENVELOPE: dict[str, Any] = {"seq": 4, "ts": 1_700_000_000_000, "run_id": "r1"}
REQUIRED: dict[str, dict[str, Any]] = {
    "agent_started": {"agent": "a"},
    "agent_thinking": {"text": "t"},
    "agent_output": {"text": "t"},
    "tool_executing": {"tool": "t"},
    "tool_completed": {"tool": "t", "status": "ok"},
    "input_requested": {"prompt": "p"},
    "input_received": {},
    "input_withdrawn": {"reason": "timeout"},
    "agent_completed": {"agent": "a", "status": "ok"},
    "user_message": {"text": "t"},
    "custom": {"name": "n"},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def wire(kind: str, data: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """Return an event as it is on the wire."""
    return {"type": kind, **ENVELOPE, "data": data, **extra}


def test_each_type_has_a_class() -> None:
    """Each event type of the protocol is decoded to its class, with all its fields."""
    assert REQUIRED.keys() == EVENT_TYPES.keys()
    for kind, data in REQUIRED.items():
        event = decode_event(wire(kind, data))
        assert type(event) is EVENT_TYPES[kind]
        assert (event.type, event.seq, event.ts, event.run_id) == (kind, 4, 1_700_000_000_000, "r1")
        assert {key: event.data[key] for key in data} == data


def test_ids() -> None:
    """An id that an event has is the same after decoding. An id that an event does not have is None."""
    bare = decode_event({"type": "user_message", "seq": 1, "ts": 2, "data": {"text": "hi"}})
    assert bare == UserMessage(seq=1, ts=2, text="hi")
    full = decode_event(wire("tool_completed", {"tool": "t", "status": "ok"}, parent_run_id="r0", call_id="c1"))
    assert (full.run_id, full.parent_run_id, full.call_id) == ("r1", "r0", "c1")


def test_unknown_fields_are_ignored() -> None:
    """The decoder ignores unknown fields of an event and of the event's data."""
    event = decode_event(wire("agent_output", {"text": "x", "colour": "red"}, shard=7))
    assert event == AgentOutput(seq=4, ts=ENVELOPE["ts"], run_id="r1", text="x")


def test_unknown_type() -> None:
    """An event of an unknown type is decoded as an ``UnknownEvent``, with the name of its type and all its data."""
    event = decode_event(wire("agent_dreaming", {"of": ["sheep"], "seq": 99}))
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.data, event.seq) == ("agent_dreaming", {"of": ["sheep"], "seq": 99}, 4)


def test_data_cannot_replace_the_envelope() -> None:
    """If a field of an event's data has the same name as a field of the event itself, the event's own value counts."""
    event = decode_event(
        {"type": "user_message", "seq": 3, "ts": 1, "data": {"text": "x", "run_id": "forged", "seq": 9}}
    )
    assert (event.seq, event.run_id) == (3, None)


@given(json_values)
def test_json_values_are_unchanged(value: Any) -> None:
    """Fields that may hold any JSON value have the same value after decoding."""
    parsed = orjson.loads(orjson.dumps(value))
    started = decode_event(wire("agent_started", {"agent": "a", "input": parsed}))
    received = decode_event(wire("input_received", {"value": parsed, "by": "c1"}))
    assert isinstance(started, AgentStarted)
    assert isinstance(received, InputReceived)
    assert (started.input, received.value) == (parsed, parsed)
    custom = decode_event(wire("custom", {"name": "n", "value": parsed}))
    assert isinstance(custom, Custom)
    assert custom.value == parsed


def test_error_must_be_an_object() -> None:
    """The ``error`` of an event must be an object or absent. A string is refused."""
    fault = {"code": "ValueError", "message": "no"}
    tool = decode_event(wire("tool_completed", {"tool": "t", "status": "error", "error": fault}))
    agent = decode_event(wire("agent_completed", {"agent": "a", "status": "error", "error": fault, "usage": {"in": 3}}))
    assert isinstance(tool, ToolCompleted)
    assert isinstance(agent, AgentCompleted)
    assert (tool.error, agent.error, agent.usage) == (fault, fault, {"in": 3})
    with pytest.raises(ValueError, match="expected an object, got str"):
        decode_event(wire("tool_completed", {"tool": "t", "status": "error", "error": "no"}))


@pytest.mark.parametrize(
    ("obj", "fault"),
    [
        ({}, "needs a type and a data object"),
        ({"type": "user_message", "seq": 1, "ts": 1}, "needs a type and a data object"),
        ({"type": ["user_message"], "seq": 1, "ts": 1, "data": {}}, "needs a type and a data object"),
        ({"type": "user_message", "seq": 1, "ts": 1, "data": []}, "needs a type and a data object"),
        ({"type": "user_message", "ts": 1, "data": {"text": "x"}}, "required field missing @ user_message.seq"),
        ({"type": "user_message", "seq": True, "ts": 1, "data": {"text": "x"}}, "@ user_message.seq"),
        ({"type": "user_message", "seq": "1", "ts": 1, "data": {"text": "x"}}, "@ user_message.seq"),
        ({"type": "user_message", "seq": 0, "ts": 1, "data": {"text": "x"}}, "seq 0 is not"),
        ({"type": "user_message", "seq": 2**53, "ts": 1, "data": {"text": "x"}}, "is not from 1"),
        ({"type": "user_message", "seq": 1, "ts": 1, "data": {"text": 5}}, "@ user_message.text"),
        ({"type": "new_one", "seq": 1.5, "ts": 1, "data": {}}, "@ new_one.seq"),
    ],
)
def test_faults_have_a_path(obj: dict[str, Any], fault: str) -> None:
    """If a field of an event is wrong or missing, the error message contains the path of this field."""
    with pytest.raises(ValueError, match=fault):
        decode_event(obj)


def test_all_faults_are_reported() -> None:
    """If an event has several wrong fields, one error message reports all of them."""
    with pytest.raises(ValueError, match=r"agent_completed\.agent.*agent_completed\.duration_ms"):
        decode_event(wire("agent_completed", {"agent": 1, "status": "ok", "duration_ms": "2"}))


def test_events_are_frozen() -> None:
    """A decoded event cannot be changed: setting one of its attributes raises an exception."""
    event = decode_event(wire("agent_dreaming", {}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.seq = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  the point of the test
