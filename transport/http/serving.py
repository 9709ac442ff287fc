"""A server process: the WebSocket endpoint and the HTTP pages, with their common start and end.

The port of the pages is bound first, so that the origin of the pages is known before the endpoint accepts a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import trio

from transport._border import the_one
from transport.adapters.agui.routes import agui_routes
from transport.adapters.aisdk.mounting import aisdk_routes
from transport.adapters.routes import routes
from transport.http._addresses import own_origins, public_origins, url_of
from transport.http._own_pages import checked_folder
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.inspector import Inspector
from transport.metrics.route import allowed_by, metrics_route
from transport.server.listening import Listeners, listening

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.routing import Route
    from starlette.types import ASGIApp

    from transport._process import Reporter
    from transport._running import Server
    from transport.app import Greenroom
    from transport.http.visitors import VisitorTokens


@attrs.frozen(kw_only=True)
class PageOptions:
    """The options of the demo page: its agent, its title, its suggested questions, and the tokens of its visitors.

    ``model`` is the name of the agent's model. It is "" if the agent answers without a model, and None if the page
    shows no model.
    """

    agent: str = ""
    title: str = ""
    suggestions: Sequence[str] = ()
    tokens: VisitorTokens | None = None
    model: str | None = None


async def serve(
    app: Greenroom,
    reporter: Reporter,
    options: PageOptions | None = None,
    given: Listeners | None = None,
    worker: int = 0,
) -> None:
    """Serve an app and its pages until SIGTERM or SIGINT, then wait for the app's runs and return.

    The app's settings decide host, ports and log.

    Args:
        app: The app to serve.
        reporter: Gets a report once both ports accept connections, and when the drain begins.
        options: Options of the page.
        given: Listening sockets of both ports. By default the server opens its own.
        worker: The number of this process among the workers of a server. 0 for a process alone.

    Raises:
        OSError: The port of the pages is in use.
        ConfigError: The folder of the app's own pages does not exist, or must not be served.
        PagesFailed: The HTTP server of the pages ended by itself.
        Exception: As :meth:`Greenroom.running <transport.Greenroom.running>`.
    """
    options, given = options or PageOptions(agent=next(iter(app.agents), "")), given or Listeners()
    folder = None if app.pages is None else checked_folder(app.pages)
    with listening(app.settings.host, app.settings.http_port, "http_port", given.pages) as listeners:
        url = url_of(listeners, app.settings.host, "http" if app.settings.tls_cert is None else "https")
        origins = (*own_origins(url), *public_origins(app.settings.public_url))
        async with app.running(origins=origins, listeners=given.endpoint) as server:
            try:
                async with trio.open_nursery() as nursery:
                    page_server = PageServer(
                        _site(app, server, options, folder, worker),
                        app.settings,
                        server.certificate,
                        server.sessions.failures,
                    )
                    await nursery.start(serve_http, page_server, listeners)
                    await server.until_signal(reporter, url)
                    # The pages go on meanwhile, so that /readyz says that the server takes no more clients.
                    await server.drain(app.settings.drain_seconds)
                    nursery.cancel_scope.cancel()
            except BaseException as raised:
                # The nursery wraps the exception in a group; the caller is to get the exception itself.
                one = the_one(raised)
                if one is raised:
                    raise
                raise one from one.__cause__


def _site(app: Greenroom, server: Server, options: PageOptions, folder: Path | None, worker: int) -> ASGIApp:
    return pages(
        folder=folder,
        ws_url=server.endpoint.settings.public_url or server.url,
        agent=options.agent,
        health=server.health,
        tokens=options.tokens,
        allow_page=server.endpoint.single_requests.allow_page,
        title=options.title,
        suggestions=options.suggestions,
        model=options.model,
        inspector=Inspector(lambda: server, server.endpoint.settings, worker=worker),
        metrics=metrics_route(lambda: server, allowed_by(server.endpoint.settings)),
        sessions=session_routes(app, server),
    )


def session_routes(app: Greenroom, server: Server) -> list[Route]:
    """Return the routes by which clients without a WebSocket, and other protocols, reach their sessions.

    Those of ``greenroom.v1`` are also below the path of ``public_url``: behind a proxy, a client looks for them there.
    """

    def find() -> Server:
        return server

    has_auth = app.auth is not None
    prefixes = {"", urlsplit(app.settings.public_url or "").path.rstrip("/")}
    return [
        *(
            route
            for prefix in sorted(prefixes)
            for route in routes(find, has_auth=has_auth, own_port=True, prefix=prefix)
        ),
        *agui_routes(find, has_auth=has_auth, own_port=True),
        *aisdk_routes(find, has_auth=has_auth, own_port=True, prefix="/aisdk"),
    ]
