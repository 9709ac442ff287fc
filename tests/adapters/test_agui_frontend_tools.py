"""Tools of the page: an agent calls them, the AG-UI run ends with the call open, and a tool message goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from adapters._agui_verifier import verify
from adapters._told import Told
from adapters.test_agui_requests import BODY, called, code_of, echo, run, session, told
from starlette.applications import Starlette
from starlette.testclient import TestClient

from actors import AsyncioRun, Run  # noqa: TC001 - read by the app
from transport import Greenroom
from transport.adapters.agui import Encoder, FrontendToolFailed, ThreadEncoder, call_frontend_tool
from transport.hosting import lifespan, mount_agui

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = {"x-agui-tool": {"name": "paint", "arguments": {"colour": "red"}}}


async def painter(run: Run, prompt: str) -> object:
    """Call a tool of the page in a sub-agent, and then another by itself."""
    async with run.subrun("sub") as child:
        child.result = await call_frontend_tool(child, "paint", {"colour": prompt})
    return [child.result, await call_frontend_tool(run, "close")]


async def careful(run: AsyncioRun, prompt: str) -> str:
    """Return the error of a tool of the page."""
    try:
        await call_frontend_tool(run, "paint")
    except FrontendToolFailed as failed:
        return f"{failed.tool}: {failed} ({failed.content})"
    return "painted"


async def impatient(run: Run, prompt: str) -> str:
    """Call a tool that no page has."""
    try:
        await call_frontend_tool(run, "paint", timeout=0.001)
    except TimeoutError:
        return "nobody"
    return "painted"


async def asks(run: Run, prompt: str) -> object:
    """Ask the user."""
    return await run.ask_user("Sure?")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = Greenroom(log="memory:", settings={"drain_seconds": 0, "commands_burst": 1_000})
    for agent in (painter, impatient, asks, echo):
        app.agent(agent)
    app.agent(host="asyncio")(careful)
    api = Starlette(lifespan=lifespan(app))
    api.state.greenroom = app
    mount_agui(api, "/agui", app)
    with TestClient(api) as made:
        yield made


def body(thread: str, run_id: str = "u1", *messages: dict[str, Any]) -> dict[str, Any]:
    return {**BODY, "threadId": thread, "runId": run_id, "messages": [*BODY["messages"], *messages]}


def pending(events: list[dict[str, Any]]) -> str:
    """Return the id of the tool call that an AG-UI run leaves open."""
    verify(events)
    outcome = events[-1]["outcome"]
    assert outcome["type"] == "success"
    (call,) = outcome["pendingToolCallIds"]
    assert [each["toolCallId"] for each in events if each["type"] == "TOOL_CALL_START"][-1] == call
    return str(call)


def answered(call: str, content: object = "done", **more: object) -> list[dict[str, Any]]:
    """Return the messages behind a tool call that a page has executed."""
    function = {"name": "paint", "arguments": "{}"}
    calls = [{"id": call, "type": "function", "function": function}]
    asked = {"id": f"a-{call}", "role": "assistant", "toolCalls": calls}
    return [asked, {"id": f"t-{call}", "role": "tool", "toolCallId": call, "content": content, **more}]


def whole(client: TestClient, thread: str) -> list[dict[str, Any]]:
    events = told(client.post("/agui/painter/connect?live=0", json=body(thread)))
    verify(events)
    return events


# The events


def called_in(told: Told) -> Told:
    """Let a sub-agent call a frontend tool."""
    told.start()
    told.start("s", "r")
    told.output("x", "s")
    told.ask("q", "s", prompt="paint", schema=CALL)
    return told


def test_call_ends_agui_run() -> None:
    """The call is a tool call without a result. Texts end, sub-agents are suspended, and the run ends as a success."""
    made = called_in(Told())
    encoder = Encoder("t", "u")
    out = [each for event in made.events for each in encoder.feed(event)]
    verify(out)
    assert encoder.over
    tag = {"subagentRunId": "s"}
    plain = [{name: each[name] for name in each if name not in {"timestamp", "metadata"}} for each in out[-6:]]
    assert plain == [
        {"type": "TEXT_MESSAGE_END", "messageId": "s:3", **tag},
        {"type": "TOOL_CALL_START", "toolCallId": "q", "toolCallName": "paint", **tag},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "q", "delta": '{"colour":"red"}', **tag},
        {"type": "TOOL_CALL_END", "toolCallId": "q", **tag},
        {"type": "SUBAGENT_FINISHED", **tag, "outcome": {"type": "suspended"}},
        {
            "type": "RUN_FINISHED",
            "threadId": "t",
            "runId": "u",
            "outcome": {"type": "success", "pendingToolCallIds": ["q"]},
        },
    ]


@pytest.mark.parametrize(
    "schema",
    [{"x-agui-tool": "paint"}, {"x-agui-tool": {"name": 1, "arguments": {}}}, {"x-agui-tool": {"name": "n"}}, "x"],
)
def test_other_questions(schema: Any) -> None:
    """A question whose schema does not name a tool in this way is an interrupt."""
    made = Told()
    made.start()
    made.ask("q", schema=schema)
    encoder = Encoder("t", "u")
    out = [each for event in made.events for each in encoder.feed(event)]
    assert out[-1]["outcome"]["type"] == "interrupt"


@pytest.mark.parametrize("end", ["withdrawn", "sub-agent", "run"])
def test_call_without_a_result(end: str) -> None:
    """A call that gets no result any more has an error as its result: else a client would still execute the tool."""
    made = called_in(Told())
    if end == "withdrawn":
        made.tell("input_withdrawn", "s", "q", reason="timeout")
        made.complete("s", parent="r")
    else:
        made.complete("s", "timeout", "r")
    made.complete(status="timeout" if end == "run" else "ok")
    encoder = ThreadEncoder("t")
    out = [each for event in made.events for each in encoder.feed(event)]
    verify(out)
    (result,) = [each for each in out if each["type"] == "TOOL_CALL_RESULT"]
    assert (result["toolCallId"], result["content"]) == ("q", '{"error":{"status":"timeout"}}')


# The requests


def test_two_calls(client: TestClient) -> None:
    """The tool message of the next run is the result of the call; its content may be parts."""
    first = run(client, "painter", body("two"))
    parts = [{"type": "text", "text": "red"}]
    again = body("two", "u2", *answered(pending(first), parts))
    second = run(client, "painter", again)
    assert [each["type"] for each in second][:3] == ["RUN_STARTED", "SUBAGENT_STARTED", "SUBAGENT_FINISHED"]
    third = run(client, "painter", body("two", "u3", *again["messages"][1:], *answered(pending(second), "closed")))
    assert third[-1]["result"] == [parts, "closed"]
    assert "TOOL_CALL_RESULT" not in {each["type"] for each in [*second, *third]}
    assert run(client, "painter", again) == second  # posted again
    assert code_of(run(client, "painter", {**again, "runId": "u4"})) == "not_waiting"


def test_tool_that_fails(client: TestClient) -> None:
    """The error of a tool message is raised in the agent."""
    call = pending(run(client, "careful", body("fails")))
    last = run(client, "careful", body("fails", "u2", *answered(call, "half", error="no colour")))[-1]
    assert last["result"] == "paint: no colour (half)"


def test_whole_thread(client: TestClient) -> None:
    """A client that comes later gets each result as a message of the run that it began."""
    call = pending(run(client, "painter", body("whole")))
    second = pending(run(client, "painter", body("whole", "u2", *answered(call))))
    run(client, "painter", body("whole", "u3", *answered(second, "half", error="no")))
    inputs = [each["input"]["messages"][0] for each in whole(client, "whole") if "input" in each]
    message = {"role": "tool", "id": f"{call}:result", "toolCallId": call, "content": "done"}
    failed = {"role": "tool", "id": f"{second}:result", "toolCallId": second, "content": "half", "error": "no"}
    assert inputs[1:] == [message, failed]


def test_call_that_was_given_up(client: TestClient) -> None:
    """A late result is refused, and the thread has an error as the result."""
    call = pending(run(client, "impatient", body("late")))
    while (events := whole(client, "late"))[-1].get("result") != "nobody":
        pass
    results = [each["content"] for each in events if each["type"] == "TOOL_CALL_RESULT"]
    assert results == ['{"error":{"status":"timeout"}}']
    assert code_of(run(client, "impatient", body("late", "u2", *answered(call)))) == "not_waiting"


def test_message_behind_the_result(client: TestClient) -> None:
    """A page that lets its tool go on without an answer sends the result with the user's next message."""
    call = pending(run(client, "careful", body("follow")))
    user = {"id": "9", "role": "user", "content": "tea"}
    last = run(client, "asks", body("follow", "u2", *answered(call), user))[-1]
    assert last["outcome"]["type"] == "interrupt"
    assert "painted" in [each.get("result") for each in whole(client, "follow")]
    again = run(client, "asks", body("follow", "u3", *answered(call), user))
    assert again[-1]["outcome"]["type"] == "interrupt"


def test_tool_messages_of_others(client: TestClient) -> None:
    """Tool messages that answer no frontend tool of the session change nothing: the request starts a run."""
    first = run(client, "asks", body("other"))
    (interrupt,) = first[-1]["outcome"]["interrupts"]
    for number, call in enumerate((interrupt["id"], "unknown", "x" * 65, "")):
        assert run(client, "echo", body("other", f"n{number}", *answered(call)))[-1]["result"] == "tea"


def test_answer_by_another_client(client: TestClient) -> None:
    """A client of the session that is none of AG-UI answers the call as a question, with an object."""
    call = pending(run(client, "careful", body("elsewhere")))
    handle = session(client, "elsewhere")
    called(client, handle.answer, call.rpartition(".")[0], call, {"content": "ok"})
    while whole(client, "elsewhere")[-1].get("result") != "painted":
        pass
