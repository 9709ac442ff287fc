"""The pages over a real Hypercorn on trio: what is served, with which headers, to whom."""

from __future__ import annotations

import http.client
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from transport.http._addresses import url_of
from transport.http._hypercorn import serve_http
from transport.http.pages import PAGE, WEB, pages
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

HOST = "127.0.0.1"


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _ask(port: int, path: str, headers: dict[str, str]) -> Answer:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


@attrs.frozen
class Site:
    """A running server of pages."""

    port: int

    async def get(self, path: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await trio.to_thread.run_sync(_ask, self.port, path, named)


class Unshowable(Exception):
    def __str__(self) -> str:
        raise SystemExit(5)

    __repr__ = __str__


def issue(user: str, seconds: float) -> str:
    return f"signed.{user}.{round(seconds)}"


def read(token: str) -> str | None:
    found = re.fullmatch(r"signed\.(.*)\.\d+", token)
    return found[1] if found else None


def make_pages(**changes: Any) -> Starlette:
    usual: dict[str, Any] = {"ws_url": "ws://127.0.0.1:8765/", "agent": "assistant", "health": lambda: {"sessions": 3}}
    tokens: dict[str, Any] = {"issue_token": issue, "read_token": read}
    return pages(**(usual | tokens | changes))


async def open_site(nursery: trio.Nursery, **changes: Any) -> Site:
    listeners = listen(HOST, 0)
    site = Site(listeners[0].getsockname()[1])
    await nursery.start(partial(serve_http, make_pages(**changes), listeners))
    return site


@pytest.fixture
async def site(nursery: trio.Nursery) -> AsyncIterator[Site]:
    yield await open_site(nursery)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/greenroom.js", "javascript"),
        ("/demo.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_come_with_their_type_and_are_asked_for_again(site: Site, path: str, kind: str) -> None:
    answer = await site.get(path)
    assert answer.status == 200
    assert kind in answer.headers["content-type"]
    assert answer.body == ((WEB if path == "/greenroom.js" else PAGE) / (path[1:] or "index.html")).read_bytes()
    assert answer.headers["cache-control"] == "no-cache"
    again = await site.get(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/nothing", "/../http.py", "/%2e%2e/http.py", "/..%2fhttp.py", "//etc/passwd"])
async def test_nothing_but_the_pages_is_served(site: Site, path: str) -> None:
    assert (await site.get(path)).status == 404


@pytest.mark.parametrize("path", ["/", "/config", "/token", "/nothing"])
async def test_every_answer_keeps_the_page_to_its_own(site: Site, path: str) -> None:
    headers = (await site.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'; connect-src 'self' ws://127.0.0.1:8765;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_the_page_has_no_script_or_style_that_the_policy_refuses() -> None:
    page = (PAGE / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|https?://", page) == []


async def test_config_says_where_the_agent_is(nursery: trio.Nursery) -> None:
    site = await open_site(nursery, title="Ask", suggestions=["How?"])
    answer = await site.get("/config")
    offer = {"agent": "assistant", "title": "Ask", "suggestions": ["How?"]}
    assert answer.json == {"ws_url": "ws://127.0.0.1:8765/", **offer}
    assert answer.headers["cache-control"] == "no-store"
    nursery.cancel_scope.cancel()


async def test_a_server_on_every_address_is_reached_as_the_page_was(nursery: trio.Nursery) -> None:
    site = await open_site(nursery, ws_url="ws://0.0.0.0:8765/")
    answer = await site.get("/config", Host="box.example:80")
    assert answer.json["ws_url"] == "ws://box.example:8765/"
    assert "connect-src 'self' ws://box.example:8765;" in answer.headers["content-security-policy"]
    odd = await site.get("/config", Host="x;script-src")
    assert "x;script-src" not in odd.headers["content-security-policy"]
    nursery.cancel_scope.cancel()


async def test_every_new_browser_is_a_user_of_its_own_and_stays_that_user(site: Site) -> None:
    first, other = await site.get("/token"), await site.get("/token")
    user = read(first.json["token"])
    assert user
    assert user != read(other.json["token"])
    cookie = first.headers["set-cookie"].split(";")[0]
    again = await site.get("/token", Cookie=cookie)
    assert read(again.json["token"]) == user
    assert again.headers["set-cookie"].split(";")[0] == cookie  # for as long again


async def test_the_cookie_is_out_of_reach_and_outlives_the_token(site: Site) -> None:
    answer = await site.get("/token")
    cookie = answer.headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert cookie.startswith(f"greenroom_{site.port}=")
    value = cookie.split(";")[0]
    assert int(value.rpartition(".")[2]) > 100 * int(answer.json["token"].rpartition(".")[2])
    assert answer.headers["cache-control"] == "no-store"


async def test_a_cookie_that_is_no_good_makes_a_new_user(site: Site) -> None:
    answer = await site.get("/token", Cookie=f"greenroom_{site.port}=forged")
    assert (read(answer.json["token"]) or "").startswith("visitor-")


async def test_without_authentication_there_is_no_token_and_no_cookie(nursery: trio.Nursery) -> None:
    site = await open_site(nursery, issue_token=None, read_token=None)
    answer = await site.get("/token")
    assert answer.json == {"token": None}
    assert "set-cookie" not in answer.headers
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, Unshowable])
@pytest.mark.parametrize(("hook", "path"), [("health", "/health"), ("issue_token", "/token"), ("read_token", "/token")])
async def test_a_hook_that_fails_is_one_answer_500(
    nursery: trio.Nursery, hook: str, path: str, raised: type[BaseException]
) -> None:
    """Whatever a function that the pages were given raises, the site goes on, and a client is told a reference only."""

    def fail(*_: object) -> None:
        raise raised("a secret of the server")

    site = await open_site(nursery, **{hook: fail})
    answer = await site.get(path, Cookie=f"greenroom_{site.port}=signed.alice.1")
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert (await site.get("/config")).status == 200


async def test_health_tells_what_the_server_says_of_itself(site: Site) -> None:
    assert (await site.get("/health")).json == {"status": "ok", "sessions": 3}


async def test_the_port_is_known_before_anything_is_served() -> None:
    listeners = listen(HOST, 0)
    with listeners[0]:
        port = listeners[0].getsockname()[1]
        assert url_of(listeners) == f"http://127.0.0.1:{port}/"
        assert url_of(listeners, "localhost") == f"http://localhost:{port}/"
        assert url_of(listeners, "::1") == f"http://[::1]:{port}/"


async def test_a_cancelled_server_finishes_its_answer_and_frees_its_port(nursery: trio.Nursery) -> None:
    answering, go_on, cancelled = trio.Event(), trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        answering.set()
        await go_on.wait()
        return Response("whole")

    async def run_server() -> None:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_while_answering, scope)
            await serve_http(Starlette(routes=[Route("/", slow)]), listeners)

    async def cancel_while_answering(scope: trio.CancelScope) -> None:
        await answering.wait()
        scope.cancel()
        cancelled.set()

    listeners = listen(HOST, 0)
    site = Site(listeners[0].getsockname()[1])
    async with trio.open_nursery() as both:
        both.start_soon(run_server)
        both.start_soon(release_after, cancelled, go_on)
        answer = await site.get("/")
    assert answer.body == b"whole"
    for listener in listen(HOST, site.port):
        listener.close()


async def release_after(cancelled: trio.Event, go_on: trio.Event) -> None:
    await cancelled.wait()
    await trio.testing.wait_all_tasks_blocked()  # the cancellation has gone everywhere that it goes
    go_on.set()
