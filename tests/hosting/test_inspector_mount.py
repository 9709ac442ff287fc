"""The inspector at a path of a web application, on asyncio and on trio: its operators, its actions, its paths."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from _inspector import TOKEN
from fastapi import APIRouter, FastAPI
from hosting.mounted import ByCookie, by_cookie, by_cookie_async, client_of, lazily
from protocol.agents import make_app
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from actors import ConfigError
from transport import Greenroom
from transport.hosting import lifespan, mount_inspector

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["client_of"]

pytestmark = pytest.mark.filterwarnings("ignore:The anyio pytest plugin")

POST = {"x-requested-with": "greenroom"}


def web_application(operator: Any = by_cookie, **settings: Any) -> tuple[FastAPI, Greenroom]:
    """Return a FastAPI application with a mounted inspector, and the app."""
    app = Greenroom(log="memory:", settings=settings)

    @app.agent
    async def waits(run: Any) -> Any:
        return await run.ask_user("well?")

    api = FastAPI(lifespan=lifespan(app))
    mount_inspector(api, "/inspect", app, operator=operator)
    return api, app


@pytest.mark.parametrize("operator", [by_cookie, by_cookie_async, ByCookie(), lazily])
def test_operator_is_found_by_the_web_application(
    operator: Any, client_of: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    """The function of the web application decides on both libraries, and its name is in the audit log."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    api, _ = web_application(operator)
    with client_of(api) as client:
        assert [client.get(f"/inspect/api/{path}").status_code for path in ("overview", "me")] == [401, 401]
        client.cookies.set("sid", "banned")
        assert client.get("/inspect/api/me").status_code == 403
        client.cookies.set("sid", "carol")
        assert client.get("/inspect/api/me").json()["who"] == "carol"
        assert client.get("/inspect/api/overview").json()["sessions"] == 0
        closed = client.post("/inspect/api/connections/close", json={"connection": "c-1"}, headers=POST)
        assert closed.json()["closed"] is False
    assert "operator carol from" in caplog.text


def test_run_is_cancelled_through_the_mount(client_of: Callable[..., TestClient]) -> None:
    """A run is listed and cancelled on both libraries: the request's own library need not be that of the runs."""
    app = make_app()

    async def start(request: Any) -> Any:
        from starlette.responses import PlainTextResponse  # noqa: PLC0415 - for this route alone

        if app.server.host.asyncio is None:
            handle = await app.sessions.get("alice", "s1")
            return PlainTextResponse(await handle.start("wait"))
        return PlainTextResponse(await app.sessions_aio.get("alice", "s1").start("wait"))

    api = Starlette(lifespan=lifespan(app))
    api.add_route("/start", start)
    mount_inspector(api, "/inspect", app, operator=lambda _: "carol")
    with client_of(api) as client:
        run = client.get("/start").text
        (row,) = client.get("/inspect/api/runs").json()["runs"]
        assert (row["run"], row["state"]) == (run, "running")
        target = {"user": "alice", "session": "s1", "run": run}
        assert client.post("/inspect/api/runs/cancel", json=target, headers=POST).json()["cancelled"] is True
        assert client.post("/inspect/api/runs/cancel", json=target, headers=POST).status_code == 200


def test_without_operators_the_token_counts() -> None:
    """Without a function, ``operator_token`` counts; without a token, a client that is not this machine gets 403."""
    api, _ = web_application(None)
    with TestClient(api) as client:
        answer = client.get("/inspect/api/overview")
        assert (answer.status_code, "operator_token" in answer.text) == (403, True)
    api, _ = web_application(None, operator_token=TOKEN)
    with TestClient(api) as client:
        assert client.get("/inspect/api/me").status_code == 401
        assert client.get("/inspect/api/me", headers={"authorization": f"Bearer {TOKEN}"}).json()["who"] == "token"
        assert client.post("/inspect/api/login", json={"token": TOKEN}, headers=POST).status_code == 200
        assert client.get("/inspect/api/me").json()["can_log_out"] is True
        assert client.post("/inspect/api/logout", json={}, headers=POST).status_code == 200
        assert client.get("/inspect/api/me").status_code == 401


def test_dependency_overrides_count() -> None:
    """FastAPI's ``dependency_overrides`` replace the function, as in tests of the application's other routes."""
    api, _ = web_application()
    api.dependency_overrides[by_cookie] = lambda _: "tester"
    with TestClient(api) as client:
        assert client.get("/inspect/api/me").json()["who"] == "tester"


@pytest.mark.parametrize("found", [None, "", 7])
def test_operator_without_a_name_is_an_error(found: Any) -> None:
    """A function that returns no name, such as None for nobody, lets nobody in."""
    api, _ = web_application(lambda _: found)
    with TestClient(api) as client:
        assert client.get("/inspect/api/me").status_code == 500


def test_below_other_paths() -> None:
    """The inspector works below a mount, a prefix and a root_path: its only redirect is relative."""
    app = make_app()
    inner, router = FastAPI(), APIRouter(prefix="/ops")
    mount_inspector(router, "/inspect", app, operator=lambda _: "carol")
    inner.include_router(router)
    outer = Starlette(routes=[Mount("/outer", inner)], lifespan=lifespan(app))
    with TestClient(outer, root_path="/proxy") as client:
        assert client.get("/proxy/outer/ops/inspect/api/me").json()["who"] == "carol"
        moved = client.get("/proxy/outer/ops/inspect", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (307, "inspect/")


def test_below_a_proxy_that_cuts_the_path() -> None:
    """The inspector works behind a proxy that cuts off the beginning of the path, which is then the root_path."""
    app = make_app()
    api = FastAPI(lifespan=lifespan(app))
    mount_inspector(api, "/inspect", app, operator=lambda _: "carol")
    with TestClient(api, root_path="/proxy") as client:
        assert client.get("/inspect/api/me").json()["who"] == "carol"
        assert client.get("/inspect", follow_redirects=False).headers["location"] == "inspect/"


def test_app_that_does_not_run() -> None:
    """Without the lifespan the app does not run: the answer is 503, and says so."""
    api, _ = web_application(lambda _: "carol")
    answer = TestClient(api).get("/inspect/api/overview")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "starting")


@pytest.mark.parametrize("path", ["inspect", "/{name}", "/", 7])
def test_wrong_path(path: Any) -> None:
    """The path must begin with a slash, have no parameters, and be the inspector's own."""
    with pytest.raises(ConfigError, match="path"):
        mount_inspector(FastAPI(), path, make_app())


def test_wrong_arguments() -> None:
    """The app must be a Greenroom, and the operator a function of the request."""
    wrong: Any = "app"
    nobody: Any = lambda: "carol"  # noqa: E731 - a wrong argument
    with pytest.raises(ConfigError, match="shows a Greenroom"):
        mount_inspector(FastAPI(), "/inspect", wrong)
    with pytest.raises(ConfigError, match="operator must take one argument"):
        mount_inspector(FastAPI(), "/inspect", make_app(), operator=nobody)
