"""Fuzz targets: the decoder of events and the check of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fuzz.target import Target

from actors import UnserialisableEvent
from actors.eventlog.base import Head
from actors.eventlog.verify import StreamCheck
from actors.events.decoding import decode_event
from actors.events.encoding import encode
from actors.events.line import build_line, check_numbers, envelope, timestamp
from actors.events.types import EVENT_TYPES, MAX_SEQ, UnknownEvent

if TYPE_CHECKING:
    from actors.events.types import Event

_LIMIT = 1 << 20
_RULES = {"G1", "G2", "G3", "G4", "G5", "event", "ts", "state"}


def events(data: bytes) -> None:
    """Check that any JSON object is decoded to an event or refused with ``ValueError``.

    A decoded event has the values of the object. It is the same after it was written to a line and decoded again.
    """
    try:
        obj = orjson.loads(data)
    except ValueError:
        return
    if not isinstance(obj, dict):
        return
    try:
        event = decode_event(obj)
    except ValueError:
        return
    assert type(event) is EVENT_TYPES.get(obj["type"], UnknownEvent)
    assert (event.seq, event.ts, event.type) == (obj["seq"], obj["ts"], obj["type"])
    for name in ("run_id", "parent_run_id", "call_id"):
        assert getattr(event, name) == obj.get(name)
    _check_line(event)


def _check_line(event: Event) -> None:
    try:
        payload = encode(event.data, _LIMIT)
    except UnserialisableEvent:
        return  # the integers of a foreign server may be too long for our own encoder
    head = envelope(event.type, event.run_id, event.parent_run_id, event.call_id)
    line = build_line(event.seq, event.ts, head, payload)
    assert b"\n" not in line
    assert timestamp(line) == event.ts
    check_numbers("a stream", event.seq, [line], 1)
    assert decode_event(orjson.loads(line)) == event


def log_lines(data: bytes) -> None:
    """Check that any lines in a log are checked without an exception, and that each fault names a rule."""
    *lines, state = data.split(b"\n")
    check = StreamCheck(1)
    found = [each for line in lines for each in check.take(line)]
    assert check.count == len(lines)
    head = Head("e", 1, len(lines), len(data), 0, state)
    found += check.end(head)
    assert all(rule in _RULES and message for rule, message in found)


def _event(kind: str, seq: int = 1, **fields: Any) -> bytes:
    ids = {name: fields.pop(name) for name in ("run_id", "parent_run_id", "call_id") if name in fields}
    return orjson.dumps({"seq": seq, "ts": 1_700_000_000_000 + seq, "type": kind, **ids, "data": fields})


_CONVERSATION = (
    _event("agent_started", 1, run_id="r1", agent="a", input={"x": 1}, command_id="c1"),
    _event("agent_thinking", 2, run_id="r1", text="hm"),
    _event("tool_executing", 3, run_id="r1", call_id="t1", tool="t", arguments=[1]),
    _event("tool_completed", 4, run_id="r1", call_id="t1", tool="t", status="ok", result=None, duration_ms=3),
    _event("input_requested", 5, run_id="r1", call_id="q1", prompt="?", schema={"type": "string"}),
    _event("input_received", 6, run_id="r1", call_id="q1", value="y", by="c-1"),
    _event("agent_started", 7, run_id="r2", parent_run_id="r1", agent="b"),
    _event("agent_completed", 8, run_id="r2", parent_run_id="r1", agent="b", status="cancelled", duration_ms=1),
    _event("agent_completed", 9, run_id="r1", agent="a", status="error", error={"code": "E", "message": "no"}),
    _event("user_message", 10, text="hi"),
    _event("custom", 11, name="n", value=MAX_SEQ),
    _event("input_withdrawn", 12, run_id="r1", call_id="q1", reason="timeout"),
)
_WORDS = (
    b'"seq":', b'"ts":', b'"type":', b'"data":', b'"run_id":', b'"parent_run_id":', b'"call_id":', b'"agent"',
    b'"input"', b'"command_id"', b'"text"', b'"tool"', b'"arguments"', b'"status"', b'"ok"', b'"error"', b'"result"',
    b'"duration_ms"', b'"prompt"', b'"schema"', b'"value"', b'"by"', b'"reason"', b'"name"', b'"code"', b'"message"',
    b'"usage"', b'"agent_started"', b'"agent_completed"', b'"tool_executing"', b'"tool_completed"',
    b'"input_requested"', b'"input_received"', b'"input_withdrawn"', b'"user_message"', b'"custom"', b"null", b"true",
    b"1e400", b"-1", b"9007199254740992", b"18446744073709551616", b"{}", b"[]",
)  # fmt: skip
_LINES = (
    b"\n".join((*_CONVERSATION, b"")),
    b"\n".join((*_CONVERSATION[:2], b'[0,[["run","r1","r1",null,"a",1]]]')),
)

TARGETS = (Target("events", events, _CONVERSATION, _WORDS), Target("log_lines", log_lines, _LINES, _WORDS))
