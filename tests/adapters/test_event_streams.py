"""``greenroom.v1`` over plain HTTP, on real sockets: the port of the server's own pages, and a mount under uvicorn."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _scale import SOAK
from adapters.places import PLACES, TOKEN, Place, served
from hosting.uvicorn_thread import PATIENCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from websockets.sync.client import connect

from transport import Greenroom
from transport.http.serving import session_routes

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = {"handshakes_per_address_per_second": 100_000, "handshakes_per_second": 100_000}
UNLIMITED = {"commands_burst": 100_000, "starts_per_minute": 0, **FAST}


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Serve the app for all tests of this file. Each test uses a session of its own."""
    with served(request.param, **UNLIMITED) as found:
        yield found


def by_websocket(place: Place, session: str, *frames: dict[str, Any], until: str, user: str = "ann") -> list[Any]:
    """Send frames over a WebSocket, and return the events up to one of a type."""
    address = f"ws://127.0.0.1:{place.ws_port}{place.ws_path}"
    found: list[Any] = []
    with connect(address, compression=None, proxy=None, open_timeout=None) as client:
        client.send(json.dumps({"type": "hello", "session": session, "token": TOKEN + user}))
        for frame in frames:
            client.send(json.dumps(frame))
        while not found or found[-1]["type"] != until:
            frame = json.loads(client.recv(PATIENCE))
            found += frame.get("events", ()) if frame["type"] == "events" else ()
    return found


def polled(place: Place, session: str, *, until: str) -> list[Any]:
    """Return the events up to one of a type, by polls."""
    found: list[Any] = []
    query = ""
    while not found or found[-1]["type"] != until:
        position, frames = place.poll(f"{query}&wait=20", session)
        assert frames[0]["type"] == "welcome"
        found += [event for frame in frames if frame["type"] == "events" for event in frame["events"]]
        query = f"&after={position}"
    return found


def test_stream(place: Place) -> None:
    """A stream has the welcome, then each event with its position, then signals and the goodbye."""
    with place.stream(session="stream") as stream:
        welcome = stream.next()
        epoch = welcome.data["epoch"]
        assert (welcome.event, welcome.id, welcome.data["recovered"]) == ("welcome", f"{epoch}:0", False)
        assert place.command("run.start", "stream", agent="says", input=3)["ok"]
        for seq in range(1, 6):
            message = stream.next("message")
            assert (message.id, message.data["seq"]) == (f"{epoch}:{seq}", seq)
        assert message.data["data"]["result"] == 3
        fields = {name.lower(): value for name, value in stream.response.getheaders()}
        assert fields["content-type"] == "text/event-stream; charset=utf-8"
        assert (fields["cache-control"], fields["x-accel-buffering"]) == ("no-cache, no-transform", "no")
        assert place.command("session.close", "stream", "c-2")["ok"]
        assert stream.next("goodbye").data["code"] == 4506
        assert stream.maybe() is None
    assert place.json("GET", "/events?session=stream")[0] == 410


def test_every_way_has_the_same_history(place: Place) -> None:
    """A stream, polls, a WebSocket and the history frame return the same events."""
    start = {"type": "command", "id": "c-1", "name": "run.start", "args": {"agent": "says", "input": 300}}
    events = by_websocket(place, "same", start, until="agent_completed")
    assert [event["seq"] for event in events] == list(range(1, 303))
    assert polled(place, "same", until="agent_completed") == events
    with place.stream(session="same") as stream:
        assert stream.until("agent_completed") == events
    frame = {"type": "history", "id": "h-1", "after": 290, "limit": 500}
    status, page = place.json("POST", "/commands?session=same", frame)
    assert (status, page) == (200, {"type": "history", "id": "h-1", "events": events[290:], "more": False})


def test_command_is_done_once_over_all_ways(place: Place) -> None:
    """A command that is sent again on another transport gets the first reply, and is not done again."""
    start = {"type": "command", "id": "same-id", "name": "run.start", "args": {"agent": "says", "input": 1}}
    by_websocket(place, "once", start, until="agent_completed")
    replies = [place.json("POST", "/commands?session=once", start) for _ in range(3)]
    assert all((status, reply["duplicate"]) == (200, True) for status, reply in replies)
    _, frames = place.poll(session="once")
    assert [event["type"] for event in frames[1]["events"]].count("agent_started") == 1


def test_question_is_answered(place: Place) -> None:
    """An answer by POST reaches the agent, and names the stream that it belongs to."""
    with place.stream(session="asks") as stream:
        connection = stream.next("welcome").data["connection"]
        place.command("run.start", "asks", agent="asks", input="how many?")
        asked = stream.until("input_requested")[-1]
        answer = {"run_id": asked["run_id"], "call_id": asked["call_id"], "value": 7}
        assert place.command("input.answer", "asks", "c-2", f"&connection={connection}", **answer)["ok"]
        received, completed = stream.until("agent_completed")
    assert (received["data"]["by"], completed["data"]["result"]) == (connection, 7)


def test_two_users_are_never_mixed(place: Place) -> None:
    """The same name of a session is another session for another user, by each way."""
    text = {user: f"of {user}" for user in ("ann", "bob")}
    for user, mine in text.items():
        frame = {"type": "command", "id": "c-1", "name": "message.send", "args": {"text": mine}}
        assert place.json("POST", "/commands?session=mixed", frame, user=user)[1]["result"] == {"seq": 1}
    for user, mine in text.items():
        with place.stream(session="mixed", user=user) as stream:
            assert stream.next("message").data["data"] == {"text": mine}
        _, frames = place.poll(session="mixed", user=user)
        assert [event["data"] for event in frames[1]["events"]] == [{"text": mine}]


def test_stream_of_another_user_is_not_reached(place: Place) -> None:
    """A POST reaches only streams of its own user and session, by the id of the connection."""
    with place.stream(session="typing") as stream:
        connection = stream.next("welcome").data["connection"]
        typing = {"type": "typing", "active": True}
        path = f"/commands?session=typing&connection={connection}"
        assert place.json("POST", path, typing, user="bob")[0] == 409
        assert place.json("POST", path.replace("=typing", "=other"), typing)[0] == 409
        assert place.json("POST", path, typing) == (204, None)
        assert stream.next("signal").data["data"] == {"by": "user", "id": connection, "active": True}


def test_fresh_token(place: Place) -> None:
    """A fresh token by POST goes on with the stream; one of another user ends it."""
    fresh = f"{TOKEN}ann/fresh"
    place.auth.expires[fresh] = time.time() + 10_000
    with place.stream(session="renewed") as stream:
        connection = stream.next("welcome").data["connection"]
        path = f"/commands?session=renewed&connection={connection}"
        assert place.json("POST", path, {"type": "token", "token": fresh}) == (204, None)
        assert 0 < stream.next("token").data["expires_ms"] <= 10_000_000
        place.json("POST", path, {"type": "token", "token": f"{TOKEN}bob"})
        assert stream.next("goodbye").data["code"] == 4501
        assert stream.maybe() is None


def test_revoked_token_ends_the_stream(place: Place) -> None:
    """A revocation closes the streams of the token at once, and refuses the next requests."""
    with place.stream(session="revoked", user="eve/1") as stream:
        stream.next("welcome")
        place.run(partial(place.server.sessions.revoke, token_id=f"{TOKEN}eve/1"))
        goodbye = stream.next("goodbye")
        assert (goodbye.data["code"], goodbye.retry) == (4501, None)
    assert place.json("GET", "/events?session=revoked", user="eve/1")[0] == 401
    frame = {"type": "command", "id": "c-1", "name": "message.send", "args": {"text": "x"}}
    assert place.json("POST", "/commands?session=revoked", frame, user="eve/1")[0] == 401


def test_expired_token_ends_the_stream(place: Place) -> None:
    """A stream ends with its token, and says when to come back. A request with an old token gets 401."""
    token = f"{TOKEN}ann/old"
    place.auth.expires[token] = time.time() + 0.3
    with place.stream(session="expires", user="ann/old") as stream:
        assert stream.next("welcome").data["expires_ms"] <= 300
        goodbye = stream.next("goodbye")
        assert goodbye.data["code"] == 4004
        assert goodbye.retry == goodbye.data["retry_ms"] > 0
    status, refused = place.json("GET", "/events?session=expires", user="ann/old")
    assert (status, refused["code"]) == (401, 4004)


@settings(max_examples=1000 if SOAK else 15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 25), max_size=6), ways=st.lists(st.booleans(), min_size=7, max_size=7))
def test_resume_at_every_cut(place: Place, cuts: list[int], ways: list[bool]) -> None:
    """The parts of a stream that is cut anywhere, and goes on by either way, are the whole, each event once."""
    if not place.command("run.start", "cut", agent="says", input=20).get("duplicate"):
        by_websocket(place, "cut", until="agent_completed")
    seqs: list[int] = []
    position = ""
    for count, by_header in zip([*cuts, 22], ways, strict=False):
        headers = {"Last_Event_ID": position} if by_header and position else {}
        query = f"&after={position}" if position and not by_header else ""
        with place.stream(query, "cut", **headers) as stream:
            assert stream.next("welcome").data["recovered"] is bool(position)
            position = stream.last_id
            for _ in range(min(count, 22 - len(seqs))):
                seqs.append(stream.next("message").data["seq"])
                position = stream.last_id
    assert seqs == list(range(1, 23))


def test_header_counts_before_the_url(place: Place) -> None:
    """``Last-Event-ID`` wins over ``after``, since EventSource comes back with its first URL."""
    place.command("run.start", "wins", agent="says", input=3)
    position, _ = place.poll(session="wins")
    epoch = position.partition(":")[0]
    with place.stream(f"&after={epoch}:1", "wins", Last_Event_ID=f"{epoch}:4") as stream:
        assert (stream.next("welcome").id, stream.next("message").data["seq"]) == (f"{epoch}:4", 5)


def test_lost_position(place: Place) -> None:
    """A position of another log is a reset, and a refusal for a strict client."""
    place.command("message.send", "lost", text="x")
    with place.stream("&after=another:7", "lost") as stream:
        welcome = stream.next("welcome")
        assert (welcome.data["reset"], welcome.id.partition(":")[2]) == ("epoch_changed", "0")
        assert stream.next("message").data["seq"] == 1
    status, refused = place.json("GET", "/events?session=lost&after=another:7&strict=1")
    assert (status, refused["code"]) == (409, 4410)
    _, frames = place.poll("&after=another:7&wait=20", "lost")
    assert frames[0]["reset"] == "epoch_changed"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/events?session=s1&token=x", 400, 4500),
        ("/events?session=s1&access_token=x", 400, 4500),
        ("/commands?session=s1&token=x", 400, 4500),
        ("/events", 400, 4500),
        ("/events?session=a%20b", 400, 4500),
        ("/events?session=s1&after=7", 400, 4500),
        ("/events?session=s1&after=e:-1", 400, 4500),
        ("/events?session=s1&after=e:9007199254740992", 400, 4500),
        ("/events?session=s1&strict=perhaps", 400, 4500),
    ],
)
def test_wrong_url(place: Place, path: str, status: int, code: int) -> None:
    """A URL that cannot be read, or that has a token, is refused, and says why."""
    body = {"type": "pong"} if path.startswith("/commands") else None
    found, refused = place.json("GET" if body is None else "POST", path, body)
    assert (found, refused["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, 4500),
        (b"[]", "application/json", 400, 4500),
        (b"\xff", "application/json", 400, 4500),
        (b'{"type":"hello","session":"s1"}', "application/json", 400, 4500),
        (b'{"type":"command","name":"x"}', "application/json", 400, 4500),
        (
            b'{"type":"pong","x":' + b"[" * 70 + b"]" * 70 + b"}",
            "application/json",
            400,
            4500,
        ),
        (b'{"type":"pong"}', "text/plain", 415, 1003),
        (b'{"type":"typing","active":true}', "application/json", 409, 4500),
    ],
)
def test_wrong_frame(place: Place, body: bytes, kind: str, status: int, code: int) -> None:
    """A body that is no frame of a client is refused, and says why."""
    found, refused = place.json("POST", "/commands?session=s1", body, Content_Type=kind)
    assert (found, refused["code"]) == (status, code)


def test_refused_commands(place: Place) -> None:
    """A refusal of a session is a reply, with the codes of a WebSocket."""
    assert place.command("run.start", agent="nobody")["error"]["code"] == "unknown_agent"
    assert place.command("fly", id_="c-2")["error"]["code"] == "unknown_command"
    assert (
        place.command("input.answer", id_="c-3", run_id="r-1", call_id="x", value=1)["error"]["code"] == "unknown_run"
    )
    status, error = place.json("POST", "/commands?session=s1", {"type": "history", "id": "h", "after": 0, "limit": 501})
    assert (status, error["code"]) == (200, "bad_history")
    assert place.json("POST", "/commands?session=s1", {"type": "ack", "seq": 1}) == (204, None)


@pytest.mark.parametrize("user", [None, "x"])
def test_without_a_token(place: Place, user: str | None) -> None:
    """A request without a token, or with a wrong one, gets 401, and the scheme that is asked for."""
    headers = {} if user is None else {"Authorization": "Bearer wrong"}
    for method, path, body in (("GET", "/events?session=s1", None), ("POST", "/commands?session=s1", {"type": "pong"})):
        response = place.ask(method, path, body, user=None, **headers)
        assert (response.status, response.getheader("WWW-Authenticate")) == (401, "Bearer")
        assert json.loads(response.read())["code"] == 4501
        response.close()


def test_origins(place: Place) -> None:
    """A foreign page is refused, and so is a request that a browser marks as one of a foreign page."""
    own = f"http://127.0.0.1:{place.port}"
    typing = {"type": "pong"}
    for headers, expected in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 204),
        ({"Origin": own, "Sec_Fetch_Site": "same-origin"}, 204),
        ({}, 204),
    ):
        assert place.json("POST", "/commands?session=s1", typing, **headers)[0] == expected
        response = place.ask("GET", "/events?session=s1", **headers)
        assert response.status == (200 if expected == 204 else 403)
        response.close()


def test_foreign_name_for_this_machine(place: Place) -> None:
    """A page whose own name means this machine (DNS rebinding) is refused on the server's own port.

    In a web application, pages of the same host may send requests: only the application knows its names.
    """
    own_port = place.prefix == ""
    name = f"evil.example:{place.port}"
    status, _ = place.json("POST", "/commands?session=s1", {"type": "pong"}, Host=name, Origin=f"http://{name}")
    assert status == (403 if own_port else 204)
    response = place.ask("GET", "/events?session=s1", Host=name, Sec_Fetch_Site="same-origin")
    assert response.status == (403 if own_port else 200)
    response.close()


async def status_of_poll(site: Starlette, host: bytes) -> int:
    """Return the status of a poll that a program of this machine sends to the host ``host``."""
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/events",
        "query_string": b"session=s1&wait=0",
        "headers": [(b"host", host), (b"accept", b"application/json")],
        "server": ("127.0.0.1", 8766),
        "client": ("127.0.0.1", 9),
    }
    received: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return received.pop() if received else await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)
        await trio.lowlevel.checkpoint()

    await site(scope, receive, send)
    return int(sent[0]["status"])


async def test_foreign_name_without_authentication() -> None:
    """Without authentication, a request for another name than this machine's is refused, whatever else it says."""
    app = Greenroom(log="memory:")
    async with app.running(port=0) as server:
        site = Starlette(routes=session_routes(app, server))
        hosts = (b"127.0.0.1:8766", b"localhost:8766", b"[::1]:8766", b"evil.example:8766", b"")
        assert [await status_of_poll(site, host) for host in hosts] == [200, 200, 200, 403, 403]


def test_streams_are_connections(place: Place) -> None:
    """A stream stands in the list of connections with its user, and is gone when its client has left."""
    with place.stream(session="listed", user="lee") as stream:
        connection = stream.next("welcome").data["connection"]

        def listed() -> list[tuple[str | None, str | None]]:
            every = place.server.endpoint.connections()
            return [(each.user, each.session) for each in every if each.connection == connection]

        async def found() -> list[tuple[str | None, str | None]]:
            return listed()

        assert place.run(found) == [("lee", "listed")]

    async def gone() -> None:
        with trio.fail_after(PATIENCE):
            while listed():
                await trio.lowlevel.checkpoint()

    place.run(gone)


def test_operator_closes_a_stream(place: Place) -> None:
    """A connection that an operator closes says goodbye with 1001 and a time to come back."""
    with place.stream(session="closed") as stream:
        connection = stream.next("welcome").data["connection"]

        async def close() -> bool:
            return place.server.endpoint.close_connection(connection)

        assert place.run(close)
        goodbye = stream.next("goodbye")
        assert goodbye.data["code"] == 1001
        assert goodbye.retry == goodbye.data["retry_ms"] > 0
