"""The messages of a chat: as a page that has read all streams has them, and nothing of what it has dropped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from adapters._aisdk_node import AiSdkNode
from adapters._told import Told
from adapters.test_agui_sequences import KINDS, told_of
from adapters.test_aisdk_encoder import chunks_of, wire
from fastapi import FastAPI
from starlette.testclient import TestClient

from transport import Greenroom
from transport.adapters.aisdk import history as limits
from transport.adapters.aisdk.body import message_key, read_chat
from transport.adapters.aisdk.history import ChatHistory
from transport.adapters.aisdk.reader import MessageReader
from transport.hosting import lifespan, mount_aisdk

if TYPE_CHECKING:
    from actors import Run


def start_id(message: str, text: str = "tea", **more: object) -> str:
    """Return the id of the command for a message of a page."""
    parts = [{"type": "text", "text": text}]
    body = {"id": "c", "messages": [{"id": message, "role": "user", "parts": parts}], **more}
    return read_chat(body).command_id


def messages_of(told: Told, agent: str = "a") -> list[dict[str, Any]]:
    history = ChatHistory(agent)
    for event in told.events:
        history.feed(orjson.dumps(wire(event)))
    return history.messages()


def brief(told: Told) -> list[tuple[str, str]]:
    """Return the role and the text of each message."""
    return [
        (message["role"], "".join(part.get("text", "") for part in message["parts"])) for message in messages_of(told)
    ]


def turn(told: Told, run: str, command: str | None, text: str = "tea", *, is_open: bool = False) -> None:
    """Add a run with an answer."""
    told.start(run, agent="a", input=text, command_id=command)
    told.output(f"answer {run}", run)
    if not is_open:
        told.complete(run)


# The messages of a chat


def test_conversation() -> None:
    """Each run is a message of the user and its answer. Other agents and messages between the runs are left out."""
    told = Told()
    turn(told, "r1", start_id("m1"))
    told.tell("user_message", text="no")
    told.start("x", agent="b")
    told.complete("x")
    turn(told, "r2", None, "milk")
    assert brief(told) == [("user", "tea"), ("assistant", "answer r1"), ("user", "milk"), ("assistant", "answer r2")]
    ids = [message["id"] for message in messages_of(told)]
    assert ids == [message_key("m1"), "r1", message_key("r2:input"), "r2"]


def test_open_runs() -> None:
    """The newest open run has its message of the user at the end: its answer comes as a stream. Older ones wait."""
    told = Told()
    turn(told, "r1", start_id("m1"), "one", is_open=True)
    turn(told, "r2", start_id("m2"), "two", is_open=True)
    turn(told, "r3", start_id("m3"), "three")
    assert brief(told) == [("user", "three"), ("assistant", "answer r3"), ("user", "two")]
    told.complete("r2")
    told.complete("r1")
    assert [text for role, text in brief(told) if role == "assistant"] == ["answer r1", "answer r2", "answer r3"]


@pytest.mark.parametrize("is_open", [True, False])
def test_other_answers(is_open: bool) -> None:
    """Another answer, and an edited text, replace the first answer and all that followed, also after a reload."""
    told = Told()
    turn(told, "r1", start_id("m1"), is_open=is_open)
    turn(told, "r2", start_id("m2"), "milk")
    turn(told, "r3", start_id("m1", trigger="regenerate-message", messageId="r1"))
    assert brief(told) == [("user", "tea"), ("assistant", "answer r3")]
    turn(told, "r4", start_id(messages_of(told)[0]["id"], "juice"), "juice")
    assert brief(told) == [("user", "juice"), ("assistant", "answer r4")]


def test_input_that_is_no_text() -> None:
    """An input that is no text is a data part: a message of the user has at least one part."""
    told = Told()
    told.start("r", agent="a", input=[1])
    assert messages_of(told)[0]["parts"] == [{"type": "data-input", "data": [1]}]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answers are left out beyond a number, and beyond a size; the newest one never is."""
    told = Told()
    for number in range(5):
        turn(told, f"r{number}", start_id(f"m{number}"))
    everything = messages_of(told)
    monkeypatch.setattr(limits, "MAX_TURNS", 2)
    assert messages_of(told) == everything[-4:]
    monkeypatch.setattr(limits, "MAX_TURNS", 5)
    assert messages_of(told) == everything
    monkeypatch.setattr(limits, "MAX_BYTES", 1)
    assert messages_of(told) == everything[-2:]


# The reader


def test_reader_is_that_of_the_sdk() -> None:
    """The SDK's ``readUIMessageStream`` makes the same messages of the chunks of any runs that have ended."""
    rng = random.Random(1)
    runs: list[list[dict[str, Any]]] = []
    for _ in range(80):
        told = told_of([(rng.choice(KINDS), rng.randrange(6), rng.randrange(4)) for _ in range(60)], roots=3)
        roots = [event.run_id for event in told.events if event.type == "agent_started" and not event.parent_run_id]
        runs += [chunks_of(told.events, str(root)) for root in roots]
    runs = [chunks for chunks in runs if chunks[-1]["type"] in {"finish", "abort", "error"}]
    node = AiSdkNode()
    try:
        expected = node.do("reduce", runs=runs)
    finally:
        node.end()
    made = [MessageReader() for _ in runs]
    for reader, chunks in zip(made, runs, strict=True):
        reader.take(chunks)
    assert [reader.message for reader in made] == expected
    assert len(expected) > 20
    types = {part["type"] for message in expected for part in message["parts"]}
    assert types == {"step-start", "text", "reasoning", "dynamic-tool", "data-subagent", "data-question", "data-n"}


# The route


def test_route() -> None:
    """The route answers with the messages of the user's chat, and not more often than commands are taken."""
    app = Greenroom(log="memory:", settings={"drain_seconds": 0, "commands_per_second": 0.001, "commands_burst": 3})

    @app.agent
    async def echo(run: Run, prompt: str) -> None:
        await run.output(prompt)

    api = FastAPI(lifespan=lifespan(app))
    mount_aisdk(api, "/chat", app)
    with TestClient(api) as client:
        assert client.get("/chat/echo/c1/messages").json() == []
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "tea"}]}
        client.post("/chat/echo", json={"id": "c1", "messages": [message]})
        user, answer = client.get("/chat/echo/c1/messages").json()
        assert user == {**message, "id": message_key("m1")}
        assert answer["parts"][1] == {"type": "text", "text": "tea", "state": "done"}
        for route in ("messages", "stream?after=m1"):
            assert client.get(f"/chat/echo/c1/{route}").status_code == 429
        assert client.get("/chat/echo/c1/stream").status_code == 204
