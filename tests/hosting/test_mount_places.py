"""The endpoint in a web application: its limits, and the places where it is mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import APIRouter, Depends, FastAPI
from hosting.asgi_client import called, welcomed
from hosting.mounted import by_cookie, greet, web_application
from protocol.agents import make_app
from starlette.applications import Starlette
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations
from starlette.routing import Mount, Router
from starlette.testclient import TestClient

from actors import ConfigError
from transport.hosting import endpoint, hosted, lifespan, mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from transport import Greenroom

pytestmark = pytest.mark.filterwarnings("ignore:The anyio pytest plugin")


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
        for name in ("fallback", "store", "shared", "react", "vue"):
            assert client.get(f"{path.rstrip('/')}/{name}.js").status_code == 200
        document = client.get(f"{path.rstrip('/')}/asyncapi.json").json()
        assert [(each["host"], each["protocol"]) for each in document["servers"].values()] == [("testserver", "ws")]
        assert document["channels"]["session"]["address"] == path
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
