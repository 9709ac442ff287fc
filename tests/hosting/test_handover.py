"""Sockets that uvicorn hands over: the endpoint's own rules hold, and uvicorn counts right, on each loop and parser."""

from __future__ import annotations

import gc
import threading
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trustme
from _tls_client import tls_client
from fastapi import FastAPI, HTTPException, WebSocket
from hosting.uvicorn_thread import PATIENCE, UvicornThread, ended, hear, say, trusting
from protocol.agents import make_app
from protocol.raw import PING, frame, told
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations
from websockets.exceptions import InvalidStatus

from transport.hosting import lifespan, mount
from transport.hosting._uvicorn import Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from transport import Greenroom

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def by_cookie(connection: HTTPConnection) -> str:
    """Return the user that the cookie names."""
    if "sid" not in connection.cookies:
        raise HTTPException(401, "log in first")
    return connection.cookies["sid"]


def web_application(app: Greenroom, user: Any = None, **options: Any) -> FastAPI:
    """Return a web application with a mounted endpoint, a plain route and a WebSocket of its own."""
    api = FastAPI(lifespan=lifespan(app, **options))
    mount(api, "/ws", app, user=user)

    @api.get("/")
    async def root() -> str:
        return "plain"

    @api.get("/slow")
    async def slow() -> str:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        return "slow"

    @api.websocket("/own")
    async def own(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    return api


@pytest.fixture(params=["asyncio-h11", "asyncio-httptools", "uvloop-h11", "uvloop-httptools"])
def serve(request: pytest.FixtureRequest) -> Callable[..., UvicornThread]:
    """Make uvicorn on each loop and with each HTTP parser."""
    loop, _, parser = request.param.partition("-")
    return lambda api, **options: UvicornThread(api, loop, http=parser, **options)


@pytest.fixture
def server() -> Iterator[UvicornThread]:
    """Run uvicorn with an app whose agents need no user."""
    with UvicornThread(web_application(make_app(commands_per_second=1000.0))).running() as server:
        yield server


def test_compression() -> None:
    """A handed-over client that offers compression gets it on the app's setting, in both directions."""
    app, text = make_app(compress_bytes=1024), "a long text " * 2000
    with (
        UvicornThread(web_application(app)).running() as server,
        server.greeted(compression="deflate") as client,
    ):
        assert client.response is not None
        assert "server_no_context_takeover" in client.response.headers["Sec-WebSocket-Extensions"]
        say(client, "command", id="1", name="run.start", args={"agent": "echo", "input": text})
        events: list[Any] = []
        while len(events) < 3:
            events += hear(client, "events")["events"]
        assert events[1]["data"]["text"] == text


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def received_until(stream: Any, end: bytes) -> bytes:
    """Read from the stream until ``end`` has come, or the end of the stream."""
    data = b""
    while end not in data and (part := stream.recv(65536)):
        data += part
    return data


def test_conversation(serve: Callable[..., UvicornThread]) -> None:
    """A handed-over client has its user from its cookie, and gets its events. Uvicorn counts it, without a task.

    When the client has left, uvicorn counts nothing any more.
    """
    app = make_app()
    with serve(web_application(app, by_cookie)).running() as server:
        with server.greeted(additional_headers={"cookie": "sid=alice"}, subprotocols=["greenroom.v1"]) as client:
            assert client.subprotocol == "greenroom.v1"
            say(client, "command", id="1", name="run.start", args={"agent": "echo", "input": "hi"})
            assert hear(client, "reply")["ok"]
            events = hear(client, "events")["events"]
            while events[-1]["type"] != "agent_completed":
                events += hear(client, "events")["events"]
            assert [event["seq"] for event in events] == [1, 2, 3]
            assert server.counted() == (["HandedWire"], 0)
            assert server.call(lambda: app.server.sessions.of("alice")) != ()
        server.until_idle()
        assert server.call(app.server.endpoint.statistics).connections == 0


def test_other_websockets_are_uvicorns(serve: Callable[..., UvicornThread]) -> None:
    """A WebSocket of the web application itself is served as without the hand-over."""
    with serve(web_application(make_app())).running() as server:
        with server.client("/own") as client:
            client.send("hello")
            assert client.recv(PATIENCE) == "hello"
        with pytest.raises(InvalidStatus), server.client("/none"):
            pass
        server.until_idle()


def test_upgrade_after_plain_requests(serve: Callable[..., UvicornThread]) -> None:
    """A connection that has carried plain requests before can become a WebSocket, and is handed over."""
    with serve(web_application(make_app())).running() as server, server.stream() as stream:
        for _ in range(2):
            stream.sendall(PLAIN)
            assert b"200 OK" in received_until(stream, b'"plain"')
        stream.sendall(UPGRADE)
        assert b"101 Switching" in received_until(stream, b"\r\n\r\n")
        stream.sendall(told("hello", session="s1"))
        assert b"welcome" in received_until(stream, b"}")
        assert server.counted() == (["HandedWire"], 0)


def test_pipelined_upgrade_is_answered_in_order(serve: Callable[..., UvicornThread]) -> None:
    """A plain request and an upgrade that come at once are answered in this order, and the WebSocket works."""
    with serve(web_application(make_app())).running() as server, server.stream() as stream:
        stream.sendall(PLAIN + UPGRADE)
        answers = received_until(stream, b"101 Switching")
        answers += b"" if answers.endswith(b"\r\n\r\n") else received_until(stream, b"\r\n\r\n")
        assert answers.index(b"200 OK") < answers.index(b"101 Switching")
        stream.sendall(told("hello", session="s1"))
        assert b"welcome" in received_until(stream, b"}")


def test_upgrade_behind_a_slow_request_takes_no_answer_away(serve: Callable[..., UvicornThread]) -> None:
    """While an earlier request on the connection is being answered, its socket is not taken away."""
    with serve(web_application(make_app())).running() as server, server.stream() as stream:
        stream.sendall(PLAIN.replace(b"/", b"/slow", 1) + UPGRADE)
        answers = b""
        while not (b'"slow"' in answers and b"101 Switching" in answers):
            part = stream.recv(65536)
            assert part, answers
            answers += part


def test_bytes_behind_the_request_are_not_lost(serve: Callable[..., UvicornThread]) -> None:
    """Bytes that came together with the request are judged as on a port of the endpoint's own: the answer is 400."""
    with serve(web_application(make_app())).running() as server:
        with server.stream() as stream:
            stream.sendall(UPGRADE + told("hello", session="s1"))
            assert b"400 Bad Request" in received_until(stream, b"\r\n\r\n")
        server.until_idle()


def test_no_descriptor_is_left(serve: Callable[..., UvicornThread]) -> None:
    """After many connections, the process has as many open descriptors as before."""
    with serve(web_application(make_app())).running() as server:
        with server.greeted():
            pass
        server.until_idle()
        before = open_descriptors()
        for _ in range(20):
            with server.greeted():
                pass
        server.until_idle()
        assert open_descriptors() <= before


def test_uvicorns_objects_are_freed_at_once(serve: Callable[..., UvicornThread]) -> None:
    """Uvicorn's objects for a handed-over connection, and its request, are freed without a garbage collection."""
    kinds = {"Protocol", "HttpToolsProtocol", "H11Protocol", "ServerProtocol", "MountedRequest"}

    def living() -> list[str]:
        return [name for each in gc.get_objects() if (name := type(each).__name__) in kinds]

    with serve(web_application(make_app())).running() as server:
        gc.collect()
        gc.disable()
        try:
            before = living()
            with ExitStack() as clients:
                for _ in range(3):
                    clients.enter_context(server.greeted())
                server.until(lambda: sorted(living()) == sorted(before))
        finally:
            gc.enable()


def test_shutdown_says_goodbye_before_the_lifespan_ends(serve: Callable[..., UvicornThread]) -> None:
    """When uvicorn shuts down, handed-over clients get 1001 and a time to return, before the lifespan ends."""
    app, left = make_app(), []

    @asynccontextmanager
    async def then(_: object) -> AsyncIterator[None]:
        yield
        left.append(app.server.endpoint.statistics().connections)

    # Without a time limit, uvicorn ends the lifespan only when all its connections have ended.
    web = serve(web_application(app, then=then), timeout_graceful_shutdown=None)
    with web.running() as server, server.greeted() as client:
        server._server.should_exit = True  # noqa: SLF001 - as a signal does
        code, goodbye = ended(client)
        assert (code, goodbye is not None and goodbye["code"], "retry_ms" in (goodbye or {})) == (1001, 1001, True)
    assert left == [0]


def test_shutdown_in_the_moment_of_the_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """If uvicorn shuts down in the moment in which a socket is taken, its shutdown does not fail."""
    take = Protocol._take  # noqa: SLF001 - as the application does

    def take_and_shut_down(protocol: Protocol) -> Any:
        taken = take(protocol)
        protocol.shutdown()  # uvicorn has it in its list still
        return taken

    monkeypatch.setattr(Protocol, "_take", take_and_shut_down)
    with UvicornThread(web_application(make_app())).running() as server:
        with server.greeted():
            pass
        server.until_idle()


def test_stalled_client_is_cut() -> None:
    """A client that reads nothing is closed after ``slow_seconds``, and its socket does not stay with uvicorn."""
    app = make_app(slow_seconds=0.2)
    with UvicornThread(web_application(app)).running() as server, server.stream() as stream:
        stream.sendall(UPGRADE)
        received_until(stream, b"\r\n\r\n")
        stream.sendall(told("hello", session="s1"))
        received_until(stream, b"}")
        order = {"agent": "emit", "input": {"count": 200, "size": 60_000}}
        stream.sendall(told("command", id="1", name="run.start", args=order))
        server.until(lambda: app.server.endpoint.statistics().connections == 0)
        server.until_idle()


def test_flood_ends_with_4505(server: UvicornThread) -> None:
    """A flood of pings, which ASGI servers answer without end, is closed with 4505."""
    with server.stream() as stream:
        stream.sendall(UPGRADE)
        received_until(stream, b"\r\n\r\n")
        stream.sendall(told("hello", session="s1"))
        received_until(stream, b"}")
        stream.sendall(frame(PING) * 2000)
        assert b'"code":4505' in received_until(stream, b'"code":4505')
    server.until_idle()


def test_refusals_are_those_of_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """A foreign page gets 403, a client without a user 4501, and connections that come too fast 503."""
    app = make_app(handshakes_per_address_per_second=3)
    with UvicornThread(web_application(app, by_cookie)).running() as server:
        with pytest.raises(InvalidStatus) as refused, server.client(origin="http://evil.example"):
            pass
        assert refused.value.response.status_code == 403
        with server.client() as client:
            say(client, "hello", session="s1")
            code, goodbye = ended(client)
            assert (code, goodbye and goodbye["reason"]) == (4501, "log in first")
        with ExitStack() as stack:
            streams = [stack.enter_context(server.stream()) for _ in range(30)]
            for stream in streams:
                stream.sendall(UPGRADE)
            answers = [received_until(stream, b"\r\n\r\n") for stream in streams]
        assert any(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        server.until_idle()
    assert "allowed_origins" in caplog.text


def test_user_that_takes_too_long_leaves_no_task() -> None:
    """A function that never finds the user is cancelled with its connection, also if the client leaves."""
    cancelled = []

    async def never(_: HTTPConnection) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return ""

    app = make_app(auth_seconds=0.05)
    with UvicornThread(web_application(app, never)).running() as server:
        with server.client() as client:
            say(client, "hello", session="s1")
            assert ended(client)[0] == 4006
        server.until_idle()
        with server.client():
            pass
        server.until_idle()
    assert cancelled == [True, True]


def test_middleware_sees_the_request() -> None:
    """Middleware of the web application is around a request that is handed over, and can change its scope."""
    api = web_application(make_app(max_connections_per_address=1), by_cookie)

    def elsewhere(application: ASGIApp) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                number = dict(scope["headers"])[b"x-number"].decode()
                scope = {**scope, "client": (f"10.0.0.{number}", 1)}
            await application(scope, receive, send)

        return call

    api.add_middleware(elsewhere)
    with UvicornThread(api).running() as server:
        headers = {"cookie": "sid=alice"}
        with server.greeted(additional_headers={**headers, "x-number": "1"}):
            with server.greeted(additional_headers={**headers, "x-number": "2"}):
                assert server.counted() == (["HandedWire", "HandedWire"], 0)
            with pytest.raises(InvalidStatus), server.client(additional_headers={**headers, "x-number": "1"}):
                pass


def test_bytes_that_come_before_the_answer_are_not_lost(serve: Callable[..., UvicornThread]) -> None:
    """While the web application decides about a request, nothing is read: a hello that comes meanwhile is heard."""
    api = web_application(make_app())
    arrived, released = threading.Event(), threading.Event()

    def slow(application: ASGIApp) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                arrived.set()
                await anyio.to_thread.run_sync(released.wait)
            await application(scope, receive, send)

        return call

    api.add_middleware(slow)
    with serve(api).running() as server, server.stream() as stream:
        stream.sendall(UPGRADE)
        assert arrived.wait(PATIENCE)
        stream.sendall(told("hello", session="s1"))
        server.call(lambda: None)  # the loop has had a turn to read
        released.set()
        assert b"welcome" in received_until(stream, b'"welcome"')


def test_tls_of_the_web_server_is_not_handed_over(tmp_path: Path) -> None:
    """With TLS at uvicorn, the endpoint is served through ASGI."""
    authority = trustme.CA()
    pem = tmp_path / "cert.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    with UvicornThread(web_application(make_app()), ssl_certfile=str(pem)).running() as server:
        page, url = f"https://127.0.0.1:{server.port}", f"wss://127.0.0.1:{server.port}/ws"
        with tls_client(url, trusting(authority), page) as client:
            client.send('{"type":"hello","session":"s1"}')
            assert '"welcome"' in client.receive()
            assert server.counted() == (["Protocol"], 1)
        server.until_idle()
