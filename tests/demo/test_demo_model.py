"""The librarian with a language model: a local server that streams chat completions."""

from __future__ import annotations

import inspect
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from demo.asking import ask, events_of_kind
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actors import AgentCompleted, AgentOutput, ConfigError, Event, ToolCompleted, ToolExecuting
from transport import Settings
from transport.demo.library import Library
from transport.demo.model import MAX_ROUNDS, TOLD, Model
from transport.demo.sandbox import run_example
from transport.demo.serving import build_app
from transport.http._addresses import url_of
from transport.http._server import PageServer, serve_http
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

QUESTION = "how do I read a csv file?"


@attrs.define
class ModelServer:
    """A server that sends its ``replies`` in turn, the last one repeatedly, and keeps the requests."""

    replies: list[list[dict[str, Any]]]
    url: str = ""
    requests: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    keys: list[str] = attrs.field(factory=list[str])

    async def complete(self, request: Request) -> Response:
        """Answer one request. An empty reply is a refusal with 404."""
        self.requests.append(await request.json())
        self.keys.append(request.headers["authorization"])
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if not reply:
            return JSONResponse({"error": {"message": "no such model", "type": "invalid_request_error"}}, 404)
        return StreamingResponse(self._stream(reply), media_type="text/event-stream")

    async def _stream(self, deltas: list[dict[str, Any]]) -> AsyncIterator[str]:
        """Stream a reply in the format of the API."""
        for delta in deltas:
            chunk: dict[str, Any] = {
                "id": "c1",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": "local",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            }
            yield f"data: {json.dumps(delta if 'error' in delta else chunk)}\n\n"
        yield "data: [DONE]\n\n"


@asynccontextmanager
async def model_server(*replies: list[dict[str, Any]]) -> AsyncGenerator[ModelServer]:
    """Run a model server with these replies."""
    server = ModelServer(list(replies))
    app = Starlette(routes=[Route("/v1/chat/completions", server.complete, methods=["POST"])])
    listeners = listen("127.0.0.1", 0)
    server.url = f"{url_of(listeners)}v1"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, PageServer(app, Settings(max_frame_bytes=1024 * 1024)), listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


def tool_call_deltas(index: int, call_id: str, name: str, arguments: str) -> list[dict[str, Any]]:
    """Return one tool call in two pieces, as models send it."""
    middle = len(arguments) // 2
    opening = {
        "index": index,
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments[:middle]},
    }
    return [
        {"role": "assistant", "tool_calls": [opening]},
        {"tool_calls": [{"index": index, "function": {"arguments": arguments[middle:]}}]},
    ]


ANSWER = [{"role": "assistant", "content": "Use "}, {"content": "`csv.reader`."}]


async def ask_model(cache: Path, server: ModelServer) -> list[Event]:
    """Ask the question on a demo server that uses this model."""
    return await ask(build_app(pace=0, cache=cache, model=Model("local", server.url, "k1"), log="memory:"), QUESTION)


async def test_tool_call_and_answer(cache: Path) -> None:
    """The model's tool call is run, its result is sent back, and the answer is streamed."""
    async with model_server(tool_call_deltas(0, "t1", "search", '{"query": "csv", "limit": 2}'), ANSWER) as server:
        events = await ask_model(cache, server)
    assert [event.text for event in events_of_kind(AgentOutput, events)] == ["Use ", "`csv.reader`."]
    assert events_of_kind(AgentCompleted, events)[-1].result == {"answer": "Use `csv.reader`.", "model": "local"}
    assert [(event.tool, event.arguments) for event in events_of_kind(ToolExecuting, events)] == [
        ("search", {"query": "csv", "limit": 2})
    ]
    first, second = server.requests
    assert first["messages"][-1] == {"role": "user", "content": QUESTION}
    assert {tool["function"]["name"] for tool in first["tools"]} == {"search", "read_source", "run_example"}
    assert second["messages"][-1]["tool_call_id"] == "t1"
    assert "csv" in json.loads(second["messages"][-1]["content"])["modules"]
    assert server.keys == ["Bearer k1"] * 2


async def test_results_are_in_order(cache: Path) -> None:
    """If a reply has several tool calls, their results are sent in the order of the calls."""
    calls = [
        *tool_call_deltas(0, "t1", "run_example", '{"code": "print(6 * 7)"}'),
        *tool_call_deltas(1, "t2", "read_source", '{"module": "csv", "name": "DictReader"}'),
    ]
    async with model_server(calls, ANSWER) as server:
        events = await ask_model(cache, server)
    first, second = server.requests[1]["messages"][-2:]
    assert (first["tool_call_id"], json.loads(first["content"])["output"]) == ("t1", "42")
    assert (second["tool_call_id"], json.loads(second["content"])["symbol"]) == ("t2", "csv.DictReader")
    assert events_of_kind(AgentCompleted, events)[-1].status == "ok"


async def test_code_of_a_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that a model sends runs in the sandbox.

    This code finds no API key, no file of the server and no process of the server.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    asked = f"import os; print('OPENAI_API_KEY' in os.environ, os.path.exists({str(cache)!r}), os.getpid())"
    call = tool_call_deltas(0, "t1", "run_example", json.dumps({"code": asked}))
    async with model_server(call, ANSWER) as server:
        await ask_model(cache, server)
    assert json.loads(server.requests[1]["messages"][-1]["content"])["output"] == "False False 2"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("read_source", '{"module": "cvs", "name": ""}', "LookupError"),
        ("burn_the_books", "{}", "KeyError"),
        ("search", "{not json", "JSONDecodeError"),
        ("search", '{"quarry": "csv"}', "TypeError"),
        ("search", '["csv"]', "TypeError"),
        ("run_example", '{"code": "1", "seconds": 600}', "TypeError"),
        ("run_example", '{"code": "1", "timeout": 600}', "TypeError"),
    ],
)
async def test_failing_tool_call(cache: Path, tool: str, arguments: str, said: str) -> None:
    """The model receives the error of its tool call, and the run continues."""
    async with model_server(tool_call_deltas(0, "t1", tool, arguments), ANSWER) as server:
        events = await ask_model(cache, server)
    assert said in server.requests[1]["messages"][-1]["content"]
    assert {event.status for event in events_of_kind(ToolCompleted, events)} <= {"error"}
    assert events_of_kind(AgentCompleted, events)[-1].status == "ok"


async def test_model_without_an_answer(cache: Path) -> None:
    """If the model only calls tools, the run ends with ``NoAnswer`` after ``MAX_ROUNDS`` requests."""
    async with model_server(tool_call_deltas(0, "t1", "search", '{"query": "csv"}')) as server:
        done = events_of_kind(AgentCompleted, await ask_model(cache, server))[-1]
    assert (done.status, done.error["code"]) == ("error", "NoAnswer")
    assert len(server.requests) == MAX_ROUNDS


async def test_error_in_the_stream(cache: Path) -> None:
    """An error within the model's stream ends the run with ``NoAnswer`` and the text of the error."""
    async with model_server([{"content": "Use "}, {"error": "out of memory"}]) as server:
        done = events_of_kind(AgentCompleted, await ask_model(cache, server))[-1]
    assert (done.status, done.error["code"]) == ("error", "NoAnswer")
    assert "out of memory" in done.error["message"]


async def test_server_that_refuses(cache: Path) -> None:
    """If the model server refuses the request, the run ends with the server's reason."""
    async with model_server([]) as server:
        done = events_of_kind(AgentCompleted, await ask_model(cache, server))[-1]
    assert (done.status, done.error["code"]) == ("error", "NotFoundError")
    assert "no such model" in done.error["message"]


KEY = {"OPENAI_API_KEY": "k1"}


def test_model_from_environment() -> None:
    """The caller gives the name of the model. The key and the server are read from the environment.

    If only one of the two is set, this is enough.
    """
    assert Model.from_environment("local", KEY) == Model("local", "", "k1")
    url = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert Model.from_environment("local", url) == Model("local", "http://127.0.0.1:1/v1")
    assert Model.from_environment("local", KEY | url) == Model("local", "http://127.0.0.1:1/v1", "k1")


def test_missing_key() -> None:
    """If a model is named, but the environment has neither a key nor a server, ConfigError names both variables."""
    with pytest.raises(
        ConfigError, match="--model local needs a key in OPENAI_API_KEY, or a server in OPENAI_BASE_URL"
    ):
        Model.from_environment("local", {})


def test_missing_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without the package ``openai`` is an error that names the extra and the command that installs it."""
    monkeypatch.setattr("transport.demo.model.find_spec", {}.get)
    with pytest.raises(
        ConfigError, match=r"--model local needs the extra openai.*pip install 'greenroom-[^ ]*\.whl\[openai\]'"
    ):
        Model.from_environment("local", KEY)


def test_described_tools() -> None:
    """The model is told each tool with the parameters that the tool has, and which of them are required."""
    told = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOLD["tools"]}
    for tool in (Library.search, Library.read_source, run_example):
        parameters = [each for each in inspect.signature(tool).parameters.values() if each.name != "self"]
        assert list(told[tool.__name__]["properties"]) == [each.name for each in parameters]
        needed = {each.name for each in parameters if each.default is each.empty}
        assert needed <= set(told[tool.__name__]["required"])
    assert len(told) == 3


def test_key_is_not_in_repr() -> None:
    """The API key is not part of the repr."""
    assert "k1" not in repr(Model("local", "", "k1"))
