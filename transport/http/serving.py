"""A server process: the WebSocket endpoint, the pages beside it, and their common start and end.

The port of the pages is bound first, so that their origin is known before the endpoint accepts a connection.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import trio

from transport._border import the_one
from transport._process import run_until_signal
from transport.errors import NotAuthenticated
from transport.http._addresses import own_origins, url_of
from transport.http._hypercorn import serve_http
from transport.http.health import health_of
from transport.http.pages import pages
from transport.server.listening import listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

    from actors import EventLog
    from transport.app import Greenroom, Server
    from transport.auth import TokenAuth


@attrs.frozen(kw_only=True)
class Address:
    """The host and the two ports of a server: of its WebSocket endpoint and of its pages.

    With port 0, a free port is taken.
    """

    host: str
    port: int
    http_port: int


@attrs.frozen(kw_only=True)
class PageOptions:
    """The options of the demo page: its agent, its title, its suggested questions, and the tokens of its visitors."""

    agent: str = ""
    title: str = ""
    suggestions: Sequence[str] = ()
    tokens: TokenAuth | None = None


async def serve(
    app: Greenroom, address: Address, log: str | EventLog | None = None, options: PageOptions | None = None
) -> None:
    """Serve the WebSocket endpoint and the pages until SIGTERM or SIGINT, then drain.

    Print ``ready WS_URL HTTP_URL`` when both ports accept connections.

    Args:
        app: The app to serve.
        address: The host and the two ports.
        log: The log to use instead of the app's own.
        options: Options of the page. With a title, and on a terminal, the title and the URL of the page are printed
            instead of the line for programs.

    Raises:
        OSError: The port of the pages is in use.
        PagesFailed: The HTTP server of the pages ended by itself.
        Exception: As :meth:`Greenroom.running <transport.Greenroom.running>`.
    """
    options = options or PageOptions(agent=next(iter(app.agents), ""))
    with listening(address.host, address.http_port) as listeners:
        url = url_of(listeners, address.host)
        async with app.running(host=address.host, port=address.port, log=log, origins=own_origins(url)) as server:
            for_a_person = bool(options.title) and sys.stdout.isatty()
            announcement = f"{options.title}: {url}" if for_a_person else f"ready {server.url} {url}"
            try:
                await _serve_pages(
                    _site(server, options),
                    listeners,
                    lambda: print(announcement, flush=True),
                    app.settings.gc_threshold,
                )
            except BaseException as raised:
                # The nursery wraps the exception in a group; the caller is to get the exception itself.
                one = the_one(raised)
                if one is raised:
                    raise
                raise one from one.__cause__


async def _serve_pages(
    site: ASGIApp, listeners: Sequence[socket.socket], announce: Callable[[], None], gc_threshold: int
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, site, listeners)
        await run_until_signal(announce, gc_threshold)
        nursery.cancel_scope.cancel()


def _site(server: Server, options: PageOptions) -> ASGIApp:
    tokens = options.tokens
    return pages(
        ws_url=server.url,
        agent=options.agent,
        health=lambda: health_of(server),
        issue_token=tokens.issue if tokens else None,
        read_token=_reader(tokens) if tokens else None,
        title=options.title,
        suggestions=options.suggestions,
    )


def _reader(tokens: TokenAuth) -> Callable[[str], str | None]:
    """Return a function that takes a token and returns the token's user, or None if the token is not valid."""

    def read(token: str) -> str | None:
        try:
            return tokens.user(token).id
        except NotAuthenticated:
            return None

    return read
