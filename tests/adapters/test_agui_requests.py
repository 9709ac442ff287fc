"""The requests of AG-UI clients: users, positions, starts that wait or are refused, and bodies that are none."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from actors import ConfigError, Run
from transport import Greenroom, TokenAuth
from transport.hosting import lifespan, mount_agui
from transport.server.single_requests import SingleRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import HTTPConnection

KEY = "k" * 32
BODY: dict[str, Any] = {"threadId": "t", "runId": "u1", "messages": [{"id": "1", "role": "user", "content": "tea"}]}


async def echo(run: Run, prompt: str) -> str:
    """Say the prompt in two pieces."""
    await run.output(prompt[:1])
    await run.output(prompt[1:])
    return prompt


async def whole(run: Run, body: dict[str, Any]) -> object:
    """Return the names of the input's fields."""
    return sorted(body)


async def anything(run: Run, value: object) -> object:
    """Return the input."""
    return value


async def asks(run: Run, prompt: str) -> object:
    """Return the user's answer to a question."""
    return await run.ask_user("How many?", into=int)


async def twice(run: Run, prompt: str) -> list[object]:
    """Ask two questions at once."""
    answers: dict[str, object] = {}

    async def ask(name: str) -> None:
        answers[name] = await run.ask_user(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "a")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "b")
    return [answers["a"], answers["b"]]


async def impatient(run: Run, prompt: str) -> str:
    """Ask, and withdraw the question when the session gets an event from outside."""
    try:
        await run.ask_user("Still there?", timeout=0.001)
    except TimeoutError:
        return "nobody"
    return "somebody"


async def waits(run: Run, prompt: str) -> None:
    """Wait for ever."""
    await trio.sleep_forever()


def client_of(*, auth: Any = None, mounted: dict[str, Any] | None = None, **settings: object) -> TestClient:
    """Return a client of an application with AG-UI. It must be entered."""
    app = Greenroom(log="memory:", auth=auth, settings={"drain_seconds": 0, **settings})
    for agent in (echo, whole, anything, asks, twice, impatient, waits):
        app.agent(agent)
    api = Starlette(lifespan=lifespan(app))
    api.state.greenroom = app
    mount_agui(api, "/agui", app, **(mounted or {}))
    return TestClient(api)


def session(client: TestClient, name: str) -> Any:
    """Return a session of the user of a client, for code in the event loop of the application."""
    api: Any = client.app
    return api.state.greenroom.sessions_aio.get("anonymous", name)


def called(client: TestClient, function: Any, *arguments: object) -> Any:
    """Call a function in the event loop of the application."""
    assert client.portal
    return client.portal.call(function, *arguments)


def told(response: Any) -> list[dict[str, Any]]:
    """Return the AG-UI events of a response."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("data: ", 1)[1] for block in response.text.split("\n\n") if "data: " in block]
    return [json.loads(block) for block in blocks]


def run(client: TestClient, agent: str, body: object = None, **headers: str) -> list[dict[str, Any]]:
    """Make one AG-UI run, and return what is told."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    return told(client.post(f"/agui/{agent}", json=BODY if body is None else body, headers=sent))


def code_of(events: list[dict[str, Any]]) -> str:
    """Return the code of a stream that is one RUN_ERROR."""
    (event,) = events
    assert event["type"] == "RUN_ERROR"
    assert event["message"]
    return str(event["code"])


def resume(events: list[dict[str, Any]], payload: object, run_id: str = "u2") -> dict[str, Any]:
    """Return the input of the AG-UI run that answers the interrupt at the end of a stream."""
    (interrupt,) = events[-1]["outcome"]["interrupts"]
    entry = {"interruptId": interrupt["id"], "status": "resolved", "payload": payload}
    return {**BODY, "runId": run_id, "resume": [entry]}


@pytest.fixture(scope="module")
def shared() -> Iterator[TestClient]:
    """Return a client for tests that leave nothing in their thread, or have one of their own."""
    with client_of() as client:
        yield client


# Users


def test_token_of_the_user() -> None:
    """Without a function, the token in the header decides. A client without access gets HTTP's own refusal."""
    auth = TokenAuth(KEY)
    with client_of(auth=auth) as client:
        assert client.post("/agui/echo", json=BODY).status_code == 401
        authorization = f"Bearer {auth.issue('ann', 60)}"
        assert run(client, "echo", authorization=authorization)[-1]["result"] == "tea"
        other = f"Bearer {auth.issue('bob', 60)}"
        threads = told(client.post("/agui/echo/connect?live=0", json=BODY, headers={"authorization": other}))
        assert threads == []


def test_function_of_the_application() -> None:
    """The function ``user`` finds the user of each request, or refuses it."""

    def user(request: HTTPConnection) -> str:
        name = request.cookies.get("name")
        if name is None:
            raise HTTPException(403, "log in")
        return name

    with client_of(mounted={"user": user}) as client:
        assert client.post("/agui/echo", json=BODY).status_code == 403
        assert run(client, "echo", cookie="name=ann")[-1]["result"] == "tea"


def test_page_of_another_site() -> None:
    """A page of another origin is refused: with cookies it could run agents in the user's name."""
    with client_of() as client:
        refused = client.post("/agui/echo", json=BODY, headers={"origin": "https://other.example"})
        assert refused.status_code == 403


# Inputs


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"threadId": "a/b"}, "bad_input"),
        ({"threadId": 1}, "bad_input"),
        ({"runId": ""}, "bad_input"),
        ({"runId": "x" * 65}, "bad_input"),
        ({"messages": None}, "bad_input"),
        ({"messages": ["x"]}, "bad_input"),
        ({"resume": 1}, "bad_input"),
        ({"resume": [{"interruptId": "q"}]}, "bad_input"),
        ({"resume": [{"interruptId": "q", "status": "resolved"}]}, "not_waiting"),
        ({"messages": []}, "bad_input"),
    ],
)
def test_inputs_that_do_not_fit(shared: TestClient, change: dict[str, Any], code: str) -> None:
    """A body that is no RunAgentInput, or has no input for the agent, is a stream of one RUN_ERROR."""
    assert code_of(run(shared, "echo", {**BODY, **change})) == code


def test_ids_of_greatest_length(shared: TestClient) -> None:
    """A ``runId`` may have 64 characters, and a ``threadId`` 128."""
    first = run(shared, "asks", {**BODY, "threadId": "t" * 128, "runId": "u" * 64})
    assert run(shared, "asks", {**resume(first, 3, "v" * 64), "threadId": "t" * 128})[-1]["result"] == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "green "}, {"type": "text", "text": "tea"}], "green tea"),
        ("tea", "tea"),
    ],
)
def test_last_message_is_the_input(shared: TestClient, content: Any, text: str) -> None:
    """The input of an agent is the text of the last message of the user."""
    user, other = {"id": "1", "role": "user", "content": content}, {"id": "2", "role": "assistant", "content": "x"}
    body = {**BODY, "threadId": f"input-{len(content)}", "messages": [{**user, "content": "before"}, user, other]}
    assert run(shared, "echo", body)[-1]["result"] == text


def test_own_input() -> None:
    """The function ``input`` makes the input of an agent, for example the whole ``RunAgentInput``."""
    with client_of(mounted={"input": lambda body: body}) as client:
        assert run(client, "whole")[-1]["result"] == ["messages", "runId", "threadId"]


@pytest.mark.parametrize("wrong", [{"input": 1}, {"input": echo}, {"user": 1}])
def test_arguments_of_the_mount(wrong: dict[str, Any]) -> None:
    """An argument that cannot be used is refused where it is given."""
    with pytest.raises(ConfigError):
        client_of(mounted=wrong)


def test_size_of_a_conversation() -> None:
    """A body of ``http_body_bytes`` is read, also if it is larger than a frame, and one byte more is ``too_large``."""
    with client_of(http_body_bytes=4096, max_frame_bytes=1024) as client:
        length = len(client.build_request("POST", "/", json={**BODY, "state": ""}).content)
        fits = {**BODY, "state": "x" * (4096 - length)}
        assert run(client, "echo", fits)[-1]["result"] == "tea"
        assert code_of(run(client, "echo", {**fits, "state": fits["state"] + "x"})) == "too_large"


# Positions


def ids_of(response: Any) -> list[str]:
    return [line[4:] for line in response.text.splitlines() if line.startswith("id: ")]


def test_last_event_id() -> None:
    """With ``Last-Event-ID``, a POST of the same run goes on behind that event."""
    with client_of() as client:
        response = client.post("/agui/echo", json=BODY)
        ids, events = ids_of(response), told(response)
        assert len(ids) == 4
        for number, id_ in enumerate(ids):
            rest = run(client, "echo", last_event_id=id_)
            behind = [each for each in events if each["metadata"]["greenroom"]["seq"] > number + 1]
            assert rest == behind


@pytest.mark.parametrize(
    ("id_", "body", "code"),
    [
        ("other:1", BODY, "epoch_changed"),
        ("EPOCH:999", BODY, "ahead"),
        ("EPOCH:1", {**BODY, "runId": "never"}, "unknown_run"),
        ("nothing", BODY, "bad_input"),
    ],
)
def test_positions_that_are_lost(id_: str, body: dict[str, Any], code: str) -> None:
    """A position that the log does not have is RUN_ERROR, and starts nothing: the client has seen another run."""
    with client_of() as client:
        epoch = ids_of(client.post("/agui/echo", json=BODY))[0].partition(":")[0]
        assert code_of(run(client, "echo", body, last_event_id=id_.replace("EPOCH", epoch))) == code
        assert len(told(client.post("/agui/echo/connect?live=0", json=BODY))) == 6  # one run


def test_run_that_was_trimmed() -> None:
    """A run of which the start is not in the log any more is unknown."""
    with client_of(retain_events=4) as client:
        id_ = ids_of(client.post("/agui/echo", json=BODY))[0]
        run(client, "echo", {**BODY, "runId": "u2"})
        assert code_of(run(client, "echo", last_event_id=id_)) == "unknown_run"
        assert code_of(told(client.post("/agui/echo/connect", json=BODY, headers={"last-event-id": id_}))) == "trimmed"


# Starts and answers


def test_start_that_waits_for_its_turn() -> None:
    """A run that waits for its turn has a stream meanwhile. If it is cancelled before, that is RUN_ERROR."""
    with client_of(runs_per_user=1) as client:
        first = called(client, session(client, "first").start, "waits", "x")
        results: list[list[dict[str, Any]]] = []
        waiting = threading.Thread(target=lambda: results.append(run(client, "waits")))
        waiting.start()
        while client.post("/agui/waits/t/u1/cancel").json() != {"cancelled": True}:
            pass
        waiting.join()
        assert code_of(results.pop()) == "cancelled"
        called(client, session(client, "first").cancel, first)
        assert run(client, "echo", {**BODY, "runId": "u2"})[-1]["result"] == "tea"


def test_start_that_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that waits for its turn counts for the rate of requests once, however long it waits."""
    command, enough, calls = SingleRequests.command, threading.Event(), iter(range(20))

    async def counted(*args: Any, **options: Any) -> object:
        if next(calls, None) is None:
            enough.set()
        return await command(*args, **options)

    monkeypatch.setattr(SingleRequests, "command", counted)
    with client_of(runs_per_user=1, http_wait_seconds=0.001, commands_burst=3, commands_per_second=0.001) as client:
        first = called(client, session(client, "first").start, "waits", "x")
        results: list[list[dict[str, Any]]] = []
        waiting = threading.Thread(target=lambda: results.append(run(client, "echo")))
        waiting.start()
        assert enough.wait(60)
        called(client, session(client, "first").cancel, first)
        waiting.join()
        assert results.pop()[-1].get("result") == "tea"


def test_answer_that_is_sent_again() -> None:
    """An AG-UI run that answers a question can be posted again, and tells the same. Another one is refused."""
    with client_of() as client:
        first = run(client, "asks")
        again = [run(client, "asks", resume(first, 3)) for _ in range(2)]
        assert again[0] == again[1]
        assert again[0][-1]["result"] == 3
        assert code_of(run(client, "asks", resume(first, 4, "u3"))) == "not_waiting"


def test_answer_that_does_not_fit() -> None:
    """An answer that is not of the type of the question is refused, and the question stays open."""
    with client_of() as client:
        first = run(client, "asks")
        assert code_of(run(client, "asks", resume(first, "many"))) == "bad_input"
        assert run(client, "asks", resume(first, 3, "u3"))[-1]["result"] == 3


def test_parts_that_are_no_text(shared: TestClient) -> None:
    """A message with another part than text is the input as the list of its parts."""
    image = {"type": "image", "source": {"type": "url", "value": "https://example.com/i.png"}}
    user = {"id": "1", "role": "user", "content": [{"type": "text", "text": "this"}, image]}
    body = {**BODY, "threadId": "parts", "messages": [user]}
    assert run(shared, "whole", body)[-1]["code"] == "bad_input"  # the agent wants an object
    assert run(shared, "anything", {**body, "runId": "u2"})[-1]["result"] == user["content"]


def test_several_answers_at_once() -> None:
    """Answers to several questions may come together: no question is asked that was answered."""
    with client_of() as client:
        first = run(client, "twice")
        (asked,) = first[-1]["outcome"]["interrupts"]
        run_id, _, number = asked["id"].rpartition(".")
        entries = [
            {"interruptId": f"{run_id}.{int(number) + more}", "status": "resolved", "payload": more} for more in (0, 1)
        ]
        both = run(client, "twice", {**BODY, "runId": "u2", "resume": entries})
        assert both[-1]["result"] == [0, 1]


def test_question_that_was_withdrawn() -> None:
    """``connect`` tells that a question was withdrawn, and an answer to it is refused."""
    with client_of() as client:
        first = run(client, "impatient")
        while (thread := told(client.post("/agui/echo/connect?live=0", json=BODY)))[-1].get("result") != "nobody":
            pass
        assert "greenroom.input_withdrawn" in {each.get("name") for each in thread}
        assert code_of(run(client, "impatient", resume(first, 1))) == "not_waiting"


def test_session_that_was_closed() -> None:
    """A run in a session that was closed for good is RUN_ERROR."""
    with client_of() as client:
        called(client, session(client, "t").close)
        assert code_of(run(client, "echo")) == "session_closed"
        assert code_of(told(client.post("/agui/echo/connect", json=BODY))) == "session_closed"
