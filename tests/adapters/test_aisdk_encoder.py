"""A run as chunks of a UI message stream: each row of the table in transport/adapters/aisdk/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from adapters._told import Told
from adapters.test_agui_sequences import STEPS, told_of
from hypothesis import given
from hypothesis import strategies as st

from transport.adapters.aisdk.encoder import OWN_DATA, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors import Event

Chunk = dict[str, Any]


def wire(event: Event) -> dict[str, Any]:
    """Return an event as it is on the wire."""
    ids = {"run_id": event.run_id, "parent_run_id": event.parent_run_id, "call_id": event.call_id}
    fields = {"seq": event.seq, "ts": event.ts, "type": event.type, "data": event.data}
    return fields | {name: value for name, value in ids.items() if value is not None}


def chunks_of(events: Iterable[Event], run: str = "r") -> list[Chunk]:
    """Return the chunks of a run."""
    encoder = Encoder(run)
    return [chunk for event in events for chunk in encoder.feed(wire(event))]


def kinds(chunks: Iterable[Chunk]) -> list[str]:
    return [chunk["type"] for chunk in chunks]


@pytest.fixture
def told() -> Told:
    """A session with a run that has started."""
    told = Told()
    told.start()
    return told


def test_start_and_end(told: Told) -> None:
    """A run is one message with one step, under the run's id. Its metadata has the agent, times, result and usage."""
    told.complete(result={"a": 1}, duration_ms=7, usage={"input_tokens": 3})
    assert chunks_of(told.events) == [
        {"type": "start", "messageId": "r", "messageMetadata": {"runId": "r", "agent": "agent r", "startedAt": 1001}},
        {"type": "start-step"},
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "stop",
            "messageMetadata": {"durationMs": 7, "result": {"a": 1}, "usage": {"input_tokens": 3}},
        },
    ]


def test_text_and_reasoning(told: Told) -> None:
    """Consecutive pieces of one kind are one part. The part ends before the next part of the run begins."""
    for text in ("a", "b"):
        told.think(text)
    for text in ("c", "", "d"):
        told.output(text)
    told.tell("tool_executing", "r", "c1", tool="t", arguments={})
    assert chunks_of(told.events)[2:-1] == [
        {"type": "reasoning-start", "id": "r:2"},
        {"type": "reasoning-delta", "id": "r:2", "delta": "a"},
        {"type": "reasoning-delta", "id": "r:2", "delta": "b"},
        {"type": "reasoning-end", "id": "r:2"},
        {"type": "text-start", "id": "r:4"},
        {"type": "text-delta", "id": "r:4", "delta": "c"},
        {"type": "text-delta", "id": "r:4", "delta": "d"},
        {"type": "text-end", "id": "r:4"},
    ]


def test_tool_calls(told: Told) -> None:
    """A tool call is a dynamic tool part that the server executes: with its output, or with an error."""
    told.tell("tool_executing", "r", "c1", tool="search", arguments={"q": 1})
    told.tell("tool_completed", "r", "c1", tool="search", status="ok", result=[1])
    told.tell("tool_executing", "r", "c2", tool="search", arguments={})
    told.tell("tool_completed", "r", "c2", tool="search", status="timeout", error={"code": "T", "message": "too slow"})
    told.tell("tool_executing", "r", "c3", tool="search", arguments={})
    told.tell("tool_completed", "r", "c3", tool="search", status="ok")
    marks = {"dynamic": True, "providerExecuted": True}
    one, two, three = ({"toolCallId": id_, **marks} for id_ in ("c1", "c2", "c3"))
    assert chunks_of(told.events)[2:] == [
        {"type": "tool-input-available", "toolName": "search", "input": {"q": 1}, **one},
        {"type": "tool-output-available", "output": [1], **one},
        {"type": "tool-input-available", "toolName": "search", "input": {}, **two},
        {"type": "tool-output-error", "errorText": "timeout: too slow", **two},
        {"type": "tool-input-available", "toolName": "search", "input": {}, **three},
        {"type": "tool-output-available", "output": None, **three},
    ]


def test_sub_agents(told: Told) -> None:
    """A sub-agent is one data part under the id of its run, running and ended. Its text also comes piece by piece."""
    told.start("s", "r")
    told.tell("agent_output", "s", parent="r", text="half ")
    told.tell("agent_thinking", "s", parent="r", text="hm")
    told.tell("tool_executing", "s", "c1", "r", tool="t", arguments={})
    told.tell("tool_completed", "s", "c1", "r", tool="t", status="ok", result=1)
    told.start("g", "s")
    told.complete("g", "error", "s", error={"code": "E", "message": "no"})
    told.tell("agent_output", "s", parent="r", text="whole")
    told.complete("s", "ok", "r", result=2)
    running = {"runId": "s", "agent": "agent s", "parentRunId": "r"}
    child = {"runId": "g", "agent": "agent g", "parentRunId": "s", "text": ""}

    def part(id_: str, **data: Any) -> Chunk:
        return {"type": "data-subagent", "id": id_, "data": data}

    def passing(name: str, **data: Any) -> Chunk:
        return {"type": f"data-subagent-{name}", "data": {"runId": "s", **data}, "transient": True}

    assert chunks_of(told.events)[2:] == [
        part("s", **running, status="running", text=""),
        passing("text", kind="text", delta="half "),
        passing("text", kind="reasoning", delta="hm"),
        passing("tool", callId="c1", tool="t", status="running"),
        passing("tool", callId="c1", tool="t", status="ok"),
        part("g", **child, status="running"),
        part("g", **child, status="error", error={"code": "E", "message": "no"}),
        passing("text", kind="text", delta="whole"),
        part("s", **running, status="ok", text="half whole", result=2),
    ]


def test_text_goes_on_while_sub_agents_work(told: Told) -> None:
    """Events of sub-agents do not cut the text of their parent."""
    told.output("a")
    told.start("s", "r")
    told.output("b")
    told.complete("s", "ok", "r")
    told.output("c")
    assert kinds(chunks_of(told.events)).count("text-start") == 1


@pytest.mark.parametrize(
    ("kind", "data", "left"),
    [
        ("input_received", {"value": 3}, {"state": "answered", "value": 3}),
        ("input_withdrawn", {"reason": "timeout"}, {"state": "withdrawn", "reason": "timeout"}),
        ("agent_completed", {"agent": "a", "status": "ok"}, {"state": "withdrawn", "reason": "ok"}),
    ],
)
def test_questions(told: Told, kind: str, data: Chunk, left: Chunk) -> None:
    """A question is one data part under the id of its call: open, then answered or withdrawn."""
    told.output("well")
    told.ask("q", schema={"type": "integer"})
    told.tell(kind, "r", None if kind == "agent_completed" else "q", **data)
    shown = {"runId": "r", "callId": "q", "prompt": "Sure?", "schema": {"type": "integer"}}
    chunks = [chunk for chunk in chunks_of(told.events) if chunk["type"] == "data-question"]
    assert [chunk["id"] for chunk in chunks] == ["q", "q"]
    assert [chunk["data"] for chunk in chunks] == [{**shown, "state": "open"}, {**shown, **left}]
    assert kinds(chunks_of(told.events))[4:6] == ["text-end", "data-question"]


def test_question_of_a_sub_agent(told: Told) -> None:
    """A question of a sub-agent is shown, and withdrawn when the sub-agent ends."""
    told.start("s", "r")
    told.tell("input_requested", "s", "q", "r", prompt="?")
    told.complete("s", "cancelled", "r")
    states = [chunk["data"]["state"] for chunk in chunks_of(told.events) if chunk["type"] == "data-question"]
    assert states == ["open", "withdrawn"]


@pytest.mark.parametrize(
    ("status", "error", "last"),
    [
        ("cancelled", None, {"type": "abort", "reason": "cancelled"}),
        ("error", {"code": "V", "message": "bad"}, {"type": "error", "errorText": "error: bad"}),
        ("timeout", {"code": "T", "message": ""}, {"type": "error", "errorText": "timeout"}),
        ("interrupted", {"code": "I", "message": "restart"}, {"type": "error", "errorText": "interrupted: restart"}),
    ],
)
def test_other_ends(told: Told, status: str, error: Chunk | None, last: Chunk) -> None:
    """A cancelled run ends with ``abort``, others that are not ok with ``error``; the metadata has it, too."""
    told.output("a")
    failure: dict[str, Any] = {} if error is None else {"error": error}
    told.tell("agent_completed", "r", agent="a", status=status, **failure)
    failed = {"status": status, "error": last.get("errorText", "cancelled")}
    metadata = {"type": "message-metadata", "messageMetadata": failed}
    assert chunks_of(told.events)[-3:] == [{"type": "text-end", "id": "r:2"}, metadata, last]


def test_custom_events(told: Told) -> None:
    """A custom event of the run is a data part of its name. Names of the adapter's own parts get another one."""
    told.tell("custom", "r", name="chart", value=[1])
    for name in sorted(OWN_DATA):
        told.tell("custom", "r", name=name.removeprefix("data-"), value=None)
    told.tell("custom", name="session", value=1)
    chunks = chunks_of(told.events)[2:]
    assert chunks[0] == {"type": "data-chart", "id": "r:2", "data": [1]}
    assert kinds(chunks[1:]) == [f"data-custom-{name.removeprefix('data-')}" for name in sorted(OWN_DATA)]


def test_other_runs_are_left_out(told: Told) -> None:
    """Events of other runs, before, beside and after the run, make no chunks."""
    told.start("x")
    told.output("no", "x")
    told.tell("user_message", text="no")
    told.complete("x")
    told.complete()
    told.start("y")
    assert kinds(chunks_of(told.events)) == ["start", "start-step", "finish-step", "finish"]
    assert kinds(chunks_of(told.events, "x"))[2] == "text-start"


# Any sequence


class Reader:
    """The rules of a client: which chunks may come when. It raises AssertionError where a client would fail."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.text = ""
        self._open = dict[str, str]()
        self._tools = dict[str, bool]()
        self._started = self._ended = False

    def take(self, chunk: Chunk) -> None:
        """Take one chunk."""
        kind = chunk["type"]
        assert not self._ended, chunk
        assert self._started == (kind != "start"), chunk
        self._started = True
        name, _, verb = kind.rpartition("-")
        if kind in {"finish", "abort", "error"}:
            self._ended = True
            assert not self._open
            assert not [id_ for id_, is_done in self._tools.items() if not is_done]
        elif name in {"text", "reasoning"}:
            self._grow(name, verb, chunk)
        elif kind == "tool-input-available":
            assert self._tools.setdefault(chunk["toolCallId"], False) is False
        elif kind.startswith("tool-output"):
            assert self._tools[chunk["toolCallId"]] is False
            self._tools[chunk["toolCallId"]] = True
        else:
            assert kind in {"start", "start-step", "finish-step", "message-metadata"} or kind.startswith("data-"), chunk

    def _grow(self, name: str, verb: str, chunk: Chunk) -> None:
        if verb == "start":
            assert chunk["id"] not in self.parts
            assert not self._open
            self.parts.append(chunk["id"])
            self._open[chunk["id"]] = name
        assert self._open[chunk["id"]] == name
        if verb == "delta":
            assert chunk["delta"]
            self.text += chunk["delta"] if name == "text" else ""
        if verb == "end":
            del self._open[chunk["id"]]


@given(STEPS, st.integers(0, 40))
def test_any_sequence_and_any_cut(steps: list[tuple[str, int, int]], cut: int) -> None:
    """A client accepts every run of any session, with its whole text. Fed again from the start, it is the same."""
    told = told_of(steps, roots=3)
    for root in [event.run_id for event in told.events if event.type == "agent_started" and not event.parent_run_id]:
        reader, encoder, again = Reader(), Encoder(str(root)), Encoder(str(root))
        for event in told.events:
            for chunk in encoder.feed(wire(event)):
                reader.take(chunk)
        said = [event.data["text"] for event in told.events if event.type == "agent_output" and event.run_id == root]
        assert reader.text == "".join(map(str, said))
        # A second stream begins in the middle of the session's life: it is fed from the start, and goes on.
        before = [chunk for event in told.events[:cut] for chunk in again.feed(wire(event))]
        after = [chunk for event in told.events[cut:] for chunk in again.feed(wire(event))]
        assert [*before, *after] == chunks_of(told.events, str(root))
