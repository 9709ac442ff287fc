"""The routes of a chat: what they do with replies, and who may use them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.testclient import TestClient

from actors import ConfigError, Position
from actors.spi import CommandReply
from transport import Greenroom
from transport.adapters.aisdk.body import read_chat
from transport.adapters.aisdk.routes import Start
from transport.hosting import lifespan, mount_aisdk
from transport.protocol.names import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import HTTPConnection

    from actors import Run

BODY: dict[str, Any] = {
    "id": "c1",
    "messages": [
        {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "te"}, {"type": "text", "text": "a"}]}
    ],
}


class Asked:
    """A request whose commands get the given replies. It notes the commands, and what is answered."""

    def __init__(self, *replies: CommandReply | None) -> None:
        self.request = SimpleNamespace(path_params={"agent": "a"}, json=lambda: BODY)
        self.replies = list(replies)
        self.commands: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.streams: list[Position | None] = []

    @asynccontextmanager
    async def attached(self, session: str) -> AsyncIterator[Any]:
        yield SimpleNamespace(epoch="e", latest=7)

    async def command(self, session: str, **command: Any) -> CommandReply | None:
        self.commands.append(command)
        return self.replies.pop(0)

    def answer(self, answer: Any) -> None:
        self.answers.append(answer)

    async def stream(self, session: str, format_: object, *, resume: Position | None) -> None:
        self.streams.append(resume)


async def started(*replies: CommandReply | None) -> Asked:
    """Return what a request for an answer has done, with these replies to its command."""
    asked = Asked(*replies)
    await Start()(asked)  # type: ignore[arg-type]  # it has what the handler uses
    return asked


async def test_start_that_waits_for_its_turn() -> None:
    """While there is no reply, the same command is sent again: the request waits as long as its client."""
    asked = await started(None, None, CommandReply("x", {"run_id": "r"}))
    assert len(asked.commands) == 3
    assert asked.commands[0] == asked.commands[1] == asked.commands[2]
    assert asked.commands[0]["args"] == {"agent": "a", "input": "tea"}


async def test_where_the_stream_begins() -> None:
    """A new run is read from the position before its start, and one that was started before from the oldest event."""
    assert (await started(CommandReply("x", {"run_id": "r"}))).streams == [Position("e", 7)]
    assert (await started(CommandReply("x", {"run_id": "r"}, duplicate=True))).streams == [None]


@pytest.mark.parametrize("code", ErrorCode)
async def test_refused_start(code: str) -> None:
    """A refused start is an HTTP error, with the code and the message as its text. Nothing is streamed."""
    asked = await started(CommandReply("x", code=code, message="no"))
    (answer,) = asked.answers
    assert (answer.body, asked.streams) == (f"{code}: no".encode(), [])
    statuses = {"unknown_agent": 404, "bad_input": 400, "rate_limited": 429, "overloaded": 503, "internal": 500}
    assert answer.status == statuses.get(code, answer.status)
    assert answer.status >= 400


def ids(*bodies: dict[str, Any]) -> Sequence[str]:
    """Return the ids of the commands for some bodies."""
    return [read_chat(body).command_id for body in bodies]


def test_id_of_the_command() -> None:
    """The same request has the same id. Another message, text, input or answer to be replaced makes another one."""
    again = {**BODY, "trigger": "regenerate-message"}
    other = {**BODY, "messages": [{**BODY["messages"][0], "id": "m2"}]}
    text = {**BODY, "messages": [{**BODY["messages"][0], "parts": []}]}
    bodies = (BODY, other, text, {**BODY, "input": 1}, {**again, "messageId": "1"}, {**again, "messageId": "2"})
    assert ids(*bodies) == ids(*bodies)
    assert len(set(ids(*bodies))) == len(bodies)
    assert ids(again) != ids(again)
    assert all(len(id_) <= 128 for id_ in ids({**BODY, "messages": [{**BODY["messages"][0], "id": "m" * 1000}]}))


# In a web application


def user_of(connection: HTTPConnection) -> str:
    """Return the user that a header names."""
    if (name := connection.headers.get("x-user")) is None:
        raise HTTPException(401, "log in first")
    return name


def web_application() -> FastAPI:
    """Return a web application with the agent ``echo``."""
    app = Greenroom(log="memory:", settings={"drain_seconds": 0})

    @app.agent
    async def echo(run: Run, prompt: str) -> None:
        await run.output(f"{prompt} for {run.context.user}")

    api = FastAPI(lifespan=lifespan(app))
    mount_aisdk(api, "/chat", app, user=user_of)
    return api


def test_users() -> None:
    """The function ``user`` finds the user of a request. Its refusal is an HTTP error with a text."""
    with TestClient(web_application()) as client:
        refused = client.post("/chat/echo", json=BODY)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "text/plain; charset=utf-8")
        assert "log in first" in refused.text
        told = client.post("/chat/echo", json=BODY, headers={"x-user": "ann"})
        assert '"delta":"tea for ann"' in told.text
        # Another user with the same ids has a chat of their own.
        told = client.post("/chat/echo", json=BODY, headers={"x-user": "bob"})
        assert '"delta":"tea for bob"' in told.text


def test_methods_and_bodies() -> None:
    """Each path has one method, a body must be JSON, and the routes are not in FastAPI's OpenAPI schema."""
    api = web_application()
    assert api.openapi()["paths"] == {}
    with TestClient(api, headers={"x-user": "ann"}) as client:
        assert client.get("/chat/echo").status_code == 405
        assert client.post("/chat/echo/c1/stream").status_code == 405
        assert client.post("/chat/echo", content=json.dumps(BODY)).status_code == 415
        assert client.post("/chat/echo", json=[]).text == "the body must be an object"
        assert client.get("/chat/echo/c1/stream").status_code == 204
        assert client.post("/chat/echo/c1/cancel").json() == {"cancelled": False}


def test_answer_to_a_message() -> None:
    """``after`` names a message in this user's chat with this agent. Its newest answer counts, and another id: 204."""
    again = {**BODY, "trigger": "regenerate-message", "messageId": "1"}
    with TestClient(web_application(), headers={"x-user": "ann"}) as client:
        client.post("/chat/echo", json=BODY)
        newest = client.post("/chat/echo", json=again).text
        (key, _) = (message["id"] for message in client.get("/chat/echo/c1/messages").json())
        for after in ("m1", key):
            assert client.get("/chat/echo/c1/stream", params={"after": after}).text == newest
        refused = [("echo", "c1", "m2"), ("echo", "c1", ""), ("echo", "c2", "m1"), ("other", "c1", "m1")]
        for agent, chat, after in refused:
            assert client.get(f"/chat/{agent}/{chat}/stream", params={"after": after}).status_code == 204
        others = client.get("/chat/echo/c1/stream", params={"after": "m1"}, headers={"x-user": "bob"})
        assert others.status_code == 204


def test_arguments_of_the_mount() -> None:
    """What cannot be mounted is refused at once."""
    api, app = FastAPI(), Greenroom(log="memory:")
    with pytest.raises(ConfigError, match="Greenroom"):
        mount_aisdk(api, "/chat", object())  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="must begin with /"):
        mount_aisdk(api, "chat", app)
