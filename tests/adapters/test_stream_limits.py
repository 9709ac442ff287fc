"""The limits of streams and requests over plain HTTP, on both sides of each, and the end of the server."""

from __future__ import annotations

import json
import math
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from adapters.places import PLACES, TOKEN, Place, served
from hosting.uvicorn_thread import PATIENCE

from transport.adapters.answers import Refused
from transport.adapters.positions import seconds
from transport.adapters.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable

in_each_place = pytest.mark.parametrize("name", PLACES)


def start(id_: str, agent: str = "waits", **args: object) -> dict[str, Any]:
    """Return the frame of a start."""
    return {"type": "command", "id": id_, "name": "run.start", "args": {"agent": agent, **args}}


def until(condition: Callable[[], object]) -> None:
    """Ask until the condition holds. Each question is a request, so this is no busy loop."""
    for _ in range(500):
        if condition():
            return
    raise AssertionError("it never held")


@in_each_place
def test_waiting_requests_of_a_user(name: str) -> None:
    """At most ``max_requests_per_user`` requests of a user wait; another user is not affected."""
    options = {"runs_per_user": 1, "max_requests_per_user": 2, "commands_burst": 100_000}
    with served(name, **options, handshakes_per_address_per_second=100_000) as place, ExitStack() as waiting:
        assert place.command("run.start", id_="first", agent="waits")["ok"]
        waiting.enter_context(closing(place.begin("POST", "/commands?session=s1", start("q-1"))))
        # One waits: a second may.
        assert place.json("POST", "/commands?session=s1&wait=0", start("q-2"))[0] == 202
        waiting.enter_context(closing(place.begin("POST", "/commands?session=s1", start("q-3"))))
        limits = place.server.endpoint.single_requests.limits
        until(lambda: place.json("GET", "/events", user="bob") and limits.waiting_of("ann") == 2)
        status, reply = place.json("POST", "/commands?session=s1&wait=0", start("q-2"))
        assert (status, reply["error"]["code"]) == (429, "overloaded")
        assert place.json("POST", "/commands?session=s1", start("c-1", "says", input=1), user="bob")[1]["ok"]


@in_each_place
def test_rate_of_a_user(name: str) -> None:
    """All requests of a user have ``commands_burst`` together, whatever their sessions are."""
    with served(name, commands_burst=3, commands_per_second=0.001) as place:
        for number in range(3):
            assert place.command("message.send", f"s{number}", f"c-{number}", text="x")["ok"]
        status, reply = place.json("POST", "/commands?session=s1", start("c-4"))
        assert (status, reply["error"]["code"]) == (429, "rate_limited")
        history = {"type": "history", "id": "h-1", "after": 0, "limit": 1}
        status, error = place.json("POST", "/commands?session=s1", history)
        assert (status, error["code"]) == (429, "rate_limited")
        typing = {"type": "typing", "active": True}
        status, error = place.json("POST", "/commands?session=s1&typist=h1", typing)
        assert (status, error["code"]) == (429, "rate_limited")
        assert place.json("POST", "/commands?session=s1", history, user="bob")[0] == 200


@in_each_place
def test_wait_for_a_reply_and_for_news(name: str) -> None:
    """A queued start is pending after ``http_wait_seconds``, and a poll comes back empty."""
    with served(name, runs_per_user=1, http_wait_seconds=0.1) as place:
        place.command("run.start", id_="first", agent="waits")
        run_id = place.poll()[1][0]["runs"][0]["run_id"]
        for _ in range(2):
            assert place.json("POST", "/commands?session=s1&wait=1000", start("q-1", "says", input=1)) == (
                202,
                {"type": "pending", "id": "q-1"},
            )
        position, _ = place.poll()
        assert place.poll(f"&after={position}&wait=1000")[0] == position
        place.command("run.cancel", id_="c-2", run_id=run_id)
        until(lambda: place.json("POST", "/commands?session=s1", start("q-1", "says", input=1))[0] == 200)


def test_time_in_a_request() -> None:
    """A time is read whatever number of decimals it has, as a program writes 0.1 + 0.2. Other texts are refused."""

    def read(text: str) -> float | None:
        return seconds(HttpRequest("GET", {}, {"wait": text}, {}, b""), "wait")

    assert [read(text) for text in ("0", "12.5", "0.30000000000000004", "9" * 400)] == [0, 12.5, 0.1 + 0.2, math.inf]
    for wrong in ("", "-1", "1e3", ".5", "1.x", "nan"):
        with pytest.raises(Refused, match="wait"):
            read(wrong)


@in_each_place
def test_silent_stream_has_comments(name: str) -> None:
    """A stream without news gets a comment after ``comment_seconds``, again and again."""
    with served(name, comment_seconds=0.02) as place, place.stream() as stream:
        stream.next("welcome")
        for _ in range(5):
            while (line := stream.response.readline()) == b"\n":
                pass
            assert line.startswith(b":")


@in_each_place
def test_ping_is_answered_for_the_client(name: str) -> None:
    """A stream lives on over many pings, although its client has no way to answer them."""
    with served(name, ping_seconds=0.02, pong_seconds=0.3) as place, place.stream() as stream:
        stream.next("welcome")
        for _ in range(40):
            stream.response.readline()
        place.command("message.send", text="still there")
        assert stream.next("message").data["data"] == {"text": "still there"}


@in_each_place
def test_connections_of_a_user(name: str) -> None:
    """A user has ``max_connections_per_user`` streams, of which none gives way while it is taken by the network."""
    with served(name, max_connections_per_user=2, give_way_seconds=0.5) as place, ExitStack() as streams:
        for session in ("s1", "s2"):
            streams.enter_context(place.stream(session=session)).next("welcome")
        status, refused = place.json("GET", "/events?session=s3")
        assert (status, refused["code"]) == (429, 4504)
        assert place.command("message.send", "s3", text="a command is no connection")["ok"]
        streams.enter_context(place.stream(session="s3", user="bob")).next("welcome")


@in_each_place
def test_connections_of_an_address(name: str) -> None:
    """An address has ``max_connections_per_address`` streams; one more gets 503 and comes back later."""
    with served(name, max_connections_per_address=3) as place, ExitStack() as streams:
        for user in ("a", "b", "c"):
            streams.enter_context(place.stream(user=user)).next("welcome")
        response = place.ask("GET", "/events?session=s1", user="d")
        assert response.status == 503
        if name == "uvicorn":  # the port of the pages has this limit for itself, and refuses in plain text
            assert json.loads(response.read())["code"] == 4005
        response.close()


@in_each_place
def test_requests_come_too_fast(name: str) -> None:
    """Requests beyond ``handshakes_per_address_per_second`` get 503, before anything is read of them."""
    with served(name, handshakes_per_address_per_second=5) as place:
        answers = []
        for _ in range(6):
            try:
                answers.append(place.json("GET", "/events?session=s1", Accept="application/json")[0])
            except ConnectionError:  # the port of the pages closes them, as the endpoint does
                answers.append(503)
        assert answers[0] == 200
        assert place.auth.asked <= len(answers)


@in_each_place
def test_size_of_a_body(name: str) -> None:
    """A body of ``max_frame_bytes`` is read, and one byte more gets 413."""
    with served(name, max_frame_bytes=1024) as place:
        frame = json.dumps({"type": "pong", "x": ""}).encode()
        for more, expected in ((0, 204), (1, 413)):
            body = frame.replace(b'""', b'"%b"' % (b"x" * (1024 - len(frame) + more)))
            assert len(body) == 1024 + more
            response = place.ask("POST", "/commands?session=s1", body)
            assert response.status == expected
            response.close()


@in_each_place
def test_slow_reader(name: str) -> None:
    """A client that takes nothing is cut after ``slow_seconds``, and costs the others nothing."""
    with served(name, slow_seconds=2, retain_bytes=64 * 1024 * 1024) as place:
        with socket.create_connection(("127.0.0.1", place.port), PATIENCE) as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = (
                f"GET {place.prefix}/events?session=s1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}ann\r\n\r\n"
            )
            stalled.sendall(head.encode())
            with place.stream() as stream:
                stream.next("welcome")
                assert place.command("run.start", agent="big", input=900_000)["ok"]
                assert len(stream.until("agent_completed")) == 22
            until(lambda: "4001" in (place.poll(session="other"), place.server.endpoint.counters().closes)[1])


@pytest.mark.parametrize("kind", ["stream", "poll"])
@in_each_place
def test_shutdown(name: str, kind: str) -> None:
    """A server that ends says goodbye with 1001, and when to come back, to a stream and to a poll that waits."""
    with ExitStack() as server, ExitStack() as client:
        place = server.enter_context(served(name))
        if kind == "stream":
            stream = client.enter_context(place.stream())
            stream.next("welcome")
            server.close()
            goodbye = stream.next("goodbye")
            assert goodbye.retry == goodbye.data["retry_ms"] > 0
            assert (goodbye.data["code"], stream.maybe()) == (1001, None)
        else:
            position, _ = place.poll()
            waiting = place.begin("GET", f"/events?session=s1&after={position}&wait=25", Accept="application/json")
            until(lambda: _waits(place))
            server.close()
            with closing(waiting), waiting.getresponse() as response:
                answer = json.loads(response.read())
            assert [frame["type"] for frame in answer["frames"]] == ["welcome", "goodbye"]
            assert (answer["frames"][1]["code"], answer["position"]) == (1001, position)


def _waits(place: Place) -> bool:
    """Return whether exactly one connection is open besides this request."""
    place.json("GET", "/events?session=other", Accept="application/json")

    async def found() -> bool:
        every = place.server.endpoint.connections()
        return any(each.session == "s1" and each.state == "open" for each in every)

    return bool(place.run(found))
