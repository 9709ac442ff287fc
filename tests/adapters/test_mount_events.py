"""Sessions over plain HTTP in a web application, on asyncio and on trio: its users, its pages, its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from hosting.mounted import ByCookie, by_cookie, by_cookie_async, client_of, lazily
from protocol.agents import make_app
from starlette.applications import Starlette
from starlette.routing import Route

from actors import ConfigError
from transport import Greenroom, Settings
from transport.hosting import lifespan, mount, mount_events
from transport.http.serving import session_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

__all__ = ["client_of"]

pytestmark = pytest.mark.filterwarnings("ignore:The anyio pytest plugin")

JSON = {"accept": "application/json"}
PAGE = "https://pages.example"


def web_application(user: Any = by_cookie, **settings: Any) -> FastAPI:
    """Return a FastAPI application with the routes below /ws."""
    app = make_app(**settings)
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/ws", app, user=user)
    mount_events(api, "/ws", app, user=user)
    return api


@pytest.mark.parametrize("user", [by_cookie, by_cookie_async, ByCookie(), lazily])
def test_user_is_found_by_the_web_application(user: Any, client_of: Callable[..., TestClient]) -> None:
    """The function of the web application finds the user of each request, and its refusals have a status."""
    with client_of(web_application(user)) as client:
        for name, status, code in (
            (None, 401, 4501),
            ("unknown", 401, 4501),
            ("banned", 403, 4502),
            ("stranger", 403, 4502),
            ("unavailable", 503, 4005),
            ("teapot", 500, 4006),
            ("broken", 500, 4006),
        ):
            client.cookies.clear()
            if name is not None:
                client.cookies.set("sid", name)
            frame = {"type": "command", "id": "c-1", "name": "message.send", "args": {"text": "x"}}
            for answer in (
                client.get("/ws/events?session=s1", headers=JSON),
                client.post("/ws/commands?session=s1", json=frame),
            ):
                assert (answer.status_code, answer.json()["code"]) == (status, code)
                assert "secret" not in answer.text
        client.cookies.set("sid", "carol")
        assert client.post("/ws/commands?session=s1", json=frame).json()["result"] == {"seq": 1}
        assert len(client.get("/ws/events?session=s1", headers=JSON).json()["frames"]) == 2
        client.cookies.set("sid", "dave")
        assert len(client.get("/ws/events?session=s1", headers=JSON).json()["frames"]) == 1


def test_dependency_override(client_of: Callable[..., TestClient]) -> None:
    """A test can replace the user function, as FastAPI's other dependencies."""
    api = web_application()
    api.dependency_overrides[by_cookie] = lambda _: "erin"
    with client_of(api) as client:
        assert client.get("/ws/events?session=s1", headers=JSON).status_code == 200


def test_slow_user_function(client_of: Callable[..., TestClient]) -> None:
    """A user function that takes longer than ``auth_seconds`` is given up with an error."""

    async def never(_: Any) -> str:
        await anyio.sleep_forever()
        return "nobody"

    with client_of(web_application(never, auth_seconds=0.05)) as client:
        answer = client.get("/ws/events?session=s1", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (500, 4006)


def test_page_of_an_allowed_origin(client_of: Callable[..., TestClient]) -> None:
    """A page in ``allowed_origins`` may ask, and its browser lets it read the answer; for others there is no header."""
    allowed = web_application(allowed_origins=[PAGE])
    for api, origin, status in ((allowed, PAGE, 200), (allowed, "https://evil.example", 403)):
        with client_of(api) as client:
            client.cookies.set("sid", "carol")
            headers = {"origin": origin, "access-control-request-method": "POST"}
            preflight = client.options("/ws/commands?session=s1", headers=headers)
            answer = client.get("/ws/events?session=s1", headers={**JSON, "origin": origin})
            assert (preflight.status_code, answer.status_code) == (204 if status == 200 else 403, status)
            for each in (preflight, answer) if status == 200 else ():
                assert each.headers["access-control-allow-origin"] == PAGE
                assert each.headers["access-control-allow-credentials"] == "true"
            assert "authorization" in preflight.headers.get("access-control-allow-headers", "") or status == 403


def test_origin_with_a_name_for_this_machine(client_of: Callable[..., TestClient]) -> None:
    """Without any authentication, a page on another name for this machine is foreign (DNS rebinding)."""
    with client_of(web_application(None)) as client:
        rebound = {**JSON, "host": "evil.example", "origin": "http://evil.example"}
        assert client.get("/ws/events?session=s1", headers=rebound).status_code == 403
        own = {**JSON, "host": "localhost", "origin": "http://localhost"}
        assert client.get("/ws/events?session=s1", headers=own).status_code == 200


def test_below_routers_and_prefixes(client_of: Callable[..., TestClient]) -> None:
    """The routes can be those of a router with a prefix, or of Starlette, and a path has them once."""
    app = make_app()
    api, router = FastAPI(lifespan=lifespan(app)), APIRouter(prefix="/v1")
    mount_events(router, "/ws/", app)
    api.include_router(router)
    with client_of(api) as client:
        assert client.get("/v1/ws/events?session=s1", headers=JSON).status_code == 200
        assert client.post("/v1/ws/events?session=s1").status_code == 405
    plain = Starlette()
    mount_events(plain, "/", app)
    with pytest.raises(ConfigError, match="has a route /events already"):
        mount_events(plain, "/", app)


@pytest.mark.parametrize(("path", "app"), [("ws", None), ("/{x}", None), ("/ws", "no app")])
def test_wrong_arguments(path: str, app: Any) -> None:
    """Arguments that cannot be used are refused where they are given."""
    with pytest.raises(ConfigError):
        mount_events(FastAPI(), path, app or make_app())


def test_without_a_lifespan() -> None:
    """Without the lifespan, a request fails with an error that names it."""
    from starlette.testclient import TestClient  # noqa: PLC0415 - of this test alone

    api = FastAPI()
    mount_events(api, "/ws", make_app())
    with pytest.raises(ConfigError, match="lifespan"):
        TestClient(api).get("/ws/events?session=s1")


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        (None, {"/events", "/commands"}),
        ("wss://app.example.com", {"/events", "/commands"}),
        ("wss://app.example.com/ws", {"/events", "/commands", "/ws/events", "/ws/commands"}),
    ],
)
async def test_routes_at_the_public_path(public_url: str | None, expected: set[str]) -> None:
    """At the port of the pages, the routes are also below the path of ``public_url``, where clients look for them."""
    app = Greenroom(log="memory:", settings=Settings() if public_url is None else Settings(public_url=public_url))
    async with app.running(port=0) as server:
        paths = {route.path for route in session_routes(app, server) if isinstance(route, Route)}
    assert {path for path in paths if path.endswith(("/events", "/commands"))} == expected
