"""AG-UI streams as runs: each kind of event, sub-agents in any order, interrupts, and every end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from _hosts import World, run_in
from adapters._told import Told
from ag_ui.core import EventType, TextMessageContentEvent

from actors import AgentCompleted, InputRequested
from transport.adapters.agui import Encoder, RelayFailed, relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from actors import Event, Run
    from actors.runs._agents import AgentHost

STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "u"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "u"}
Stream = list[dict[str, Any]]

each_host = pytest.mark.parametrize("host", ["trio", "asyncio"])


async def streamed(events: Sequence[object]) -> AsyncIterator[object]:
    for event in events:
        yield event


def played(agent: Callable[[Run, object], Awaitable[object]], host: AgentHost = "trio") -> list[Event]:
    """Run an agent once, and return the events of its session."""

    async def story(world: World) -> list[Event]:
        world.app.agent(host=host, name="remote")(agent)
        return await world.ended(await world.session.start("remote", None))

    return run_in("asyncio", story)


def relayed(stream: Sequence[object], host: AgentHost = "trio") -> list[Event]:
    """Relay a stream, without its beginning, and return the events of the session."""

    async def remote(run: Run, _: object) -> object:
        return await relay(run, streamed([STARTED, *stream]))

    return played(remote, host)


def told(events: Sequence[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Return the types and data of the events between the start and the end of the run."""
    return [(event.type, {k: v for k, v in event.data.items() if k != "duration_ms"}) for event in events[1:-1]]


def message(id_: str, *texts: str, **more: Any) -> Stream:
    return [
        {"type": "TEXT_MESSAGE_START", "messageId": id_, **more},
        *({"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": text} for text in texts),
        {"type": "TEXT_MESSAGE_END", "messageId": id_},
    ]


def call(id_: str, *arguments: str, tool: str = "search") -> Stream:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": id_, "toolCallName": tool},
        *({"type": "TOOL_CALL_ARGS", "toolCallId": id_, "delta": text} for text in arguments),
        {"type": "TOOL_CALL_END", "toolCallId": id_},
    ]


def result(id_: str, content: object) -> dict[str, Any]:
    return {"type": "TOOL_CALL_RESULT", "messageId": "m", "toolCallId": id_, "content": content}


@each_host
def test_texts_and_result(host: AgentHost) -> None:
    """Texts, reasoning, the usage and the result are those of the run. A second message begins a paragraph."""
    usage = [{"inputTokens": 3, "outputTokens": 4, "model": "m"}]
    events = relayed(
        [
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m0", "delta": "hm"},
            *message("m1", "a", "", "b"),
            *message("m2", "the user's own words", role="user"),
            *message("m3", "c"),
            {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m4", "delta": "d"},
            {"type": "TEXT_MESSAGE_CHUNK", "delta": "e"},
            {**FINISHED, "result": {"n": 1}, "usage": usage},
        ],
        host,
    )
    pieces = [("agent_thinking", "hm"), *(("agent_output", text) for text in ("a", "b", "\n\nc", "\n\nd", "e"))]
    assert told(events) == [(kind, {"text": text}) for kind, text in pieces]
    last = events[-1].data
    assert (last["status"], last["result"]) == ("ok", {"n": 1})
    assert last["usage"] == {"input_tokens": 3, "output_tokens": 4, "model": "m"}


@each_host
def test_tools(host: AgentHost) -> None:
    """Tool calls may overlap. Arguments that are no object are kept, and a call without a result has failed."""
    events = relayed(
        [
            *call("1", '{"q":', '"tea"}'),
            *call("2", "[1]"),
            result("2", "two"),
            result("1", [{"type": "text", "text": "one"}]),
            *call("3", "no JSON"),
            {"type": "TOOL_CALL_CHUNK", "toolCallId": "4", "toolCallName": "chunked", "delta": '{"a":'},
            {"type": "TOOL_CALL_CHUNK", "delta": "1}"},
            result("4", "four"),
            result("unknown", "nothing"),
            FINISHED,
        ],
        host,
    )
    ended = [(data["tool"], data["status"], data.get("result")) for kind, data in told(events) if "completed" in kind]
    assert ended == [
        ("search", "ok", "two"),
        ("search", "ok", [{"type": "text", "text": "one"}]),
        ("chunked", "ok", "four"),
        ("search", "error", None),
    ]
    arguments = [data["arguments"] for kind, data in told(events) if kind == "tool_executing"]
    assert arguments == [{"q": "tea"}, {"arguments": [1]}, {"arguments": "no JSON"}, {"a": 1}]


def test_state_and_custom() -> None:
    """The state, activities and CUSTOM are ``custom`` events, from which the encoder makes the same AG-UI events."""
    activity = {"messageId": "m", "activityType": "PLAN"}
    stream: Stream = [
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}},
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/a"}]},
        {"type": "ACTIVITY_SNAPSHOT", **activity, "content": {"n": 1}, "replace": False},
        {"type": "ACTIVITY_DELTA", **activity, "patch": [{"op": "remove", "path": "/n"}]},
        {"type": "CUSTOM", "name": "note", "value": [1]},
    ]
    events = relayed([*stream, {"type": "STEP_STARTED", "stepName": "s"}, {"type": "RAW", "event": 1}, FINISHED])
    encoder = Encoder("t", "u")
    again = [each for event in events for each in encoder.feed(event)][1:-1]
    plain = [{k: v for k, v in each.items() if k not in {"timestamp", "metadata"}} for each in again]
    assert plain == [*stream, {"type": "CUSTOM", "name": "agui.step_started", "value": {"stepName": "s"}}]


@each_host
def test_subagents(host: AgentHost) -> None:
    """Sub-agents are child runs. They end in any order, and one that is left open ends with the run."""

    def started(id_: str, **more: str) -> dict[str, Any]:
        return {"type": "SUBAGENT_STARTED", "subagentRunId": id_, "name": id_, **more}

    events = relayed(
        [
            started("a"),
            started("b"),
            started("c", parentSubagentRunId="b"),
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x", "subagentRunId": "a"},
            {"type": "SUBAGENT_FINISHED", "subagentRunId": "a", "result": 1},
            {"type": "SUBAGENT_ERROR", "subagentRunId": "c", "message": "bad", "code": "E"},
            {"type": "SUBAGENT_FINISHED", "subagentRunId": "a"},
            FINISHED,
        ],
        host,
    )
    ends = [event for event in events if isinstance(event, AgentCompleted)]
    assert [(event.agent, event.status, event.result) for event in ends] == [
        ("a", "ok", 1),
        ("c", "error", None),
        ("b", "ok", None),
        ("remote", "ok", None),
    ]
    assert ends[1].error == {"code": "E", "message": "bad"}
    assert (ends[1].parent_run_id, ends[0].parent_run_id) == (ends[2].run_id, ends[3].run_id)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ([{"type": "RUN_ERROR", "message": "bad", "code": "E"}], "E"),
        ([{"type": "RUN_ERROR", "message": "bad"}], "error"),
        ([{**FINISHED, "outcome": {"type": "cancelled"}}], "cancelled"),
        ([{**FINISHED, "outcome": {"type": "interrupt", "interrupts": [{"id": "1", "reason": "r"}]}}], "interrupt"),
        ([], "incomplete"),
    ],
)
def test_other_ends(last: Stream, code: str) -> None:
    """An AG-UI run that is no success raises, with a code, and the run ends as an error with all of its calls."""
    codes: list[str] = []

    async def remote(run: Run, _: object) -> object:
        try:
            return await relay(run, streamed([STARTED, *call("1"), *last]))
        except RelayFailed as failed:
            codes.append(failed.code)
            raise

    events = played(remote)
    assert codes == [code]
    assert [event.data["status"] for event in events if "completed" in event.type][-1] == "error"


@pytest.mark.parametrize("wrong", ["RUN_STARTED", {"no": "type"}, 1])
def test_something_else(wrong: object) -> None:
    """A stream of something else than events raises TypeError."""
    (last,) = [event for event in relayed([wrong]) if isinstance(event, AgentCompleted)]
    assert last.error
    assert last.error["code"] == "TypeError"


def test_objects_of_the_package() -> None:
    """Events may be objects of the package ``ag-ui-protocol``."""
    piece = TextMessageContentEvent(type=EventType.TEXT_MESSAGE_CONTENT, message_id="m", delta="x")
    assert told(relayed([piece, FINISHED])) == [("agent_output", {"text": "x"})]


def test_interrupts_are_asked() -> None:
    """With a function, each interrupt is a question to the user, and the next stream gets the answers."""
    resumes: list[Any] = []

    async def remote(run: Run, _: object) -> object:
        def start(resume: Any) -> Any:
            resumes.append(resume)
            if len(resumes) > 1:
                return streamed([STARTED, {**FINISHED, "result": "done"}])
            interrupts = [{"id": "1", "reason": "r", "message": "Sure?"}, {"id": "2", "reason": "why"}]
            return streamed([STARTED, {**FINISHED, "outcome": {"type": "interrupt", "interrupts": interrupts}}])

        return await relay(run, start)

    async def story(world: World) -> list[Event]:
        world.app.agent(remote)
        run = await world.session.start("remote", None)
        async for event in world.session.events():
            if isinstance(event, InputRequested):
                await world.session.answer(run, str(event.call_id), event.prompt.upper())
            elif isinstance(event, AgentCompleted):
                break
        return await world.ended(run)

    assert run_in("asyncio", story)[-1].data["result"] == "done"
    answers = [("1", "SURE?"), ("2", "WHY")]
    assert resumes == [[], [{"interruptId": id_, "status": "resolved", "payload": value} for id_, value in answers]]


def test_stream_is_closed_when_the_run_is_cancelled() -> None:
    """A run that is cancelled closes the stream, which may hold a connection."""
    closed: list[str] = []

    async def remote(run: Run, _: object) -> object:
        async def endless() -> AsyncIterator[object]:
            try:
                yield STARTED
                run.stop()
                while True:
                    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}
            finally:
                closed.append("closed")

        return await relay(run, endless())

    assert played(remote)[-1].data["status"] == "cancelled"
    assert closed == ["closed"]


def test_what_one_server_tells_another_runs_with_the_same_events() -> None:
    """A run that is told as AG-UI and relayed has the same texts, tools and sub-agents."""
    here = Told()
    here.start()
    here.think("hm")
    here.output("a")
    here.start("sub", "r")
    here.output("b", "sub")
    here.tell("tool_executing", "sub", "c", tool="t", arguments={"q": 1})
    here.tell("tool_completed", "sub", "c", tool="t", status="ok", result="found")
    here.complete("sub", parent="r", result=2)
    here.complete(result=3)
    encoder = Encoder("t", "u")
    there = relayed([each for event in here.events for each in encoder.feed(event)][1:])
    assert [event.type for event in there] == [event.type for event in here.events]
    results = [event.data["result"] for event in there if "completed" in event.type]
    assert results == ["found", 2, 3]
