"""The demo pages on the real HTTP server, and requests to them from a thread."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import attrs
import trio
from _inspector import Answer

from transport import Settings
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.http.visitors import VisitorTokens
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from starlette.applications import Starlette

HOST = "127.0.0.1"


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
