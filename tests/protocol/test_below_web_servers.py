"""The rules of an own port that belong to a web server, if there is one below, and what the web server does instead.

``tests/hosting/test_every_host.py`` leaves out the tests of these rules below a web server, and runs these.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _below import HOST, NATIVE
from _tls import Authority
from delivery.test_forked_workers import port_of, ports_of, run_in_fork
from hosting.everywhere import serving
from protocol.agents import make_app
from protocol.test_no_websocket import NO_FRAMES, end_after
from protocol.test_proxy_protocol import V1
from protocol.test_upgrade import KEY, UPGRADE, address_of, refused
from protocol.wire import client, greeted, wait_for_connections
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from transport import Credentials, User

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.websockets import WebSocket

    from transport import Server

UVICORN = not HOST.startswith("hypercorn")
"""Whether uvicorn is below, with or without the hand-over of sockets."""
HANDED = HOST.startswith("handover")
pytestmark = pytest.mark.left_out_if(HOST == NATIVE, "this run has no web server")


async def status(server: Server, data: bytes) -> int:
    """Send bytes, and return the HTTP status of the answer; 0 if the connection is closed without an answer."""
    async with await trio.open_tcp_stream(*address_of(server)) as stream:
        await stream.send_all(data)
        with trio.fail_after(60):
            answer = bytes(await stream.receive_some())
    return int(answer.split()[1]) if answer else 0


def head(*lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join((*lines, "Host: a", "", "")).encode("latin-1")


@pytest.mark.parametrize("path", ["chat", "greenroom.v1", "%2f", "/", "/["])
async def test_path_of_nothing(path: str) -> None:
    """A WebSocket at a path of nothing gets 403, since ASGI's frameworks close it before it was accepted."""
    async with make_app().running(port=0) as server:
        assert await refused(server, path) == (403, "")


async def test_pages_of_the_same_host() -> None:
    """Pages of the web server's own address may connect, and no pages of another port."""
    async with make_app().running(port=0, origins=("http://127.0.0.1:8766",)) as server:
        own = server.url.replace("ws:", "http:").rstrip("/")
        async with client(server, origin=own) as one:
            await one.hello()
        assert (await refused(server, origin="http://127.0.0.1:8766"))[0] == 403


@pytest.mark.parametrize(
    ("lines", "handed", "uvicorn", "hypercorn"),
    [
        pytest.param(("GET / HTTP/1.1",), 404, 404, 404, id="plain"),
        pytest.param(("POST / HTTP/1.1", "Content-Length: 0"), 404, 404, 404, id="POST"),
        pytest.param(("GET / HTTP/1.1", "Upgrade: h2c", "Connection: Upgrade"), 404, 404, 101, id="h2c"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE), 400, 400, 400, id="no key"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, "Sec-WebSocket-Key: short"), 400, 400, 101, id="wrong key"),
        pytest.param(("GET / HTTP/1.0", *UPGRADE, KEY), 101, 101, 400, id="HTTP 1.0"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, KEY, "Host: xn--"), 400, 101, 400, id="two hosts"),
        pytest.param(("GET / HTTP/1.1", *UPGRADE, KEY, "", "GET / HTTP/1.1"), 400, 101, 400, id="second request"),
    ],
)
async def test_requests(lines: tuple[str, ...], handed: int, uvicorn: int, hypercorn: int) -> None:
    """The web server judges requests by its own rules. No request leaves a connection behind."""
    async with make_app().running(port=0) as server:
        assert await status(server, head(*lines)) == (handed if HANDED else uvicorn if UVICORN else hypercorn)
        await wait_for_connections(server)


async def test_byte_above_127_in_a_request() -> None:
    """Uvicorn refuses the request. Hypercorn fails in it: on asyncio one connection ends, on trio the whole server."""
    lines = ("GET / HTTP/1.1", *UPGRADE, KEY, "Sec-WebSocket-Protocol: \xff")
    if HOST == "hypercorn-trio":
        with pytest.RaisesGroup(UnicodeDecodeError, flatten_subgroups=True):
            async with make_app().running(port=0) as server:
                await status(server, head(*lines))
                await trio.sleep_forever()
        return
    async with make_app().running(port=0) as server:
        assert await status(server, head(*lines)) == (400 if UVICORN else 0)
        async with greeted(server):
            pass


@pytest.mark.left_out_if(HANDED, "a handed-over connection is as one of an own port: test_no_websocket.py")
@pytest.mark.parametrize("welcomed", [False, True], ids=["before hello", "after hello"])
async def test_bytes_that_are_no_websocket(*, welcomed: bool) -> None:
    """The web server closes by itself: uvicorn with the code alone, Hypercorn without one. No connection is left."""
    async with make_app().running(port=0) as server:
        for name, (data, code) in NO_FRAMES.items():
            ended = await end_after(server, data, greeted=welcomed)
            assert (ended.code, ended.goodbye) == (code if UVICORN else 1006, None), name
        await wait_for_connections(server)


async def test_silent_connections() -> None:
    """A connection without a request is the web server's: it does not count in the endpoint's limits."""
    async with make_app(max_connections=1).running(port=0) as server:
        async with await trio.open_tcp_stream(*address_of(server)), greeted(server):
            statistics = server.endpoint.statistics()
            assert (statistics.connections, statistics.silent_dropped) == (1, 0)


async def test_connections_that_come_too_fast() -> None:
    """A client that connects too often is answered with 503, since the web server has its connection."""
    async with make_app(handshakes_per_address_per_second=0.001).running(port=0) as server, greeted(server):
        assert (await refused(server))[0] == 503
        assert server.endpoint.statistics().too_fast == 1


async def test_drain_leaves_the_port_open() -> None:
    """While the app drains, the web server's port is open, and a new client gets 503."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.start("1", "wait")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 0.5)
            assert (await one.ended()).code == 1001
            assert await refused(server) == (503, "the server is going away\n")


async def test_proxies() -> None:
    """The web server decides about ``X-Forwarded-For``: uvicorn believes this machine. It knows no PROXY protocol."""
    seen: list[str] = []

    async def auth(credentials: Credentials) -> User:
        seen.append(credentials.address)
        return User("ann")

    async with make_app(auth=auth, forwarded_allow=["127.0.0.1"]).running(port=0) as server:
        async with client(server, additional_headers={"X-Forwarded-For": "192.0.2.1"}) as one:
            await one.hello()
        assert seen == ["192.0.2.1" if UVICORN else "127.0.0.1"]
        assert await status(server, V1 % 1 + head("GET / HTTP/1.1")) == 400


async def test_settings_of_tls(tmp_path: Path) -> None:
    """The app's own certificate is not used: TLS is the web server's."""
    async with make_app(**Authority(tmp_path).issue()).running(port=0) as server, greeted(server):
        assert server.url.startswith("ws://")


@pytest.mark.left_out_if(HOST != "hypercorn-trio", "the other web servers let go of such a client")
async def test_hypercorn_on_trio_waits_for_a_client_that_reads_nothing() -> None:
    """Hypercorn on trio writes to a client without an end: neither a cancelled call nor its own end interrupts it."""
    scope, left = trio.CancelScope(), trio.Event()

    async def send_much(websocket: WebSocket) -> None:
        await websocket.accept()
        with scope:
            while True:
                await websocket.send_text("x" * 100_000)
                await trio.lowlevel.checkpoint()
        left.set()

    async with serving(Starlette(routes=[WebSocketRoute("/", send_much)])) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head("GET / HTTP/1.1", *UPGRADE, KEY))
            await trio.testing.wait_all_tasks_blocked(0.05)
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not left.is_set()
        with trio.fail_after(60):
            await left.wait()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # what is tested
async def test_forked_child_has_the_port() -> None:
    """A forked child process inherits the port of the web server."""
    async with make_app().running(port=0) as running, greeted(running) as one:
        port = port_of(running.url)
        assert port in ports_of(os.getpid())
        assert run_in_fork(lambda: port in ports_of(os.getpid())) is True
        await one.say("still here")
