"""The pages beside the WebSocket endpoint: the demo, who its visitors are, health. Needs the extra ``http``.

In the order of a server's start: :func:`transport.server.endpoint.listen` takes the port, so that the origin of the
pages is known before anything is served; :func:`pages` makes the application; :func:`serve_http` serves it until
cancelled.

A visitor is known by a cookie that scripts cannot read: a token for a long time, signed by the application. What the
page gets from ``/token`` is one for a short time, for the WebSocket's hello. The cookie is SameSite=Strict and set by
``/token`` alone, which only the page asks for: a link from elsewhere comes without the cookie, and must not replace it.
"""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit, urlunsplit

import trio

from actors import ConfigError
from actors.failures import log_failure
from transport._border import called_at_once

try:
    from hypercorn.config import Config
    from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]  # a bare dict in its WSGI type
    from starlette.applications import Starlette
    from starlette.datastructures import MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
except ImportError:
    raise ConfigError("the pages need the extra http: pip install 'greenroom[http]'") from None

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("greenroom.http")

WEB = Path(__file__).parents[1] / "web"
PAGE = Path(__file__).parents[1] / "demo" / "page"
TOKEN_SECONDS = 600.0
VISITOR_SECONDS = 90 * 86_400.0
SHUTDOWN_SECONDS = 2.0
"""How long requests that were being answered may take once the server is asked to stop."""

_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, never bound
_HOST_NAME = re.compile(r"[A-Za-z0-9.:-]+")  # what may come from a request's Host into a header of the answer


def pages(  # noqa: PLR0913 - by keyword only, each with its own meaning
    *,
    ws_url: str,
    agent: str,
    health: Callable[[], Mapping[str, object]],
    issue_token: Callable[[str, float], str] | None = None,
    read_token: Callable[[str], str | None] | None = None,
    title: str = "",
    suggestions: Sequence[str] = (),
) -> Starlette:
    """Return the application: the page at ``/``, its files, ``/config``, ``/token`` and ``/health``.

    ``agent`` is asked at ``ws_url``; ``title`` heads the page and ``suggestions`` are questions that it offers.
    ``health()`` gives what ``/health`` tells besides ``status``. With ``issue_token(user, seconds)`` and
    ``read_token(token)`` (the user, or None where the token is no good) every new browser is a user of its own; without
    both the page needs no token. Whatever one of these functions raises is a 500 with a reference to the log.
    """
    visitors = _Visitors(issue_token, read_token) if issue_token and read_token else None

    async def config(request: Request) -> Response:
        public = _as_seen_by(request.url.hostname, ws_url)
        offer = {"ws_url": public, "agent": agent, "title": title, "suggestions": list(suggestions)}
        return JSONResponse(offer, headers=_NEVER_STORED)

    async def token(request: Request) -> Response:
        return visitors.admit(request) if visitors else JSONResponse({"token": None}, headers=_NEVER_STORED)

    async def is_healthy(_: Request) -> Response:
        return JSONResponse({"status": "ok", **_asked("health", health)}, headers=_NEVER_STORED)

    routes = [
        Route("/config", config),
        Route("/token", token),
        Route("/health", is_healthy),
        Mount("/", StaticFiles(directory=PAGE, packages=[("transport", "web")], html=True)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_SafeHeaders, ws_url=ws_url)])


_NEVER_STORED = {"Cache-Control": "no-store"}


class _Visitors:
    """Who a browser is: the one rule by which cookies and tokens are given out."""

    def __init__(self, issue_token: Callable[[str, float], str], read_token: Callable[[str], str | None]) -> None:
        self._issue = issue_token
        self._read = read_token

    def admit(self, request: Request) -> Response:
        """Answer with a fresh token for the browser's user, who is new if it brought no cookie that is good."""
        cookie = f"greenroom_{request.url.port or request.url.scheme}"  # cookies do not keep the ports of a host apart
        known = request.cookies.get(cookie)
        user = (_asked("read_token", self._read, known) if known else None) or f"visitor-{secrets.token_hex(8)}"
        response = JSONResponse({"token": self._token(user, TOKEN_SECONDS)}, headers=_NEVER_STORED)
        response.set_cookie(
            cookie,
            self._token(user, VISITOR_SECONDS),
            max_age=int(VISITOR_SECONDS),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def _token(self, user: str, seconds: float) -> str:
        return cast("str", _asked("issue_token", self._issue, user, seconds))


def _asked(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function that the pages were given. Raises nothing but the answer 500, whatever the function does."""
    result = called_at_once(function, *arguments)
    if not isinstance(result, BaseException):
        return result
    reference = secrets.token_hex(4)
    log_failure(logger, "%s of the pages failed, reference %s", name, reference, error=result)
    raise HTTPException(500, f"internal error, reference {reference}")


class _SafeHeaders:
    """Puts on every response what keeps the page from running, reaching or being framed by anything foreign."""

    def __init__(self, app: ASGIApp, ws_url: str) -> None:
        self._app = app
        self._ws_url = ws_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), Request(scope).url.hostname)
            await send(message)

        await self._app(scope, receive, send_safely)

    def _add(self, headers: MutableHeaders, host: str | None) -> None:
        parts = urlsplit(_as_seen_by(host, self._ws_url))
        headers["Content-Security-Policy"] = (
            f"default-src 'self'; connect-src 'self' {parts.scheme}://{parts.netloc}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'; object-src 'none'"
        )
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Cache-Control", "no-cache")  # asked for again each time; the ETag spares the body


def _as_seen_by(host: str | None, ws_url: str) -> str:
    """``ws_url`` for a browser: one that listens on every address is reached by the name that the page was."""
    parts = urlsplit(ws_url)
    if parts.hostname not in _WILDCARDS or not _HOST_NAME.fullmatch(host or ""):
        return ws_url
    name = f"[{host}]" if host and ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{name}:{parts.port}"))


def url_of(listeners: Sequence[socket.socket], host: str | None = None) -> str:
    """Return where the pages are, by the name ``host`` or else by address; without its slash it is their origin."""
    address, port = listeners[0].getsockname()[:2]
    name = host or address
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


class PagesFailed(Exception):
    """The HTTP server ended without being asked to; why is its cause, where it said that."""


async def serve_http(
    app: ASGIApp, listeners: Sequence[socket.socket], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; what is being answered then may take ``SHUTDOWN_SECONDS`` more.

    Takes ``listeners`` over and closes them. Started once connections are accepted. Raises :class:`PagesFailed` when
    the HTTP server ends by itself: a server whose pages are gone is to end too, and to be started again.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}" for listener in listeners]
    config.graceful_timeout = SHUTDOWN_SECONDS
    config.accesslog = None
    config.errorlog = logger
    config.include_server_header = False
    stop = trio.Event()

    async def serve_shielded(*, task_status: trio.TaskStatus[Any]) -> None:
        with trio.CancelScope(shield=True):  # hypercorn is ended by its trigger: answers are not cut off
            # Two descriptions of the same ASGI: Hypercorn types each message, Starlette says a mapping.
            try:
                await serve(cast("Any", app), config, shutdown_trigger=stop.wait, task_status=task_status)
            except BaseException as error:
                raise PagesFailed("the HTTP server of the pages failed") from error
        if not stop.is_set():
            raise PagesFailed("the HTTP server of the pages ended by itself")

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_shielded)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            stop.set()
