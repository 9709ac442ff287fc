"""Reading events: what fits becomes its class, what is new passes, what is wrong is named."""

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
    return {"type": kind, **ENVELOPE, "data": data, **extra}


def test_every_type_of_the_protocol_becomes_its_class() -> None:
    assert REQUIRED.keys() == EVENT_TYPES.keys()
    for kind, data in REQUIRED.items():
        event = decode_event(wire(kind, data))
        assert type(event) is EVENT_TYPES[kind]
        assert (event.type, event.seq, event.ts, event.run_id) == (kind, 4, 1_700_000_000_000, "r1")
        assert {key: event.data[key] for key in data} == data


def test_ids_that_are_absent_are_none_and_those_that_are_there_are_kept() -> None:
    bare = decode_event({"type": "user_message", "seq": 1, "ts": 2, "data": {"text": "hi"}})
    assert bare == UserMessage(seq=1, ts=2, text="hi")
    full = decode_event(wire("tool_completed", {"tool": "t", "status": "ok"}, parent_run_id="r0", call_id="c1"))
    assert (full.run_id, full.parent_run_id, full.call_id) == ("r1", "r0", "c1")


def test_fields_that_are_not_known_are_ignored() -> None:
    event = decode_event(wire("agent_output", {"text": "x", "colour": "red"}, shard=7))
    assert event == AgentOutput(seq=4, ts=ENVELOPE["ts"], run_id="r1", text="x")


def test_an_unknown_type_keeps_its_name_and_its_data() -> None:
    event = decode_event(wire("agent_dreaming", {"of": ["sheep"], "seq": 99}))
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.data, event.seq) == ("agent_dreaming", {"of": ["sheep"], "seq": 99}, 4)


def test_data_cannot_stand_in_for_the_envelope() -> None:
    event = decode_event(
        {"type": "user_message", "seq": 3, "ts": 1, "data": {"text": "x", "run_id": "forged", "seq": 9}}
    )
    assert (event.seq, event.run_id) == (3, None)


@given(json_values)
def test_json_values_pass_as_they_are(value: Any) -> None:
    parsed = orjson.loads(orjson.dumps(value))
    started = decode_event(wire("agent_started", {"agent": "a", "input": parsed}))
    received = decode_event(wire("input_received", {"value": parsed, "by": "c1"}))
    assert isinstance(started, AgentStarted)
    assert isinstance(received, InputReceived)
    assert (started.input, received.value) == (parsed, parsed)
    custom = decode_event(wire("custom", {"name": "n", "value": parsed}))
    assert isinstance(custom, Custom)
    assert custom.value == parsed


def test_errors_are_objects() -> None:
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
def test_what_does_not_fit_is_named_with_its_path(obj: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        decode_event(obj)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"agent_completed\.agent.*agent_completed\.duration_ms"):
        decode_event(wire("agent_completed", {"agent": 1, "status": "ok", "duration_ms": "2"}))


def test_events_are_frozen() -> None:
    event = decode_event(wire("agent_dreaming", {}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.seq = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  the point of the test
