"""A server process: the endpoint, the pages beside it, and their common beginning and end. Needs the extra ``http``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import trio

from transport._border import the_one
from transport._process import run_until_signal
from transport.errors import NotAuthenticated
from transport.http.pages import pages, serve_http, url_of
from transport.server.endpoint import listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import ASGIApp

    from actors import EventLog
    from transport.app import Greenroom, Server
    from transport.auth import TokenAuth

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@attrs.frozen(kw_only=True)
class Address:
    """Where a server listens; port 0 takes a free one."""

    host: str
    port: int
    http_port: int


@attrs.frozen(kw_only=True)
class PageOptions:
    """What the pages show: which agent they ask, what they suggest, and who gives their visitors tokens."""

    agent: str = ""
    title: str = ""
    suggestions: Sequence[str] = ()
    tokens: TokenAuth | None = None


async def serve(
    app: Greenroom, address: Address, log: str | EventLog | None = None, front: PageOptions | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Prints ``ready WS_URL HTTP_URL`` once both can be connected to.

    A front with a title is for a person: on a terminal it prints the title and the one address to open instead.
    Raises as :meth:`Greenroom.running` does, ``OSError`` when the port of the pages is taken, and
    :class:`~transport.http.pages.PagesFailed` when they end by themselves.
    """
    front = front or PageOptions(agent=next(iter(app.agents), ""))
    with listening(address.host, address.http_port) as listeners:
        origins = own_origins(url_of(listeners, address.host))
        async with app.running(host=address.host, port=address.port, log=log, origins=origins) as server:
            await _serve_pages(app, server, front, listeners, address.host)


async def _serve_pages(
    app: Greenroom, server: Server, front: PageOptions, listeners: Sequence[socket.socket], host: str
) -> None:
    tokens = front.tokens
    site = pages(
        ws_url=server.url,
        agent=front.agent,
        health=lambda: _health(server),
        issue_token=tokens.issue if tokens else None,
        read_token=_reader(tokens) if tokens else None,
        title=front.title,
        suggestions=front.suggestions,
    )
    url = url_of(listeners, host)
    try:
        await _serve_both(app, server, front, site, listeners, url)
    except BaseException as raised:
        one = the_one(raised)
        if one is raised:
            raise
        raise one from one.__cause__


async def _serve_both(  # noqa: PLR0913, PLR0917 - each of another kind
    app: Greenroom, server: Server, front: PageOptions, site: ASGIApp, listeners: Sequence[socket.socket], url: str
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, site, listeners)
        for_a_person = bool(front.title) and sys.stdout.isatty()
        announcement = f"{front.title}: {url}" if for_a_person else f"ready {server.url} {url}"
        await run_until_signal(lambda: print(announcement, flush=True), app.settings.gc_threshold)
        nursery.cancel_scope.cancel()


def own_origins(url: str) -> tuple[str, ...]:
    """The origins that the pages at ``url`` have in a browser: on this machine, one for each name of it."""
    origin = url.rstrip("/")
    name, _, port = origin.removeprefix("http://").rpartition(":")
    if name in _LOOPBACK_NAMES or name == "0.0.0.0":  # noqa: S104 - compared, not listened on
        return (origin, *(f"http://{loopback}:{port}" for loopback in _LOOPBACK_NAMES))
    return (origin,)


def _health(server: Server) -> Mapping[str, object]:
    sessions, endpoint = server.sessions.statistics(), server.endpoint.statistics()
    return {"sessions": sessions.sessions, "runs": sessions.runs.running, "connections": endpoint.connections}


def _reader(tokens: TokenAuth) -> Callable[[str], str | None]:
    def read(token: str) -> str | None:
        try:
            return tokens.user(token).id
        except NotAuthenticated:
            return None

    return read
