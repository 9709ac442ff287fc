"""The HTTP routes: a page for developers or the application's own pages, tokens for visitors, health."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from transport.http._headers import NEVER_STORED, SecurityHeaders, ws_url_seen_from
from transport.http._own_pages import OwnPages
from transport.http.health import health_routes
from transport.http.visitors import Visitors, refusal_of
from transport.inspector.app import routes as routes_of
from transport.metrics.route import METRICS
from transport.schemas.documents import PATH as ASYNCAPI_PATH
from transport.schemas.documents import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from transport.http.visitors import VisitorTokens
    from transport.inspector import Inspector
    from transport.protocol.health import Health

WEB = Path(__file__).parents[1] / "web"
LIBRARY = ("greenroom.js", "fallback.js", "store.js")
"""Files of the folder ``transport/web`` that browsers get. The README and ``package.json`` are not for visitors."""
FOR_COMPONENTS = ("shared.js", "react.js", "vue.js")
"""Further files of that folder. An own page's file of such a name has precedence: a site may have its own vue.js."""
PAGE = Path(__file__).parents[1] / "demo" / "page"
INSPECTOR_PATH = "/inspect"
"""The path of the inspector. A folder of this name in the application's own pages is not served."""


def pages(  # noqa: PLR0913 - by keyword only, each with its own meaning
    *,
    ws_url: str,
    agent: str,
    health: Callable[[], Health],
    tokens: VisitorTokens | None = None,
    allow_page: Callable[[Mapping[str, str]], bool] = lambda _: True,
    title: str = "",
    suggestions: Sequence[str] = (),
    model: str | None = None,
    folder: Path | None = None,
    inspector: Inspector | None = None,
    metrics: Callable[[Request], Awaitable[Response]] | None = None,
    sessions: Sequence[Route] = (),
) -> Starlette:
    """Return the ASGI application: the page at ``/``, its files, the client library, and the routes of the server.

    Args:
        ws_url: The address of the WebSocket endpoint, as clients reach it.
        agent: Name of the agent that the page asks.
        health: Function that returns the health of the server, for ``/healthz`` and ``/readyz``.
        tokens: The tokens of visitors: each new browser is a new user. With None, ``/token`` has no token.
        allow_page: Function that returns whether a page with these headers may ask for a token. By default each may.
        title: The heading of the page.
        suggestions: Questions that the page offers.
        model: Name of the agent's model. "" if the agent answers without a model. None if the page shows no model.
        folder: A folder with the application's own pages. They replace the built-in page.
        inspector: The inspector, which is then served at ``/inspect/``.
        metrics: The handler of ``/metrics``. None for pages without metrics.
        sessions: The routes by which clients without a WebSocket reach their sessions.
    """
    visitors = Visitors(tokens) if tokens else None

    async def config(request: Request) -> Response:
        reachable = ws_url_seen_from(request.url.hostname, ws_url)
        offer = {"ws_url": reachable, "agent": agent, "title": title, "suggestions": list(suggestions)}
        told = {} if model is None else {"model": model or None}
        return JSONResponse({**offer, "tokens": visitors is not None, **told}, headers=NEVER_STORED)

    routes = [
        Route("/config", config),
        _token(visitors, allow_page),
        *(*health_routes(health), _asyncapi(ws_url)),
        *([] if metrics is None else [Route(METRICS, metrics)]),
        *(*sessions, *_client_files(folder)),
        *([] if inspector is None else routes_of(inspector, INSPECTOR_PATH)),
        Mount("/", StaticFiles(directory=PAGE, html=True) if folder is None else OwnPages(folder)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders, ws_url=ws_url, own=folder is not None)])


def _token(visitors: Visitors | None, allow_page: Callable[[Mapping[str, str]], bool]) -> Route:
    async def token(request: Request) -> Response:
        if (refusal := refusal_of(request, allow_page)) is not None:
            return refusal
        return visitors.admit(request) if visitors else JSONResponse({"token": None}, headers=NEVER_STORED)

    return Route("/token", token, methods=["GET", "POST"])  # a GET is told how to ask


def _client_files(folder: Path | None) -> list[Route]:
    """Return the routes of the files of the client. A file of the application's own folder has precedence."""
    further = (name for name in FOR_COMPONENTS if folder is None or not (folder / name).exists())
    return [*map(_library, LIBRARY), *map(_library, further)]


def _library(name: str) -> Route:
    files = StaticFiles(directory=WEB)

    async def file(request: Request) -> Response:
        return await files.get_response(name, request.scope)

    return Route(f"/{name}", file)


def _asyncapi(ws_url: str) -> Route:
    """Return the route of the AsyncAPI document, in which the endpoint has an address that the client can reach."""

    async def document(request: Request) -> Response:
        return Response(served(ws_url_seen_from(request.url.hostname, ws_url)), media_type="application/json")

    return Route(ASYNCAPI_PATH, document)
