"""The demo pages, served by the real HTTP server: files, headers, cookies and tokens."""

from __future__ import annotations

import http.client
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from actors import ConfigError
from transport import Credentials, NotAuthenticated, Settings
from transport.http._addresses import own_origins, public_origins, url_of
from transport.http._own_pages import checked_folder
from transport.http._server import PageServer, serve_http
from transport.http.pages import FOR_COMPONENTS, LIBRARY, PAGE, WEB, pages
from transport.http.visitors import VISITOR_SECONDS, VisitorTokens
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

HOST = "127.0.0.1"


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of the response, read as JSON."""
        return json.loads(self.body)


def _ask(port: int, method: str, path: str, headers: dict[str, str]) -> Answer:
    """Send a request from a thread and return the response."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


@attrs.frozen
class Site:
    """A running HTTP server of the demo pages."""

    port: int

    async def get(self, path: str, **headers: str) -> Answer:
        """Return the response to a GET request. An underscore in a header name becomes a hyphen."""
        return await self.ask("GET", path, **headers)

    async def ask(self, method: str, path: str, **headers: str) -> Answer:
        """Return the response to a request. An underscore in a header name becomes a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await trio.to_thread.run_sync(_ask, self.port, method, path, named)

    async def token(self, **headers: str) -> Answer:
        """Return the response to a page's request for a token."""
        return await self.ask("POST", "/token", X_Requested_With="greenroom", **headers)


TOKENS = VisitorTokens("a key that is long enough for HS256")


def user_of(answer: Answer) -> str:
    """Return the user of the token in a response."""
    return TOKENS.auth.user(answer.json["token"]).id


def cookie_in(answer: Answer) -> str:
    """Return the cookie in a response, as the browser sends it back: its name and its value."""
    return answer.headers["set-cookie"].split(";")[0]


def make_pages(**changes: Any) -> Starlette:
    """Return the pages with the usual arguments, except for the arguments in ``changes``."""
    usual: dict[str, Any] = {"ws_url": "ws://127.0.0.1:8765/", "agent": "assistant", "health": Health}
    return pages(**(usual | {"tokens": TOKENS} | changes))


async def open_site(nursery: trio.Nursery, **changes: Any) -> Site:
    """Serve the pages on a free port, with these changes to the usual arguments."""
    listeners = listen(HOST, 0)
    site = Site(listeners[0].getsockname()[1])
    await nursery.start(serve_http, PageServer(make_pages(**changes), Settings()), listeners)
    return site


@pytest.fixture
async def site(nursery: trio.Nursery) -> AsyncIterator[Site]:
    """Serve the pages with their usual arguments."""
    yield await open_site(nursery)
    nursery.cancel_scope.cancel()


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


async def test_cookie_identifies_the_browser(site: Site) -> None:
    """A browser without a cookie becomes a new user and gets a cookie.

    If it sends this cookie later, it is the same user again, and the cookie is valid for as long again.
    """
    first, other = await site.token(), await site.token()
    assert user_of(first) != user_of(other)
    again = await site.token(Cookie=cookie_in(first))
    assert user_of(again) == user_of(first)
    once_more = await site.token(Cookie=cookie_in(again))
    assert user_of(once_more) == user_of(first)
    assert "max-age=7776000" in again.headers["set-cookie"].lower()


async def test_cookie_attributes(site: Site) -> None:
    """Scripts cannot read the browser's cookie, and other sites cannot send it.

    It is valid over 100 times longer than a token.
    """
    answer = await site.token()
    cookie = answer.headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert cookie.startswith(f"greenroom_{site.port}=")
    expires = TOKENS.auth.user(answer.json["token"]).expires
    assert expires is not None
    assert 100 * (expires - time.time()) < VISITOR_SECONDS
    assert answer.headers["cache-control"] == "no-store"


async def test_forged_cookie(site: Site) -> None:
    """A browser that sends a forged cookie becomes a new user."""
    answer = await site.token(Cookie=f"greenroom_{site.port}=forged")
    assert user_of(answer).startswith("visitor-")


async def test_token_for_the_hello_is_no_cookie(site: Site) -> None:
    """A token for the hello does not identify a browser in its cookie.

    So it cannot be exchanged for a token that is valid for longer.
    """
    first = await site.token()
    answer = await site.token(Cookie=f"greenroom_{site.port}={first.json['token']}")
    assert user_of(answer) != user_of(first)


async def test_cookie_is_no_token_for_the_hello(site: Site) -> None:
    """The value of the cookie is refused in a hello: only a short token opens a session."""
    cookie = cookie_in(await site.token()).partition("=")[2]
    with pytest.raises(NotAuthenticated):
        await TOKENS.auth(Credentials(cookie, "s1"))


FROM_ELSEWHERE: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("HEAD", {}),
    ("OPTIONS", {}),
    ("PUT", {"X_Requested_With": "greenroom"}),
    ("GET", {"X_Requested_With": "greenroom"}),
    ("POST", {}),
    ("POST", {"Origin": "https://evil.example", "Content_Type": "application/x-www-form-urlencoded"}),
    ("POST", {"Sec_Fetch_Site": "same-origin"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "cross-site"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "same-site"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "none"}),
]


@pytest.mark.parametrize(("method", "headers"), FROM_ELSEWHERE)
async def test_only_the_page_gets_a_token(site: Site, method: str, headers: dict[str, str]) -> None:
    """Links, forms, images and scripts of other sites get no token and no cookie, and no permission by CORS."""
    answer = await site.ask(method, "/token", **headers)
    assert answer.status == (403 if method == "POST" else 405)
    assert "set-cookie" not in answer.headers
    assert b"eyJ" not in answer.body
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_page_gets_a_token(site: Site) -> None:
    """A browser's page and a program that is no browser get a token. The text of a refusal says how to ask."""
    assert (await site.token(Sec_Fetch_Site="same-origin", Origin=f"http://{HOST}:{site.port}")).status == 200
    assert (await site.token()).status == 200
    assert b"POST with the header X-Requested-With" in (await site.ask("POST", "/token")).body


async def test_no_token_without_authentication(nursery: trio.Nursery) -> None:
    """If the pages have no tokens for visitors, ``/token`` returns null and sets no cookie."""
    site = await open_site(nursery, tokens=None)
    answer = await site.token()
    assert answer.json == {"token": None}
    assert "set-cookie" not in answer.headers
    assert (await site.get("/config")).json["tokens"] is False
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


# The application's own pages


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Return a folder with pages. Beside it and hidden in it are files that no browser may read."""
    folder = tmp_path / "static"
    for name in ("index.html", "app.js", "sub/index.html", ".well-known/security.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"own {name}")
    for name in (".env", ".git/config", "sub/.hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a secret of the server")
    (tmp_path / "secret.txt").write_text("a secret of the server")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


async def test_own_pages(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own pages are served at ``/``, beside the client library and the routes of the server."""
    site = await open_site(nursery, folder=own_folder)
    for path, name in (("/", "index.html"), ("/app.js", "app.js"), ("/sub/", "sub/index.html")):
        answer = await site.get(path)
        assert (answer.status, answer.body) == (200, f"own {name}".encode())
    assert (await site.get("/.well-known/security.txt")).status == 200
    assert (await site.get("/greenroom.js")).body == (WEB / "greenroom.js").read_bytes()
    assert (await site.get("/config")).json["ws_url"] == "ws://127.0.0.1:8765/"
    assert (await site.get("/demo.js")).status == 404
    nursery.cancel_scope.cancel()


async def test_own_file_named_like_one_for_components(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own ``vue.js`` is served in the place of the client's. The client's other files are served, too."""
    (own_folder / "vue.js").write_text("own vue.js")
    site = await open_site(nursery, folder=own_folder)
    assert (await site.get("/vue.js")).body == b"own vue.js"
    for name in ("react.js", "shared.js"):
        assert (await site.get(f"/{name}")).body == (WEB / name).read_bytes()
    nursery.cancel_scope.cancel()


async def test_own_pages_need_no_icon(nursery: trio.Nursery, own_folder: Path) -> None:
    """If own pages have no ``favicon.ico``, a browser that asks for it gets an empty answer, and no error."""
    site = await open_site(nursery, folder=own_folder)
    answer = await site.get("/favicon.ico")
    assert (answer.status, answer.body) == (204, b"")
    assert (await site.get("/sub/favicon.ico")).status == 404
    (own_folder / "favicon.ico").write_bytes(b"an icon")
    assert (await site.get("/favicon.ico")).body == b"an icon"
    nursery.cancel_scope.cancel()


OUTSIDE = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/sub/../../secret.txt",
    "/sub/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/link.txt",
    "/.env",
    "/%2eenv",
    "/.git/config",
    "/sub/.hidden",
    "/sub/%2e%2e/.env",
]


async def test_own_pages_end_at_their_folder(nursery: trio.Nursery, own_folder: Path) -> None:
    """Only visible files in the folder of an app's pages are served. For any other file the response is 404.

    This holds for hidden files, for links that lead out of the folder, and for every spelling of ``..``.
    """
    site = await open_site(nursery, folder=own_folder)
    for path in OUTSIDE:
        answer = await site.get(path)
        assert (path, answer.status, b"secret" in answer.body) == (path, 404, False)
    nursery.cancel_scope.cancel()


async def test_policy_of_own_pages(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own pages may use scripts and servers as they like. No other page may show them in a frame."""
    site = await open_site(nursery, folder=own_folder)
    headers = (await site.get("/")).headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'; object-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    nursery.cancel_scope.cancel()


def test_folder_of_own_pages(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an app's pages is refused if it does not exist.

    The server's current folder, and any folder that contains it, is refused too.
    """
    monkeypatch.chdir(own_folder)
    assert checked_folder(Path("sub")) == own_folder / "sub"
    for wrong in ("absent", "app.js", ".", "..", str(own_folder)):
        with pytest.raises(ConfigError, match=r"^pages: "):
            checked_folder(Path(wrong))
