"""The upgrade: subprotocol, path, origin, and limits on the number of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.agents import auth_by_name, make_app
from protocol.wire import client, greeted, wait_for_connections
from websockets.exceptions import InvalidStatus
from websockets.trio.client import ClientConnection

if TYPE_CHECKING:
    from trio.testing import MockClock


async def refused(server: Any, path: str = "", **options: Any) -> tuple[int, str]:
    """Try to connect. Return status and body of the refusal."""
    with pytest.raises(InvalidStatus) as caught:
        async with client(server, path, **options):
            pass
    return caught.value.response.status_code, caught.value.response.body.decode()


@pytest.mark.parametrize(
    ("offered", "echoed"),
    [
        (["greenroom.v1"], "greenroom.v1"),
        (["greenroom.v9", "greenroom.v1"], "greenroom.v1"),
        (["greenroom.v1", "greenroom.v0"], "greenroom.v1"),
        (None, None),
    ],
)
async def test_first_served_subprotocol_is_echoed(offered: list[str] | None, echoed: str | None) -> None:
    """If a client offers several subprotocols, the server answers with the first supported one.

    If the client offers none, the answer has none.
    """
    async with make_app().running(port=0) as server, client(server, subprotocols=offered) as one:
        assert isinstance(one.socket, ClientConnection)
        assert one.socket.subprotocol == echoed
        await one.hello()


async def test_unknown_subprotocols_get_400() -> None:
    """If a client offers only unknown subprotocols, its upgrade is refused with 400.

    The body of the answer lists the supported subprotocols.
    """
    async with make_app().running(port=0) as server:
        status, body = await refused(server, subprotocols=["mqtt", "greenroom.v2"])
        assert (status, "greenroom.v1" in body) == (400, True)


@pytest.mark.parametrize("path", ["chat", "greenroom.v1", "%2f", "/", "/[", "?/../x/"])
async def test_other_paths_get_404(path: str) -> None:
    """An upgrade request with a path other than ``/`` is refused with 404. The query of the URL is ignored."""
    async with make_app().running(port=0) as server:
        if path.startswith("?"):
            async with client(server, path) as one:
                await one.hello()
        else:
            assert (await refused(server, path))[0] == 404


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (None, True),
        ("https://app.example", True),
        ("https://APP.example:443", True),
        ("https://app.example:8443", False),
        ("http://app.example", False),
        ("https://app.example.evil", False),
        ("https://evil.example", False),
        ("null", False),
        ("://", False),
        ("https://[", False),
        ("forgotten.example", False),
    ],
)
async def test_foreign_origin_gets_403(origin: str | None, passes: bool) -> None:
    """An upgrade request from a web page with a foreign origin is refused with 403.

    A request with an allowed origin, or without an origin, is accepted.
    """
    app = make_app(allowed_origins=["https://app.example/", "https://forgotten.example"])
    async with app.running(port=0) as server:
        if passes:
            async with client(server, origin=origin) as one:
                await one.hello()
        else:
            assert (await refused(server, origin=origin))[0] == 403


@pytest.mark.parametrize("more", [[], ["https://app.example"]])
async def test_own_pages_are_always_allowed(more: list[str]) -> None:
    """The web pages that the server itself serves may connect, also if ``allowed_origins`` names others."""
    settings: dict[str, Any] = {"allowed_origins": more} if more else {}
    async with make_app(**settings).running(port=0, origins=("http://127.0.0.1:8766",)) as server:
        for origin in ("http://127.0.0.1:8766", *more):
            async with client(server, origin=origin) as one:
                await one.hello()
        assert (await refused(server, origin="http://127.0.0.1:8767"))[0] == 403


async def test_pages_of_a_server_at_every_address() -> None:
    """An own origin with a wildcard address allows pages at the address of the request, and no other address."""
    async with make_app().running(port=0, origins=("http://0.0.0.0:8766",)) as server:
        async with client(server, origin="http://127.0.0.1:8766") as one:
            await one.hello()
        for origin in ("http://127.0.0.2:8766", "http://127.0.0.1:8767", "http://localhost:8766"):
            assert (await refused(server, origin=origin))[0] == 403


def limited(limit: str) -> Any:
    """Return an app in which ``limit`` is 2."""
    settings: dict[str, Any] = {limit: 2}
    return make_app(**settings)


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_one_connection_too_many_gets_503(limit: str) -> None:
    """If the server or an address is at its connection limit, a new connection is refused with 503.

    When the open connections have ended, a new connection is accepted.
    """
    async with limited(limit).running(port=0) as server:
        async with greeted(server) as one, greeted(server) as two:
            assert (await refused(server))[0] == 503
            assert server.endpoint.statistics().refused == 1
            await one.say("still here")
            await two.events_until(1)
        await wait_for_connections(server)
        async with greeted(server):
            assert server.endpoint.statistics().connections == 1


async def test_one_connection_too_many_of_a_user_gets_4504() -> None:
    """If a user is at the connection limit and all connections of the user answer pings, no further one is accepted.

    The new connection is closed with 4504 (too many connections).
    """
    async with make_app(auth=auth_by_name, max_connections_per_user=1).running(port=0) as server:
        async with greeted(server, token="alice") as first, greeted(server, token="bob"):
            async with client(server) as second:
                await second.send("hello", session="other", token="alice")
                await first.receive("ping")
                await first.send("pong")
                ended = await second.ended()
            assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4504, False)
        await wait_for_connections(server)
        assert server.endpoint.statistics().users == 0
        async with greeted(server, token="alice"):
            pass


async def request(server: Any, *lines: str) -> bytes:
    """Return the answer to a plain HTTP request."""
    host, port = server.url.removeprefix("ws://").rstrip("/").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all("\r\n".join((*lines, f"Host: {host}", "", "")).encode("latin-1"))
        answer = b""
        with trio.fail_after(60):
            while chunk := await stream.receive_some():
                answer += bytes(chunk)
    return answer


@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/1.1",),
        ("POST / HTTP/1.1", "Content-Length: 0"),
        ("GET / HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        ("GET / HTTP/1.1", "Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"),
    ],
)
async def test_plain_request_gets_an_http_error(lines: tuple[str, ...]) -> None:
    """An HTTP request that is not a complete WebSocket upgrade is answered with 400 at once."""
    async with make_app().running(port=0) as server:
        assert (await request(server, *lines)).startswith(b"HTTP/1.1 400")
        await wait_for_connections(server)


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("GET / HTTP/1.1", *UPGRADE, KEY, "Sec-WebSocket-Protocol: \xff"), id="byte above 127"),
        pytest.param(("GET / HTTP/1.0", *UPGRADE, KEY), id="HTTP 1.0"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, "Sec-WebSocket-Key: short"), id="wrong key"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, KEY, "Host: xn--"), id="two hosts"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, KEY, "Host: a", "", "GET / HTTP/1.1"), id="second request"),
    ],
)
async def test_wrong_request_gets_a_reason(lines: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    """A request that is not plain HTTP/1.1 gets 400 with a reason. The log has one line, and the connection is gone."""
    async with make_app().running(port=0) as server:
        status, _, rest = (await request(server, *lines)).partition(b"\r\n")
        assert status == b"HTTP/1.1 400 Bad Request"
        headers, _, body = rest.partition(b"\r\n\r\n")
        assert b"Connection: close" in headers
        assert f"Content-Length: {len(body)}".encode() in headers
        assert body.count(b" ") > 3
        await wait_for_connections(server)
    assert [record.name for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == [
        "greenroom.refusals"
    ]


@pytest.mark.parametrize("sent", [b"", b"GET / HT"], ids=["nothing", "a part"])
async def test_client_that_leaves_before_its_request(sent: bytes, autojump_clock: MockClock) -> None:
    """If a client disconnects before its request is complete, its connection is gone at once, and not 5 s later."""
    async with make_app().running(port=0) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.endpoint.serve, theirs)
            if sent:
                await ours.send_all(sent)
            await trio.testing.wait_all_tasks_blocked()
            await ours.aclose()
        assert trio.current_time() < 1
        assert server.endpoint.statistics().connections == 0


def address_of(server: Any) -> tuple[str, int]:
    """Return the host and port of a server."""
    host, port = server.url.removeprefix("ws://").rstrip("/").split(":")
    return host, int(port)


async def test_silent_connections_make_room() -> None:
    """At the server's connection limit, the oldest connection that has sent nothing is closed for a new client."""
    async with make_app(max_connections=2).running(port=0) as server:
        silent = [await trio.open_tcp_stream(*address_of(server)) for _ in range(2)]
        await wait_for_connections(server, 2)
        async with greeted(server):
            with trio.fail_after(60):
                assert await silent[0].receive_some() == b""
            statistics = server.endpoint.statistics()
            assert (statistics.connections, statistics.silent_dropped, statistics.refused) == (2, 1, 0)
        for stream in silent:
            await stream.aclose()
        await wait_for_connections(server)


async def test_connections_that_come_too_fast() -> None:
    """If an address connects more often than ``handshakes_per_address_per_second``, its connection is closed at once.

    It gets no answer.
    """
    async with make_app(handshakes_per_address_per_second=0.001).running(port=0) as server:
        async with greeted(server):
            assert await request(server, "GET / HTTP/1.1") == b""
            statistics = server.endpoint.statistics()
            assert (statistics.connections, statistics.accepted, statistics.too_fast) == (1, 1, 1)
