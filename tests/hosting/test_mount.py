"""The endpoint at a path of a web application: who the user is, which pages may connect, and how it is mounted."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from hosting.asgi_client import PATIENCE, AsgiClient, call, called, welcomed
from protocol.agents import make_app
from starlette.applications import Starlette
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations
from starlette.routing import Mount, Router
from starlette.testclient import TestClient, WebSocketDenialResponse

from actors import ConfigError
from transport import AuthUnavailable, Forbidden, NotAuthenticated, User
from transport.hosting import endpoint, hosted, lifespan, mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from transport import Greenroom

pytestmark = pytest.mark.filterwarnings("ignore:The anyio pytest plugin")


def by_cookie(connection: HTTPConnection) -> str:
    """Return the user that the cookie names, or refuse the request in the way that the cookie names."""
    name = connection.cookies.get("sid")
    refusals: dict[str | None, Exception] = {
        None: HTTPException(401, "log in first"),
        "banned": HTTPException(403, "banned"),
        "unknown": NotAuthenticated("no such user"),
        "stranger": Forbidden("not you"),
        "unavailable": AuthUnavailable("the directory is down"),
        "teapot": HTTPException(418),
        "broken": ZeroDivisionError("a secret of the server"),
    }
    if name in refusals:
        raise refusals[name]
    return str(name)


async def by_cookie_async(connection: HTTPConnection) -> User:
    """Do the same as :func:`by_cookie`, as an async function."""
    await anyio.lowlevel.checkpoint()
    return User(by_cookie(connection))


class ByCookie:
    """Does the same as :func:`by_cookie`, as an object."""

    async def __call__(self, connection: HTTPConnection) -> str:
        """Return the user that the cookie names."""
        return by_cookie(connection)


def lazily(connection: HTTPConnection) -> Any:
    """Return an awaitable of the user, as a partial of an async function does."""
    return by_cookie_async(connection)


def greet(client: TestClient, path: str = "/ws", **options: Any) -> dict[str, Any]:
    """Say hello over a mounted endpoint. Return the first frame."""
    with client.websocket_connect(path, subprotocols=["greenroom.v1"], **options) as socket:
        socket.send_json({"type": "hello", "session": "s1"})
        frame: dict[str, Any] = socket.receive_json()
        return frame


def refused(client: TestClient, path: str = "/ws", **options: Any) -> tuple[int, str]:
    """Ask for a WebSocket that is refused. Return the HTTP status and the text."""
    with pytest.raises(WebSocketDenialResponse) as raised, client.websocket_connect(path, **options):
        pass
    return raised.value.status_code, raised.value.text.strip()


def web_application(user: Any = by_cookie) -> tuple[FastAPI, Greenroom]:
    """Return a FastAPI application with a mounted endpoint, and the app."""
    app = make_app()
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/ws", app, user=user)
    return api, app


@pytest.fixture(params=["asyncio", "trio"])
def client_of(request: pytest.FixtureRequest) -> Callable[[ASGIApp], TestClient]:
    """Return Starlette's test client in either library."""
    return partial(TestClient, backend=request.param)


# The user


@pytest.mark.parametrize("user", [by_cookie, by_cookie_async, ByCookie(), lazily])
def test_user_is_found_by_cookie(user: Any, client_of: Callable[..., TestClient]) -> None:
    """A function that finds the user by a cookie counts for the WebSocket, and as a dependency of other routes."""
    api, _ = web_application(user)

    @api.get("/me")
    async def me(who: Any = Depends(user)) -> str:  # noqa: B008 - as FastAPI's users write it
        return who.id if isinstance(who, User) else str(who)

    with client_of(api) as client:
        client.cookies.set("sid", "alice")
        assert greet(client)["type"] == "welcome"
        if user is not lazily:
            assert client.get("/me").json() == "alice"


@pytest.mark.parametrize(
    ("cookie", "code", "reason"),
    [
        (None, 4501, "log in first"),
        ("banned", 4502, "banned"),
        ("unknown", 4501, "no such user"),
        ("stranger", 4502, "not you"),
        ("unavailable", 4005, "authentication is not possible now: the directory is down"),
        ("teapot", 4006, None),
        ("broken", 4006, None),
    ],
)
def test_refusal_of_user_is_told_after_the_upgrade(cookie: str | None, code: int, reason: str | None) -> None:
    """A refusal is told as a goodbye with its code: a page learns nothing about an upgrade that is refused."""
    api, _ = web_application()
    with TestClient(api) as client:
        if cookie is not None:
            client.cookies.set("sid", cookie)
        frame = greet(client)
    assert (frame["type"], frame["code"]) == ("goodbye", code)
    assert "secret" not in frame["reason"]
    assert reason is None or frame["reason"] == reason


@pytest.mark.parametrize("wrong", [None, 7, "", b"alice"])
def test_wrong_result_of_user_function_is_an_error(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A function that returns neither a User nor an id, such as None, lets nobody in: 4006, and a line in the log."""
    api, _ = web_application(lambda _: wrong)
    with TestClient(api) as client:
        assert greet(client)["code"] == 4006
    assert "user must return a User or a str" in caplog.text or "of a user must be a string" in caplog.text


def test_user_is_found_before_the_hello() -> None:
    """The function runs as soon as the request was accepted. A client that says nothing waits for nothing later."""
    app = make_app()

    async def story() -> None:
        asked = anyio.Event()

        async def user(connection: HTTPConnection) -> str:
            assert connection.url.path == "/ws"
            asked.set()
            return "alice"

        async with hosted(app), called(endpoint(app, user=user)):
            with anyio.fail_after(PATIENCE):
                await asked.wait()

    anyio.run(story)


def test_user_runs_in_the_library_of_the_web_server(client_of: Callable[..., TestClient]) -> None:
    """An async function can await anything of the web server's library. Another one runs in a thread."""
    threads: list[bool] = []

    async def in_task(_: HTTPConnection) -> str:
        await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0)
        return "alice"

    def in_thread(_: HTTPConnection) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        anyio.from_thread.run(anyio.sleep, 0)
        return "alice"

    for user in (in_task, in_thread):
        with client_of(web_application(user)[0]) as client:
            assert greet(client)["type"] == "welcome"
    assert threads == [False]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_user_that_takes_too_long_is_an_error(backend: str) -> None:
    """A function that has not ended ``auth_seconds`` after the hello is cancelled, and the client gets 4006."""
    app, cancelled = make_app(auth_seconds=0.01), []

    async def user(_: HTTPConnection) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return "alice"

    async def story() -> None:
        async with hosted(app):
            async with called(endpoint(app, user=user)) as client:
                client.hello()
                assert (await client.frame("goodbye"))["code"] == 4006
            assert cancelled == [True]

    anyio.run(story, backend=backend)


def test_fresh_token_does_not_replace_the_user_of_a_request() -> None:
    """A connection whose user was found from its request refuses the frame ``token``."""
    app = make_app()

    async def story() -> None:
        async with hosted(app), welcomed(endpoint(app, user=lambda _: "alice")) as client:
            client.say("token", token="alice")
            assert (await client.frame("goodbye"))["code"] == 4501

    anyio.run(story)


def test_own_auth_counts_without_a_function() -> None:
    """Without ``user``, the app's own auth function gets the client's token, and the headers of the request."""
    seen: list[Any] = []

    async def auth(credentials: Any) -> User:
        seen.append((credentials.token, credentials.headers["cookie"], credentials.address))
        return User("alice")

    app = make_app(auth=auth)

    async def story() -> None:
        headers = [(b"host", b"localhost"), (b"Cookie", b"a=b")]
        async with hosted(app), called(endpoint(app), headers=headers, client=("10.1.2.3", 1)) as client:
            client.hello(token="t")
            await client.frame("welcome")

    anyio.run(story)
    assert seen == [("t", "a=b", "10.1.2.3")]


def test_overridden_dependency_counts() -> None:
    """FastAPI's ``dependency_overrides``, by which tests replace the user, count for the WebSocket, too."""
    api, _ = web_application()
    api.dependency_overrides[by_cookie] = lambda _: "bob"
    with TestClient(api) as client:
        assert greet(client)["type"] == "welcome"


def test_strangers_need_an_address_of_this_machine() -> None:
    """Without any authentication, a server that other machines can reach serves nobody, and says what to do."""
    app = make_app()

    async def story() -> None:
        async with hosted(app):
            async with welcomed(endpoint(app)):
                pass
            async with welcomed(endpoint(app), server=("/run/web.sock", None)):
                pass
            with pytest.raises(ConfigError, match=r"mount\(…, user=…\)"):
                await call(endpoint(app), AsgiClient(), server=("10.0.0.1", 80))

    anyio.run(story)


# Pages


@pytest.mark.parametrize(
    ("origin", "changes", "allowed"),
    [
        pytest.param("http://shop.example", {}, True, id="same-host"),
        pytest.param("http://shop.example:80", {}, True, id="default-port"),
        pytest.param("HTTP://Shop.Example", {}, True, id="upper-case"),
        pytest.param("https://shop.example", {}, False, id="other-scheme"),
        pytest.param("https://shop.example", {"scheme": "wss"}, True, id="tls-at-the-server-or-its-proxy"),
        pytest.param("http://shop.example:8000", {}, False, id="other-port"),
        pytest.param("http://evil.example", {}, False, id="other-host"),
        pytest.param("null", {}, False, id="null"),
        pytest.param("http://", {"headers": [(b"host", b"")]}, False, id="no-host"),
        pytest.param("https://a.example", {}, True, id="listed"),
        pytest.param(None, {}, True, id="no-browser"),
    ],
)
def test_pages_of_the_same_host_may_connect(origin: str | None, changes: dict[str, Any], *, allowed: bool) -> None:
    """A page may connect if it is from the scheme, host and port of the request, or from ``allowed_origins``.

    For a page that may not, the web application's function is not called.
    """
    app, asked = make_app(allowed_origins=["https://a.example"]), []

    def user(_: HTTPConnection) -> str:
        asked.append(True)
        return "alice"

    async def story() -> None:
        headers = changes.get("headers", [(b"host", b"shop.example")])
        headers = headers if origin is None else [*headers, (b"origin", origin.encode())]
        async with hosted(app), called(endpoint(app, user=user), **{**changes, "headers": headers}) as client:
            await client.until(lambda: client.sent)
            first = client.sent[0]
            assert first["type"] == ("websocket.accept" if allowed else "websocket.http.response.start")
            assert first.get("status") == (None if allowed else 403)
            client.hello()
            if allowed:
                await client.frame("welcome")
        assert bool(asked) is allowed

    anyio.run(story)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("localhost:8000", True), ("127.0.0.1:8000", True), ("[::1]:8000", True), ("rebound.example:8000", False)],
)
def test_page_with_a_name_for_this_machine_is_foreign(host: str, *, allowed: bool) -> None:
    """Without any authentication, a page is from this server only if its host is this machine by its own names.

    A foreign page's own name can be made to mean this machine (DNS rebinding). It would read every session.
    """
    app = make_app()

    async def story() -> None:
        headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode())]
        async with hosted(app), called(endpoint(app), headers=headers) as client:
            await client.until(lambda: client.sent)
            assert (client.sent[0]["type"] == "websocket.accept") is allowed

    anyio.run(story)


def test_forwarded_headers_are_the_web_servers() -> None:
    """The client's address is the one that the web server found. The header of a proxy is not read a second time."""
    app = make_app(forwarded_allow=["10.0.0.0/8"], max_connections_per_address=1)

    async def story() -> None:
        first, other = ([(b"host", b"localhost"), (b"x-forwarded-for", b"192.0.2.%d" % number)] for number in (1, 2))
        application = endpoint(app, user=lambda _: "alice")
        async with (
            hosted(app),
            welcomed(application, client=("10.0.0.7", 1), headers=first),
            called(application, client=("10.0.0.7", 2), headers=other) as second,
        ):
            await second.until(lambda: second.sent)
            assert second.sent[0]["status"] == 503

    anyio.run(story)


# Limits


def test_mounted_connections_count_as_others(caplog: pytest.LogCaptureFixture) -> None:
    """Mounted connections are in the statistics. Beyond a limit they get 503, and the log names the limit."""
    app = make_app(max_connections_per_address=2)

    async def story() -> None:
        application = endpoint(app)
        async with hosted(app) as server, welcomed(application), welcomed(application):
            async with called(application) as third:
                await third.until(lambda: third.sent)
                assert third.sent[0]["status"] == 503
            async with welcomed(application, client=("127.0.0.2", 1)):
                statistics = server.endpoint.statistics()
                assert (statistics.connections, statistics.users, statistics.refused) == (3, 1, 1)

    anyio.run(story)
    assert "max_connections_per_address (2)" in caplog.text


def test_users_have_their_limit() -> None:
    """A user at ``max_connections_per_user`` gets 4504, if all connections of the user answer."""
    app = make_app(max_connections_per_user=1)

    async def story() -> None:
        application = endpoint(app, user=lambda _: "alice")
        async with hosted(app), welcomed(application) as first, called(application) as second:
            second.hello()
            await first.frame("ping")
            first.say("pong")
            assert (await second.frame("goodbye"))["code"] == 4504

    anyio.run(story)


def test_new_connections_have_their_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Connections of an address that come too fast get 503 at once, and are counted."""
    app = make_app(handshakes_per_address_per_second=1)

    async def story() -> None:
        async with hosted(app) as server, welcomed(endpoint(app)):
            async with called(endpoint(app)) as second:
                await second.until(lambda: second.sent)
                assert second.sent[0]["status"] == 503
            assert server.endpoint.statistics().too_fast == 1

    anyio.run(story)
    assert "handshakes_per_address_per_second (1)" in caplog.text


def test_server_without_denials_closes_a_refused_request() -> None:
    """A web server that can send no HTTP status for a refusal is asked to close the request (403)."""
    app = make_app()

    async def story() -> None:
        headers = [(b"host", b"localhost"), (b"origin", b"http://evil.example")]
        async with hosted(app), called(endpoint(app), headers=headers, extensions={}) as client:
            await client.until(lambda: client.sent)
            assert client.sent == [{"type": "websocket.close"}]

    anyio.run(story)


# Places


def mounted_in_router(app: Greenroom) -> tuple[ASGIApp, str]:
    router = APIRouter(prefix="/inner")
    mount(router, "/ws", app, user=lambda _: "alice")
    api = FastAPI(lifespan=lifespan(app))
    api.include_router(router, prefix="/outer")
    return api, "/outer/inner/ws"


def mounted_in_sub_application(app: Greenroom) -> tuple[ASGIApp, str]:
    inner = FastAPI()
    mount(inner, "/ws", app, user=lambda _: "alice")
    api = FastAPI(lifespan=lifespan(app))
    api.mount("/sub", inner)
    return api, "/sub/ws"


def mounted_in_starlette(app: Greenroom) -> tuple[ASGIApp, str]:
    api = Starlette(lifespan=lifespan(app))
    mount(api, "/ws", app, user=lambda _: "alice")
    return api, "/ws"


def mounted_in_starlette_router(app: Greenroom) -> tuple[ASGIApp, str]:
    router = Router()
    mount(router, "/ws", app, user=lambda _: "alice")
    return Starlette(lifespan=lifespan(app), routes=[Mount("/v1", router)]), "/v1/ws"


def mounted_at_root(app: Greenroom) -> tuple[ASGIApp, str]:
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/", app, user=lambda _: "alice")
    return api, "/"


@pytest.mark.parametrize(
    "place",
    [mounted_in_router, mounted_in_sub_application, mounted_in_starlette, mounted_in_starlette_router, mounted_at_root],
)
def test_endpoint_and_client_files_at_any_place(place: Callable[[Greenroom], tuple[ASGIApp, str]]) -> None:
    """The endpoint and the client for browsers are where they were mounted, below routers and sub-applications."""
    api, path = place(make_app())
    with TestClient(api) as client:
        assert greet(client, path)["type"] == "welcome"
        script = client.get(f"{path.rstrip('/')}/greenroom.js")
        assert (script.status_code, script.headers["content-type"].partition(";")[0]) == (200, "text/javascript")
        assert "export" in script.text
        assert client.get(f"{path.rstrip('/')}/store.js").status_code == 200
        assert client.get(f"{path.rstrip('/')}/package.json").status_code == 404


def test_client_files_are_not_in_the_schema() -> None:
    """The routes of the mount do not appear in FastAPI's OpenAPI schema."""
    assert web_application()[0].openapi()["paths"] == {}


def test_plain_request_is_told_about_the_websocket() -> None:
    """A plain HTTP request to a bare endpoint gets 426."""
    app = make_app()
    with TestClient(Starlette(lifespan=lifespan(app), routes=[Mount("/ws", endpoint(app))])) as client:
        assert client.get("/ws/").status_code == 426
        assert greet(client, "/ws/")["type"] == "welcome"


def test_connection_without_the_lifespan_is_an_error() -> None:
    """Without the lifespan the app does not run: the request for a WebSocket raises a ConfigError that says so."""
    app = make_app()
    api = FastAPI()
    mount(api, "/ws", app)
    with pytest.raises(ConfigError, match="lifespan"), TestClient(api).websocket_connect("/ws"):
        pass


def generator(_: HTTPConnection) -> Iterator[str]:
    """Yield the user, as FastAPI's dependencies with a clean-up do."""
    yield "alice"


@pytest.mark.parametrize(
    ("arguments", "user", "text"),
    [
        pytest.param(("app", "ws"), None, "path must begin with /", id="path"),
        pytest.param(("app", "/ws/{name}"), None, "path must begin with /", id="parameter"),
        pytest.param(("app", "/taken"), None, "has a route /taken already", id="taken"),
        pytest.param(("app", "/ws"), Depends(by_cookie), "without Depends", id="depends"),
        pytest.param(("app", "/ws"), "alice", "user must be the function itself", id="text"),
        pytest.param(("app", "/ws"), lambda: "alice", "user must take one argument", id="no-argument"),
        pytest.param(("app", "/ws"), lambda a, b: "alice", "user must take one argument", id="two-arguments"),
        pytest.param(("app", "/ws"), generator, "yields", id="generator"),
        pytest.param((None, "/ws"), None, "serves a Greenroom", id="no-app"),
    ],
)
def test_wrong_mount_is_refused(arguments: tuple[Any, str], user: Any, text: str) -> None:
    """A wrong argument of ``mount`` is a ConfigError that names it."""
    api = FastAPI()
    api.add_api_websocket_route("/taken", lambda: None)
    app = make_app() if arguments[0] == "app" else arguments[0]
    with pytest.raises(ConfigError, match=text):
        mount(api, arguments[1], app, user=user)


def test_mount_needs_an_application() -> None:
    """Anything else than an application or a router is refused."""

    async def bare(scope: Scope, receive: Receive, send: Send) -> None: ...

    with pytest.raises(ConfigError, match="mount needs a FastAPI or Starlette application"):
        mount(bare, "/ws", make_app())
