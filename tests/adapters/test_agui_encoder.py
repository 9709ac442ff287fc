"""The AG-UI events for the events of a session: the table of the mapping, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from adapters._agui_verifier import check_schema, verify
from adapters._told import Told

from transport.adapters.agui import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import Event

PLAIN = {"timestamp", "metadata"}


def fed(encoder: Encoder, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the AG-UI events without times and seqs."""
    out = [each for event in events for each in encoder.feed(event)]
    for each in out:
        check_schema(each)
    return [{name: value for name, value in each.items() if name not in PLAIN} for each in out]


def encoded(told: Told, answers: str | None = None) -> list[dict[str, Any]]:
    """Return what an AG-UI run "u" is told, without its first event if it begins with the run."""
    out = fed(Encoder("t", "u", answers), told.events)
    assert out[0] == {"type": "RUN_STARTED", "threadId": "t", "runId": "u", "protocolVersion": "1.0"}
    return out[1:]


@pytest.fixture
def told() -> Told:
    """A session in which a run has started."""
    made = Told()
    made.start()
    return made


def finished(outcome: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "RUN_FINISHED", "threadId": "t", "runId": "u", "outcome": outcome, **more}


def test_events_have_time_and_seq(told: Told) -> None:
    """Each AG-UI event has the time and the seq of the event that it comes from."""
    told.output("a")
    out = [each for event in told.events for each in Encoder("t", "u").feed(event)]
    assert [(each["timestamp"], each["metadata"]) for each in out] == [(1001, {"greenroom": {"seq": 1}})]
    encoder = Encoder("t", "u")
    out = [each for event in told.events for each in encoder.feed(event)]
    assert [(each["timestamp"], each["metadata"]["greenroom"]["seq"]) for each in out[1:]] == [(1002, 2)] * 2


@pytest.mark.parametrize(
    ("status", "data", "last"),
    [
        ("ok", {"result": {"n": 1}}, finished({"type": "success"}, result={"n": 1})),
        ("ok", {}, finished({"type": "success"})),
        ("cancelled", {"error": {"code": "cancelled", "message": "m"}}, finished({"type": "cancelled"})),
        (
            "error",
            {"error": {"code": "ValueError", "message": "bad"}},
            {"type": "RUN_ERROR", "message": "bad", "code": "ValueError"},
        ),
        (
            "timeout",
            {"error": {"code": "timeout", "message": "late"}},
            {"type": "RUN_ERROR", "message": "late", "code": "timeout"},
        ),
        ("interrupted", {}, {"type": "RUN_ERROR", "message": "interrupted", "code": "interrupted"}),
    ],
)
def test_end_of_run(told: Told, status: str, data: dict[str, Any], last: dict[str, Any]) -> None:
    """A run ends as success, cancelled or RUN_ERROR, and nothing follows."""
    told.complete(status=status, **data)
    told.output("late")
    assert encoded(told) == [last]


def test_usage(told: Told) -> None:
    """The usage of a run has the names of AG-UI; what AG-UI does not have is left out."""
    told.complete(usage={"input_tokens": 3, "output_tokens": 4, "model": "m", "cost": 1.5, "total_tokens": -1})
    usage = [{"inputTokens": 3, "outputTokens": 4, "model": "m"}]
    assert encoded(told) == [finished({"type": "success"}, usage=usage)]


def test_texts_and_reasoning(told: Told) -> None:
    """Consecutive pieces are one message. Another type of event ends it. An empty text is nothing."""
    told.output("")
    told.think("hm")
    told.think("m")
    told.output("a")
    told.output("")
    told.output("b")
    told.complete()
    thought, said = {"messageId": "r:3"}, {"messageId": "r:5"}
    assert encoded(told) == [
        {"type": "REASONING_START", **thought},
        {"type": "REASONING_MESSAGE_START", **thought, "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", **thought, "delta": "hm"},
        {"type": "REASONING_MESSAGE_CONTENT", **thought, "delta": "m"},
        {"type": "REASONING_MESSAGE_END", **thought},
        {"type": "REASONING_END", **thought},
        {"type": "TEXT_MESSAGE_START", **said, "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", **said, "delta": "a"},
        {"type": "TEXT_MESSAGE_CONTENT", **said, "delta": "b"},
        {"type": "TEXT_MESSAGE_END", **said},
        finished({"type": "success"}),
    ]


@pytest.mark.parametrize(
    ("end", "content"),
    [
        ({"status": "ok", "result": "words"}, "words"),
        ({"status": "ok", "result": {"n": [1]}}, '{"n":[1]}'),
        ({"status": "ok"}, "null"),
        (
            {"status": "error", "error": {"code": "ValueError", "message": "no"}},
            '{"error":{"code":"ValueError","message":"no","status":"error"}}',
        ),
        ({"status": "timeout"}, '{"error":{"status":"timeout"}}'),
        ({"status": "cancelled"}, '{"error":{"status":"cancelled"}}'),
        ({"status": "interrupted"}, '{"error":{"status":"interrupted"}}'),
    ],
)
def test_tool_call(told: Told, end: dict[str, Any], content: str) -> None:
    """A tool call has its arguments as JSON, and its result as text, or an object with the error."""
    told.tell("tool_executing", "r", "c", tool="search", arguments={"q": "tea"})
    told.tell("tool_completed", "r", "c", tool="search", **end)
    assert encoded(told) == [
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "search"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"q":"tea"}'},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        {"type": "TOOL_CALL_RESULT", "messageId": "c:result", "toolCallId": "c", "role": "tool", "content": content},
    ]


def test_subagents(told: Told) -> None:
    """A child run is a sub-agent; below depth 1 it names its parent. Its end is FINISHED, or ERROR with a code."""
    told.start("a", "r")
    told.start("b", "a")
    told.output("x", "b")
    told.complete("b", "timeout", "a")
    told.complete("a", parent="r", result=1)
    told.start("c", "r")
    told.complete("c", "error", "r", error={"code": "KeyError", "message": "k"})
    assert encoded(told) == [
        {"type": "SUBAGENT_STARTED", "subagentRunId": "a", "name": "agent a"},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "b", "name": "agent b", "parentSubagentRunId": "a"},
        {"type": "TEXT_MESSAGE_START", "messageId": "b:4", "role": "assistant", "subagentRunId": "b"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "b:4", "delta": "x", "subagentRunId": "b"},
        {"type": "TEXT_MESSAGE_END", "messageId": "b:4", "subagentRunId": "b"},
        {"type": "SUBAGENT_ERROR", "subagentRunId": "b", "message": "timeout", "code": "timeout"},
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "a", "result": 1, "outcome": {"type": "success"}},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "c", "name": "agent c"},
        {"type": "SUBAGENT_ERROR", "subagentRunId": "c", "message": "k", "code": "KeyError"},
    ]


def test_text_ends_before_a_subagent(told: Told) -> None:
    """The text of a run ends before its sub-agent begins: else what follows would be shown above the sub-agent."""
    told.output("a")
    told.start("sub", "r")
    told.output("b")
    kinds = [each["type"].removeprefix("TEXT_MESSAGE_") for each in encoded(told)]
    assert kinds == ["START", "CONTENT", "END", "SUBAGENT_STARTED", "START", "CONTENT"]


ACTIVITY = {"messageId": "m", "activityType": "PLAN"}
PATCH = [{"op": "replace", "path": "/a~1b", "value": 2}, {"op": "move", "from": "/x", "path": ""}]


@pytest.mark.parametrize(
    ("name", "value", "event"),
    [
        ("agui.state_snapshot", None, {"type": "STATE_SNAPSHOT", "snapshot": None}),
        ("agui.state_delta", PATCH, {"type": "STATE_DELTA", "delta": PATCH}),
        ("agui.activity", {**ACTIVITY, "content": {"n": 1}}, {"type": "ACTIVITY_SNAPSHOT", "content": {"n": 1}}),
        ("agui.activity_delta", {**ACTIVITY, "patch": PATCH}, {"type": "ACTIVITY_DELTA", "patch": PATCH}),
        ("note", None, {"type": "CUSTOM", "name": "note", "value": None}),
    ],
)
def test_custom(told: Told, name: str, value: Any, event: dict[str, Any]) -> None:
    """The state, its changes and activities are events of their own; another custom event is CUSTOM."""
    told.tell("custom", "r", name=name, value=value)
    more = ACTIVITY if "ACTIVITY" in event["type"] else {}
    assert encoded(told) == [{**event, **more}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agui.state_delta", {"op": "add"}),
        ("agui.state_delta", [{"op": "add", "path": "/a"}]),
        ("agui.state_delta", [{"op": "remove", "path": "a"}]),
        ("agui.state_delta", [{"op": "remove", "path": "/~2"}]),
        ("agui.state_delta", [{"op": "copy", "path": "/a"}]),
        ("agui.activity", {"messageId": "m", "activityType": "PLAN", "content": []}),
        ("agui.activity", {"messageId": "m", "content": {}}),
        ("agui.activity_delta", {**ACTIVITY, "patch": 1}),
    ],
)
def test_custom_that_does_not_fit(told: Told, name: str, value: Any) -> None:
    """A value that does not fit the name of its event is CUSTOM: a client would end the run at an invalid event."""
    told.tell("custom", "r", name=name, value=value)
    assert encoded(told) == [{"type": "CUSTOM", "name": name, "value": value}]


def test_session_events(told: Told) -> None:
    """Inside a run the user's message is a text of the role user, and an event of the session is CUSTOM."""
    told.tell("user_message", text="hi")
    told.tell("user_message", text="")
    told.tell("custom", name="n", value=1)
    assert encoded(told) == [
        {"type": "TEXT_MESSAGE_START", "messageId": "message:2", "role": "user"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "message:2", "delta": "hi"},
        {"type": "TEXT_MESSAGE_END", "messageId": "message:2"},
        {"type": "CUSTOM", "name": "n", "value": 1},
    ]


def test_events_of_others_are_ignored() -> None:
    """Events before the run, of other runs, and of types that this version does not know, give nothing."""
    told = Told()
    told.tell("user_message", text="before")
    told.output("unknown", "old")
    told.start()
    told.start("other")
    told.output("x", "other")
    told.start("sub", "other")
    told.tell("news", "r")
    told.complete("sub", parent="other")
    told.complete("other")
    assert encoded(told) == []


def asked(told: Told) -> dict[str, Any]:
    """Let a sub-agent "b" of a sub-agent "a" ask the user, and return what AG-UI clients are asked."""
    told.start("a", "r")
    told.start("b", "a")
    told.output("x")
    told.think("y", "b")
    told.ask("q", "b", schema={"type": "object"})
    return {
        "id": "q",
        "reason": "input_requested",
        "message": "Sure?",
        "subagentRunId": "b",
        "responseSchema": {"type": "object"},
    }


def test_question_ends_agui_run(told: Told) -> None:
    """A question ends all texts, suspends the sub-agents, innermost first, and ends the AG-UI run as interrupt."""
    question = asked(told)
    told.output("meanwhile")
    assert encoded(told)[-6:] == [
        {"type": "TEXT_MESSAGE_END", "messageId": "r:4"},
        {"type": "REASONING_MESSAGE_END", "messageId": "b:5", "subagentRunId": "b"},
        {"type": "REASONING_END", "messageId": "b:5", "subagentRunId": "b"},
        {
            "type": "SUBAGENT_FINISHED",
            "subagentRunId": "b",
            "outcome": {"type": "suspended", "interruptIds": ["q"]},
        },
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "a", "outcome": {"type": "suspended"}},
        finished({"type": "interrupt", "interrupts": [question]}),
    ]


def test_schema_that_is_no_object(told: Told) -> None:
    """A schema that is no object is not sent: AG-UI has objects only."""
    told.ask("q", schema=True)
    interrupts = [{"id": "q", "reason": "input_requested", "message": "Sure?"}]
    assert encoded(told) == [finished({"type": "interrupt", "interrupts": interrupts})]


def test_answer_begins_next_agui_run(told: Told) -> None:
    """The AG-UI run behind an answer begins with the suspended sub-agents, and has what happened in between."""
    asked(told)
    told.output("meanwhile")
    told.answer("q", "b")
    told.output("z", "b")
    told.complete("b", parent="a")
    told.complete("a", parent="r")
    told.complete()
    assert encoded(told, "q") == [
        {"type": "SUBAGENT_STARTED", "subagentRunId": "a", "name": "agent a"},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "b", "name": "agent b", "parentSubagentRunId": "a"},
        {"type": "TEXT_MESSAGE_START", "messageId": "r:7", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "r:7", "delta": "meanwhile"},
        {"type": "TEXT_MESSAGE_START", "messageId": "b:9", "role": "assistant", "subagentRunId": "b"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "b:9", "delta": "z", "subagentRunId": "b"},
        {"type": "TEXT_MESSAGE_END", "messageId": "b:9", "subagentRunId": "b"},
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "b", "outcome": {"type": "success"}},
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "a", "outcome": {"type": "success"}},
        {"type": "TEXT_MESSAGE_END", "messageId": "r:7"},
        finished({"type": "success"}),
    ]


def test_two_questions_at_once(told: Told) -> None:
    """A second question that is asked while the first one waits is the interrupt of the next AG-UI run."""
    told.ask("q1")
    told.ask("q2")
    told.answer("q1")
    told.output("a")
    first, second = encoded(told), encoded(told, "q1")
    assert [each[-1]["outcome"]["interrupts"][0]["id"] for each in (first, second)] == ["q1", "q2"]
    told.answer("q2")
    told.complete()
    third = encoded(told, "q2")
    assert [each["type"] for each in third][1:-1] == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert third[-1] == finished({"type": "success"})


def test_question_that_was_closed_meanwhile(told: Told) -> None:
    """A question that was asked and closed while another one waits is no interrupt: its answer would be refused."""
    told.ask("q1")
    told.ask("q2")
    told.tell("input_withdrawn", "r", "q2", reason="timeout")
    told.answer("q1")
    told.complete()
    withdrawn = {"type": "CUSTOM", "name": "greenroom.input_withdrawn", "value": {"id": "q2", "reason": "timeout"}}
    assert encoded(told, "q1") == [withdrawn, finished({"type": "success"})]


def test_run_that_ends_while_it_waits(told: Told) -> None:
    """The end of a run that waits, for example by ``run.cancel``, is told to the AG-UI run behind the question."""
    asked(told)
    told.complete("b", "cancelled", "a")
    told.complete("a", "cancelled", "r")
    told.complete(status="cancelled")
    assert encoded(told)[-1]["outcome"]["type"] == "interrupt"
    out = encoded(told, "q")
    assert [each["type"] for each in out] == [*["SUBAGENT_STARTED"] * 2, *["SUBAGENT_ERROR"] * 2, "RUN_FINISHED"]
    assert out[-1] == finished({"type": "cancelled"})
    verify([{"type": "RUN_STARTED", "threadId": "t", "runId": "u"}, *out])
