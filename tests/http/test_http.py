"""The demo pages, served by the real HTTP server: files, headers, addresses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _demo_site import HOST, Site, open_site
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from transport import Settings
from transport.http._addresses import own_origins, public_origins, url_of
from transport.http._server import PageServer, serve_http
from transport.http.pages import FOR_COMPONENTS, LIBRARY, PAGE, WEB
from transport.server.listening import listen

if TYPE_CHECKING:
    from starlette.requests import Request


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/greenroom.js", "javascript"),
        ("/fallback.js", "javascript"),
        ("/store.js", "javascript"),
        ("/shared.js", "javascript"),
        ("/react.js", "javascript"),
        ("/vue.js", "javascript"),
        ("/demo.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_have_a_type_and_an_etag(site: Site, path: str, kind: str) -> None:
    """A file is served with its media type, ``no-cache`` and an ETag. A second request with this ETag gets 304."""
    answer = await site.get(path)
    assert answer.status == 200
    assert kind in answer.headers["content-type"]
    assert (
        answer.body
        == ((WEB if path[1:] in LIBRARY + FOR_COMPONENTS else PAGE) / (path[1:] or "index.html")).read_bytes()
    )
    assert answer.headers["cache-control"] == "no-cache"
    again = await site.get(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_asyncapi_document_names_the_endpoint(site: Site) -> None:
    """The AsyncAPI document of the protocol is at ``/asyncapi.json``, with the address of this server's endpoint."""
    answer = await site.get("/asyncapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document = json.loads(answer.body)
    assert document["asyncapi"] == "3.0.0"
    assert [each["host"] for each in document["servers"].values()] == ["127.0.0.1:8765"]


@pytest.mark.parametrize("path", ["/README.md", "/package.json", "/greenroom.js/README.md"])
async def test_other_files_of_the_library_are_404(site: Site, path: str) -> None:
    """The server serves only the JavaScript files of the client's folder.

    A request for any other file of this folder gets 404.
    """
    assert (await site.get(path)).status == 404


@pytest.mark.parametrize("path", ["/nothing", "/../http.py", "/%2e%2e/http.py", "/..%2fhttp.py", "//etc/passwd"])
async def test_other_paths_are_404(site: Site, path: str) -> None:
    """A request for a file outside the pages' folder gets 404, in every spelling of ``..``."""
    assert (await site.get(path)).status == 404


@pytest.mark.parametrize("path", ["/", "/config", "/token", "/nothing"])
async def test_security_headers(site: Site, path: str) -> None:
    """Headers of every response let a page load only files of this site and connect only to its WebSocket, and forbid
    that another page shows it in an iframe."""
    headers = (await site.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'; connect-src 'self' ws://127.0.0.1:8765;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_page_obeys_its_policy() -> None:
    """The demo page has no inline script, no inline style and no URL of another site, which its headers would block."""
    page = (PAGE / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|https?://", page) == []


async def test_config(nursery: trio.Nursery) -> None:
    """``/config`` returns the URL of the WebSocket endpoint, the agent, the title and the suggested questions."""
    site = await open_site(nursery, title="Ask", suggestions=["How?"])
    answer = await site.get("/config")
    offer = {"agent": "assistant", "title": "Ask", "suggestions": ["How?"], "tokens": True}
    assert answer.json == {"ws_url": "ws://127.0.0.1:8765/", **offer}
    assert answer.headers["cache-control"] == "no-store"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("model", "told"), [("gpt-5-mini", {"model": "gpt-5-mini"}), ("", {"model": None}), (None, {})]
)
async def test_model_in_config(model: str | None, told: dict[str, Any], nursery: trio.Nursery) -> None:
    """``/config`` has the name of the model, or null if the agent answers without a model.

    If the server was not given a model, ``/config`` has no field for it.
    """
    site = await open_site(nursery, model=model)
    config = (await site.get("/config")).json
    assert {name: value for name, value in config.items() if name == "model"} == told
    nursery.cancel_scope.cancel()


async def test_wildcard_address_is_replaced(nursery: trio.Nursery) -> None:
    """If the endpoint's host is ``0.0.0.0``, the pages use the request's host, unless it could break a header."""
    site = await open_site(nursery, ws_url="ws://0.0.0.0:8765/")
    answer = await site.get("/config", Host="box.example:80")
    assert answer.json["ws_url"] == "ws://box.example:8765/"
    assert "connect-src 'self' ws://box.example:8765;" in answer.headers["content-security-policy"]
    odd = await site.get("/config", Host="x;script-src")
    assert "x;script-src" not in odd.headers["content-security-policy"]
    nursery.cancel_scope.cancel()


async def test_public_url_in_policy(nursery: trio.Nursery) -> None:
    """A public URL without a port is given to the page as it is, and the page may connect to its host."""
    site = await open_site(nursery, ws_url="wss://app.example.com/ws")
    answer = await site.get("/config", Host="elsewhere.example")
    assert answer.json["ws_url"] == "wss://app.example.com/ws"
    assert "connect-src 'self' wss://app.example.com;" in answer.headers["content-security-policy"]
    nursery.cancel_scope.cancel()


async def test_url_of_listeners() -> None:
    """``url_of`` returns the URL of the pages from their listening sockets, before the pages are served."""
    listeners = listen(HOST, 0)
    with listeners[0]:
        port = listeners[0].getsockname()[1]
        assert url_of(listeners) == f"http://127.0.0.1:{port}/"
        assert url_of(listeners, "localhost") == f"http://localhost:{port}/"
        assert url_of(listeners, "::1") == f"http://[::1]:{port}/"


ANY_HOST = {"http://127.0.0.1:8766", "http://localhost:8766", "http://[::1]:8766"}


EVERYWHERE = ANY_HOST | {"http://0.0.0.0:8766", "http://this-machine:8766"}


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("http://127.0.0.1:8766/", ANY_HOST),
        ("http://localhost:8766/", ANY_HOST),
        ("http://box.example:8766/", {"http://box.example:8766"}),
        ("http://192.168.0.7:8766/", {"http://192.168.0.7:8766"}),
        ("http://0.0.0.0:8766/", EVERYWHERE),
        ("http://[::]:8766/", ANY_HOST | {"http://[::]:8766", "http://this-machine:8766"}),
        (
            "https://0.0.0.0:443/",
            {origin.replace("http:", "https:").replace("8766", "443") for origin in EVERYWHERE},
        ),
    ],
)
def test_own_origins(url: str, origins: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Own origins are the host of the setting, the names of loopback, and at a wildcard host the machine's own name.

    A server on loopback has no other name, so that no name of a foreign page can be made an own name.
    """
    monkeypatch.setattr("socket.gethostname", lambda: "this-machine")
    assert set(own_origins(url)) == origins


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        (None, ()),
        ("wss://App.example.com/ws", ("https://app.example.com",)),
        ("ws://10.0.0.5:8080/", ("http://10.0.0.5:8080",)),
        ("wss://[2001:db8::1]:8443", ("https://[2001:db8::1]:8443",)),
    ],
)
def test_public_origins(url: str | None, origins: tuple[str, ...]) -> None:
    """Pages on the host and port of ``public_url`` belong to the server."""
    assert public_origins(url) == origins


async def test_cancelled_server(nursery: trio.Nursery) -> None:
    """A cancelled HTTP server first finishes the response in progress, and then frees its port."""
    answering, go_on, cancelled = trio.Event(), trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        answering.set()
        await go_on.wait()
        return Response("whole")

    async def run_server() -> None:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_while_answering, scope)
            await serve_http(PageServer(Starlette(routes=[Route("/", slow)]), Settings()), listeners)

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
    """Wait for ``cancelled`` and until every task has reacted to it, then set ``go_on``."""
    await cancelled.wait()
    await trio.testing.wait_all_tasks_blocked()  # the cancellation has reached every task
    go_on.set()
