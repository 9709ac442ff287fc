"""Requests for /metrics: to the port of the pages and to a web application; their access, and their failures."""

from __future__ import annotations

import http.client
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from fastapi import FastAPI, HTTPException
from metrics.scraping import FORMS, PLAIN, app_with_agents, parsed
from protocol.wire import greeted
from starlette.requests import HTTPConnection, Request
from starlette.testclient import TestClient

from actors import ConfigError
from transport import Forbidden, Greenroom, NotAuthenticated
from transport._operators import WRONG_TOKENS_BURST, Caller, Operators, is_own_host
from transport.hosting import lifespan, mount_metrics
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.metrics.route import allowed_by, metrics_route
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server

TOKEN = "a-token-of-operators"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ELSEWHERE = {"Host": "chat.example"}


@asynccontextmanager
async def served(app: Greenroom) -> AsyncIterator[tuple[Server, int]]:
    """Run an app with its pages, as ``greenroom serve`` does. Yield the server and the port of the pages."""
    listeners = listen("127.0.0.1", 0)
    number = listeners[0].getsockname()[1]
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        handler = metrics_route(lambda: server, allowed_by(app.settings))
        site = pages(ws_url=server.url, agent="", health=server.health, metrics=handler)
        await nursery.start(partial(serve_http, PageServer(site, app.settings), listeners))
        yield server, number
        nursery.cancel_scope.cancel()


async def ask(port: int, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Return the status, the header fields and the body of the answer to a request for the metrics."""
    return await trio.to_thread.run_sync(_ask, port, method, headers)


def _ask(port: int, method: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, "/metrics", headers=headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("form", FORMS)
async def test_scrape_over_http(form: str) -> None:
    """A program on this machine gets the metrics of a server on a loopback address, in the form that it asks for."""
    async with served(app_with_agents()) as (_, port):
        status, fields, text = await ask(port, Accept=form)
        assert (status, fields["cache-control"]) == (200, "no-store")
        assert fields["content-type"].startswith(form.partition(";")[0])
        assert parsed(text, form).value("sessions") == 0
        assert (await ask(port, "HEAD", Accept=form))[2] == ""
        assert (await ask(port, "POST"))[0] == 405


async def test_scrape_while_the_server_drains() -> None:
    """A server that drains is scraped until its last run has ended."""
    app, end = app_with_agents(), trio.Event()

    @app.agent
    async def waits(_: Any) -> None:
        await end.wait()

    async with served(app) as (server, port), trio.open_nursery() as nursery:
        async with greeted(server) as one:
            await one.start("c1", "waits")
        nursery.start_soon(server.drain, 100)
        await trio.testing.wait_all_tasks_blocked()
        status, _, text = await ask(port)
        found = parsed(text, PLAIN)
        assert (status, found.value("runs", state="running"), found.value("connections")) == (200, 1, 0)
        end.set()


REFUSED = [
    ({}, ELSEWHERE, 403, "operator_token"),
    ({}, {"X-Forwarded-For": "9.9.9.9"}, 403, "operator_token"),
    ({}, {"Forwarded": "for=9.9.9.9"}, 403, "operator_token"),
    ({"forwarded_allow": ("10.0.0.1",)}, {}, 403, "operator_token"),
    ({"operator_token": TOKEN}, {}, 401, "Bearer"),
    ({"operator_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, 401, "Bearer"),
    ({"operator_token": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, 401, "Bearer"),
    ({"operator_token": TOKEN}, {"Authorization": "Bearer "}, 401, "Bearer"),
]
ANSWERED = [
    ({"operator_token": TOKEN}, {**BEARER, **ELSEWHERE, "X-Forwarded-For": "9.9.9.9"}),
    ({"operator_token": TOKEN}, {"Authorization": f"bearer  {TOKEN}"}),
    ({"metrics_open": True}, ELSEWHERE),
    ({"metrics_open": True, "operator_token": TOKEN}, {"X-Forwarded-For": "9.9.9.9"}),
    ({}, {"Host": "localhost:8766"}),
    ({}, {"Host": "[::1]:8766"}),
]


@pytest.mark.parametrize(("settings", "headers", "status", "word"), REFUSED)
async def test_request_is_refused(settings: dict[str, Any], headers: dict[str, str], status: int, word: str) -> None:
    """A request without the token, or from elsewhere, is refused with a text that says what to do."""
    async with served(app_with_agents(**settings)) as (_, port):
        got, fields, text = await ask(port, **headers)
    assert (got, word in text, "greenroom_" in text) == (status, True, False)
    assert ("www-authenticate" in fields) == (status == 401)


@pytest.mark.parametrize(("settings", "headers"), ANSWERED)
async def test_request_is_answered(settings: dict[str, Any], headers: dict[str, str]) -> None:
    """A request with the token is answered from anywhere, and each request if the metrics are open."""
    async with served(app_with_agents(**settings)) as (_, port):
        assert (await ask(port, **headers))[0] == 200


@pytest.mark.parametrize(
    ("client", "server", "who"),
    [
        ("127.0.0.1", "127.0.0.1", "loopback"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "loopback"),
        ("::1", "::1", "loopback"),
        ("10.0.0.7", "127.0.0.1", ""),
        ("127.0.0.1", "10.0.0.7", ""),
        ("", "", ""),
    ],
)
def test_addresses(client: str, server: str, who: str) -> None:
    """Both addresses must be of the loopback interface."""
    assert Operators(None).check(Caller(client, server, {"host": "localhost"})).who == who


@pytest.mark.parametrize("given", ["", "ünïcode", TOKEN + "x", TOKEN[:-1], "\ud800"])
def test_wrong_tokens(given: str) -> None:
    """Any text but the token is refused, also one that is not ASCII."""
    operators = Operators(TOKEN)
    assert operators.check_token(given, "10.0.0.7").status == 401
    assert operators.check_token(TOKEN, "10.0.0.7").who == "token"


async def test_guessing_is_slowed_down() -> None:
    """After too many wrong tokens of an address, its next one is not looked at, even if it is right."""
    async with served(app_with_agents(operator_token=TOKEN)) as (_, port):
        for _ in range(WRONG_TOKENS_BURST):
            assert (await ask(port, Authorization="Bearer guess"))[0] == 401
        status, fields, _ = await ask(port, Authorization=f"Bearer {TOKEN}")
    assert (status, fields["retry-after"]) == (429, "1")


@pytest.mark.parametrize("host", ["", "chat.example", "chat.example:8766", "127.0.0.1.example", "[2001:db8::1]:80"])
def test_foreign_hosts(host: str) -> None:
    """A foreign name that was made to mean this machine is no name of it."""
    assert not is_own_host(host)


async def test_server_that_others_reach_needs_a_token() -> None:
    """If the server listens on other addresses, too, programs on the same machine need the token as well."""

    async def auth(_: object) -> str:
        raise NotAuthenticated("no")

    app = Greenroom("memory:", auth=auth, settings={"host": "0.0.0.0"})  # type: ignore[arg-type] # noqa: S104 - it is not called, and nothing listens
    request = Request(
        {"type": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "headers": [(b"host", b"localhost")]}
    )
    assert (await allowed_by(app.settings)(request)).status == 403


@pytest.mark.usefixtures("without_the_library")
async def test_missing_extra_is_named() -> None:
    """Without the extra, an operator is told which one is missing. A stranger is told nothing of it."""
    async with served(app_with_agents(operator_token=TOKEN)) as (_, port):
        assert (await ask(port))[0] == 401
        status, _, text = await ask(port, **BEARER)
    assert (status, "[metrics]" in text, "extra metrics" in text) == (501, True, True)


@pytest.fixture
def without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let prometheus-client seem not to be installed."""
    monkeypatch.delitem(sys.modules, "transport.metrics.collector", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)


def test_library_is_not_loaded_before_a_scrape() -> None:
    """A server that nobody scrapes never imports prometheus-client."""
    program = "import sys, transport.http.serving, transport.hosting; print('prometheus_client' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"


# In a web application


def mounted(app: Greenroom, operator: Any = None) -> FastAPI:
    """Return a FastAPI application with the metrics of an app."""
    api = FastAPI(lifespan=lifespan(app))
    mount_metrics(api, "/internal/metrics", app, operator=operator)
    return api


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("form", FORMS)
def test_mount(backend: Any, form: str) -> None:
    """The metrics are served at a path of a web application. They need the token, as everywhere."""
    app = app_with_agents(operator_token=TOKEN)
    with TestClient(mounted(app), backend=backend) as client:
        assert client.get("/internal/metrics").status_code == 401
        answer = client.get("/internal/metrics", headers={**BEARER, "Accept": form})
        assert answer.status_code == 200
        assert parsed(answer.text, form).value("connections") == 0


def allows(connection: HTTPConnection) -> object:
    """Return or raise as the header ``x-who`` says."""
    who = connection.headers.get("x-who", "")
    if who in REFUSALS:
        raise REFUSALS[who][0]
    return who


async def allows_async(connection: HTTPConnection) -> object:
    """Do the same as :func:`allows`, as an async function."""
    return allows(connection)


REFUSALS: dict[str, tuple[Exception, int]] = {
    "http": (HTTPException(418), 418),
    "unknown": (NotAuthenticated("log in first"), 401),
    "forbidden": (Forbidden("not you"), 403),
}


@pytest.mark.parametrize("function", [allows, allows_async])
def test_operator_function_of_the_application(function: Any) -> None:
    """A function of the application decides in place of the settings, and it can be overridden in tests."""
    app = app_with_agents(metrics_open=True)
    api = mounted(app, function)
    with TestClient(api) as client:
        for who, status in ("ann", 200), ("", 403), *((who, status) for who, (_, status) in REFUSALS.items()):
            assert client.get("/internal/metrics", headers={"x-who": who}).status_code == status
        api.dependency_overrides[function] = lambda _: True
        assert client.get("/internal/metrics").status_code == 200


def test_app_that_does_not_run() -> None:
    """Without the lifespan, the path says that the app is not running."""
    api = FastAPI()
    mount_metrics(api, "/metrics", app_with_agents(metrics_open=True))
    answer = TestClient(api).get("/metrics")
    assert (answer.status_code, answer.text) == (503, "the app is not running\n")


def test_wrong_arguments_of_a_mount() -> None:
    """Wrong arguments are refused where they are given."""
    api, app = FastAPI(), app_with_agents()
    wrong: list[tuple[Any, str]] = [
        ((object(), "/metrics", app, None), "mount needs"),
        ((api, "metrics", app, None), "such as /ws"),
        ((api, "/metrics", app, 7), "operator must be the function"),
        ((api, "/metrics", app, lambda: True), "operator must take one argument"),
    ]
    for arguments, word in wrong:
        with pytest.raises(ConfigError, match=word):
            mount_metrics(*arguments[:3], operator=arguments[3])
