"""Traces of runs and tool calls, with the SDK of OpenTelemetry and an exporter in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _hosts import turn
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from protocol.wire import client, greeted
from starlette.applications import Starlette
from starlette.testclient import TestClient
from traces.exported import OWN, PROCESSOR, SPANS, attributes, named, parent_of

from actors import AgentCompleted
from transport import Greenroom, connect
from transport._extras import ExtraMissing
from transport.hosting import hosted, lifespan, mount_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import SessionHandle

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
SECRET = "PAYLOAD"


@pytest.fixture(autouse=True)
def no_spans() -> Iterator[None]:
    """Begin without spans."""
    SPANS.clear()
    yield
    PROCESSOR.fails = False


def sync_tool(**_: Any) -> str:
    """Make a span in a thread, and return a text."""
    with OWN.start_as_current_span("in a thread"):
        return f"{SECRET} result"


async def async_tool(**_: Any) -> None:
    """Make a span in a task."""
    with OWN.start_as_current_span("in a tool"):
        await trio.lowlevel.checkpoint()


async def broken_tool() -> None:
    """Fail."""
    raise KeyError(f"{SECRET} missing")


def traced_app(**settings: object) -> Greenroom:
    """Return an app with traces, and agents that end in several ways."""
    app = Greenroom("memory:", settings={"drain_seconds": 0, "traces": True, **settings})

    @app.agent
    async def works(run: Any, text: str) -> str:
        with OWN.start_as_current_span("in an agent"):
            await run.call_tool(sync_tool, text=text, password=SECRET)
            await run.call_tool(async_tool)
            await run.call_agent(helps, "a part")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work_on, run, "left")
            nursery.start_soon(work_on, run, "right")
        run.usage = {"input_tokens": 7, "output_tokens": 9, "model": "m-1", "cached": True}
        return f"{SECRET} answer"

    async def work_on(run: Any, name: str) -> None:
        async with run.subrun(name) as part:
            await part.call_tool(async_tool if name == "left" else sync_tool)

    @app.agent
    async def helps(run: Any, _: str) -> None:
        await run.output("helping")

    @app.agent
    async def fails(run: Any) -> None:
        await run.call_tool(broken_tool)

    @app.agent(timeout=0.001)
    async def hangs(run: Any) -> None:
        await trio.sleep_forever()

    @app.agent
    async def waits(run: Any) -> None:
        run.call_started("never ended")
        await trio.sleep_forever()

    return app


async def finished(handle: SessionHandle, agent: str, *given: Any) -> str:
    """Start a run, wait for its end, and return its id."""
    run = await handle.start(agent, *given)
    while (statistics := handle.statistics()) is not None and statistics.runs:
        await trio.lowlevel.checkpoint()
    return run


async def test_tree_of_spans() -> None:
    """Runs and tool calls are spans. Sub-agents and tools are below their run, and spans of the code where it ran."""
    async with traced_app().running(port=0) as server:
        run = await finished(await server.sessions.get("ann", "s1"), "works", SECRET)
    spans = SPANS.get_finished_spans()
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    parents = {span.context.span_id: span.name for span in spans if span.context}
    tree = sorted((span.name, parents[span.parent.span_id] if span.parent else None) for span in spans)
    assert tree == sorted(
        [
            ("invoke_agent works", None),
            ("in an agent", "invoke_agent works"),
            ("execute_tool sync_tool", "in an agent"),
            ("in a thread", "execute_tool sync_tool"),
            ("execute_tool async_tool", "in an agent"),
            ("in a tool", "execute_tool async_tool"),
            ("invoke_agent helps", "in an agent"),
            ("invoke_agent left", "invoke_agent works"),
            ("execute_tool async_tool", "invoke_agent left"),
            ("in a tool", "execute_tool async_tool"),
            ("invoke_agent right", "invoke_agent works"),
            ("execute_tool sync_tool", "invoke_agent right"),
            ("in a thread", "execute_tool sync_tool"),
        ]
    )
    assert named("invoke_agent works").kind is SpanKind.INTERNAL
    assert attributes("invoke_agent works") == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "works",
        "gen_ai.conversation.id": "s1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.response.model": "m-1",
        "greenroom.run.id": run,
        "greenroom.status": "ok",
    }
    assert dict(next(span for span in spans if span.name.startswith("execute_tool")).attributes or {}).keys() == {
        "gen_ai.operation.name",
        "gen_ai.tool.name",
        "gen_ai.tool.call.id",
        "greenroom.run.id",
        "greenroom.status",
    }


async def test_failures() -> None:
    """A failed run and a failed tool are errors with the class of the exception. No text of the exception is shown."""
    async with traced_app().running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await finished(handle, "fails")
        await finished(handle, "hangs")
    for name, kind in (
        ("invoke_agent fails", "KeyError"),
        ("execute_tool broken_tool", "KeyError"),
        ("invoke_agent hangs", "timeout"),
    ):
        span = named(name)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert attributes(name)["error.type"] == kind


async def test_cancelled_run_is_no_error() -> None:
    """A cancelled run is no error. A tool call that it left open ends with it."""
    async with traced_app().running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        run = await handle.start("waits")
        await trio.testing.wait_all_tasks_blocked()
        await handle.cancel(run)
        await trio.testing.wait_all_tasks_blocked()
        assert parent_of("execute_tool never ended") == "invoke_agent waits"
    for name in ("invoke_agent waits", "execute_tool never ended"):
        assert named(name).status.status_code is StatusCode.UNSET
        assert attributes(name)["greenroom.status"] == "cancelled"


async def test_no_content_by_default() -> None:
    """Spans have no inputs, arguments, results and texts of errors, unless that is set."""
    async with traced_app().running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await finished(handle, "works", SECRET)
        await finished(handle, "fails")
    assert [span.name for span in SPANS.get_finished_spans() if SECRET in span.to_json()] == []


async def test_content() -> None:
    """With ``trace_content``, spans have the content without the values of secret keys."""
    async with traced_app(trace_content=True).running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await finished(handle, "works", f"{SECRET} input")
        await finished(handle, "fails")
    run = attributes("invoke_agent works")
    for name, role, text in (
        ("gen_ai.input.messages", "user", f"{SECRET} input"),
        ("gen_ai.output.messages", "assistant", f"{SECRET} answer"),
    ):
        assert json.loads(str(run[name])) == [{"role": role, "parts": [{"type": "text", "content": text}]}]
    tools = [span for span in SPANS.get_finished_spans() if span.name == "execute_tool sync_tool"]
    shown = [dict(span.attributes or {}) for span in tools]
    arguments = [json.loads(str(each["gen_ai.tool.call.arguments"])) for each in shown]
    assert {"text": f"{SECRET} input", "password": "[redacted]"} in arguments
    assert {each["gen_ai.tool.call.result"] for each in shown} == {f"{SECRET} result"}
    assert SECRET in str(named("invoke_agent fails").status.description)


@pytest.mark.parametrize(
    ("given", "linked"),
    [
        (TRACEPARENT, True),
        (None, False),
        ("nonsense", False),
        ("00-" + "0" * 32 + "-" + "0" * 16 + "-01", False),
        ({"a": 1}, False),
        (7, False),
        (TRACEPARENT + "-" + "x" * 1000, False),
    ],
)
async def test_link_to_the_request_of_a_client(given: Any, *, linked: bool) -> None:
    """The ``traceparent`` of a client's start is a link of the run's span. Any other value is ignored."""
    async with traced_app().running(port=0) as server, greeted(server) as one:
        reply = await one.command("c1", "run.start", agent="helps", input="x", traceparent=given)
        await one.completed(reply["result"]["run_id"])
    span = named("invoke_agent helps")
    assert span.parent is None
    assert [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links] == (
        [TRACEPARENT[3:-3]] if linked else []
    )


@pytest.mark.parametrize(
    ("own", "field", "linked"),
    [
        (None, TRACEPARENT, TRACEPARENT),
        (OTHER_TRACE, TRACEPARENT, OTHER_TRACE),
        (None, "nonsense", None),
        (None, TRACEPARENT + "-" + "x" * 1000, None),
    ],
)
async def test_link_to_the_upgrade(own: str | None, field: str, linked: str | None) -> None:
    """A start that names no trace of its own is linked to that of the WebSocket's upgrade."""
    more = {} if own is None else {"traceparent": own}
    async with (
        traced_app().running(port=0) as server,
        client(server, additional_headers={"traceparent": field}) as one,
    ):
        await one.hello("s1")
        reply = await one.command("c1", "run.start", agent="helps", input="x", **more)
        await one.completed(reply["result"]["run_id"])
    links = [
        f"00-{each.context.trace_id:032x}-{each.context.span_id:016x}-01" for each in named("invoke_agent helps").links
    ]
    assert links == ([] if linked is None else [linked])


async def test_link_to_the_trace_of_the_python_client() -> None:
    """The Python client gives a trace with a start."""
    async with traced_app().running(port=0) as server, connect(server.url, "s1") as one:
        run = await one.start("helps", "x", traceparent=TRACEPARENT)
        async for event in one.events():
            if isinstance(event, AgentCompleted) and event.run_id == run:
                break
    (link,) = named("invoke_agent helps").links
    assert f"{link.context.trace_id:032x}" == TRACEPARENT.split("-")[1]


@pytest.mark.filterwarnings("ignore:The anyio pytest plugin")
def test_link_to_a_post() -> None:
    """A start that comes over HTTP is linked to the trace of its request."""
    app = traced_app()
    api = Starlette(lifespan=lifespan(app))
    mount_events(api, "/ws", app, user=lambda _: "ann")
    frame = {"type": "command", "id": "c", "name": "run.start", "args": {"agent": "helps", "input": "x"}}
    with TestClient(api) as client_:
        assert client_.post("/ws/commands?session=s1", json=frame, headers={"traceparent": TRACEPARENT}).json()["ok"]
    (link,) = named("invoke_agent helps").links
    assert f"{link.context.trace_id:032x}" == TRACEPARENT.split("-")[1]


async def test_link_to_the_caller_in_the_server() -> None:
    """The current span of server code that starts a run is a link of the run's span."""
    async with traced_app().running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        with OWN.start_as_current_span("a request") as request:
            await finished(handle, "helps", "x")
            async with handle.run("a block"):
                with OWN.start_as_current_span("in a block"):
                    pass
            assert trace.get_current_span() is request
    for name in ("invoke_agent helps", "invoke_agent a block"):
        span = named(name)
        assert [link.context.span_id for link in span.links] == [request.get_span_context().span_id]
        assert parent_of(name) is None
    assert parent_of("in a block") == "invoke_agent a block"


def test_agents_on_asyncio() -> None:
    """The spans of asyncio agents, of their tools and of blocks are current in their code, as on trio."""
    app = traced_app()

    async def asyncio_tool() -> None:
        with OWN.start_as_current_span("in an asyncio tool"):
            await turn()

    @app.agent(host="asyncio")
    async def on_asyncio(run: Any) -> None:
        with OWN.start_as_current_span("in an asyncio agent"):
            await run.call_tool(asyncio_tool)
            await run.call_tool(sync_tool)
        async with run.subrun("part"):
            with OWN.start_as_current_span("in a part"):
                await turn()

    async def story() -> None:
        async with hosted(app):
            session = app.sessions_aio.get("ann", "s1")
            with OWN.start_as_current_span("a request"):
                await session.start("on_asyncio")
                async with session.run("a block") as run:
                    with OWN.start_as_current_span("in a block"):
                        await run.output("x")
            while app.server.sessions.of()[0].runs:
                await turn()

    asyncio.run(story())
    assert {name: parent_of(name) for name in (span.name for span in SPANS.get_finished_spans())} == {
        "a request": None,
        "invoke_agent on_asyncio": None,
        "in an asyncio agent": "invoke_agent on_asyncio",
        "execute_tool asyncio_tool": "in an asyncio agent",
        "in an asyncio tool": "execute_tool asyncio_tool",
        "execute_tool sync_tool": "in an asyncio agent",
        "in a thread": "execute_tool sync_tool",
        "invoke_agent part": "invoke_agent on_asyncio",
        "in a part": "invoke_agent part",
        "invoke_agent a block": None,
        "in a block": "invoke_agent a block",
    }
    for name in ("invoke_agent on_asyncio", "invoke_agent a block"):
        assert [link.context.span_id for link in named(name).links] == [_id_of("a request")]


def _id_of(name: str) -> int:
    context = named(name).context
    assert context is not None
    return int(context.span_id)


async def test_failing_processor_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """A processor of spans that raises is logged, and the runs go on."""
    PROCESSOR.fails = True
    async with traced_app().running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await finished(handle, "helps", "x")
        await finished(handle, "fails")
        await server.sessions.committed()
        ends = [event for event in await handle.history() if isinstance(event, AgentCompleted)]
    assert [end.status for end in ends] == ["ok", "error"]
    assert (ends[1].error or {})["code"] == "KeyError"
    assert "a span could not be recorded" in caplog.text


def test_server_without_traces_never_loads_the_library() -> None:
    """Without the setting, OpenTelemetry is not imported, also if it is installed."""
    program = """
import sys, trio, transport
app = transport.Greenroom("memory:", settings={"drain_seconds": 0})
@app.agent
async def works(run):
    await run.call_tool(print)
async def main():
    async with app.running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("works")
trio.run(main)
print("opentelemetry" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.split()[-1] == "False"


async def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting and without the extra, the server does not start, and says which extra is missing."""
    monkeypatch.delitem(sys.modules, "transport._tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ExtraMissing, match=r"\[traces\]"):
        async with traced_app().running(port=0):
            pass
