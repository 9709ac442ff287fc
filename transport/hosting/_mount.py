"""The endpoint and the client for browsers at a path of a Starlette or FastAPI application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from actors import ConfigError
from actors.failures import shown
from transport.app import Greenroom
from transport.hosting._endpoint import endpoint
from transport.schemas.documents import PATH as ASYNCAPI_PATH
from transport.schemas.documents import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from transport.asgi.user import UserFunction

WEB = Path(__file__).parents[1] / "web"
CLIENT_FILES = ("greenroom.js", "fallback.js", "store.js", "shared.js", "react.js", "vue.js")
"""The files of the client for browsers, which are served below the endpoint's path."""


def mount(api: Any, path: str, app: Greenroom, *, user: UserFunction | None = None) -> None:
    """Serve the app's WebSocket endpoint at ``path`` of a web application, and the client for browsers below it.

    A page loads the client from ``PATH/greenroom.js`` and connects to ``PATH``. Pages of the same scheme, host and port
    may connect, and those in the setting ``allowed_origins``. The client's address and the scheme are those that the
    web server found: behind a proxy, configure the web server to trust this proxy. The AsyncAPI document of the
    protocol is at ``PATH/asyncapi.json``.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/ws``.
        app: The app. Give the web application ``lifespan=transport.hosting.lifespan(app)``, too.
        user: A function that finds the user of a request, for example from a cookie. It takes a
            ``starlette.requests.HTTPConnection``, and returns a :class:`~transport.User` or the user's id. The same
            function works as a dependency of other routes: ``Depends(user)``. It runs in the web server's library, and
            in a thread if it is not async. ``HTTPException`` with status 401 and 403, ``NotAuthenticated`` and
            ``Forbidden`` refuse the user, any other exception is an error (4006). Without a function, the app's own
            ``auth`` counts.

    Raises:
        ConfigError: An argument cannot be used.
    """
    router, whole = checked_place(api, path)
    router.add_websocket_route(whole, endpoint(app, user=user), name="greenroom")
    files = {f"/{name}": _file(name) for name in CLIENT_FILES}
    for place, handler in {**files, ASYNCAPI_PATH: _asyncapi}.items():
        router.add_route(whole.rstrip("/") + place, handler, methods=["GET"], name=place[1:], include_in_schema=False)


def checked_app(app: Greenroom) -> None:
    """Raise ConfigError if ``app`` is no Greenroom: callers may have no types."""
    if not isinstance(app, Greenroom):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"app must be a Greenroom, not {shown(app)}")


def checked_place(api: Any, path: str) -> tuple[Any, str]:
    """Return the router of a web application, and the whole path of a mount at ``path`` of it.

    Raises:
        ConfigError: An argument cannot be used, or the path has a route already.
    """
    router = getattr(api, "router", api)
    if not hasattr(router, "add_websocket_route") or not hasattr(router, "add_route"):
        raise ConfigError(f"mount needs a FastAPI or Starlette application, or a router, not {shown(api)}")
    if not isinstance(path, str) or not path.startswith("/") or "{" in path:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"path must begin with / and have no parameters, such as /ws, not {shown(path)}")
    whole = getattr(router, "prefix", "") + path
    if any(getattr(route, "path", None) == whole for route in router.routes):
        raise ConfigError(f"the web application has a route {whole} already: choose another path")
    return router, whole


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    files = StaticFiles(directory=WEB)

    async def file(request: Request) -> Response:
        return await files.get_response(name, request.scope)

    return file


async def _asyncapi(request: Request) -> Response:
    """Answer with the AsyncAPI document. It has the address to which the request was sent."""
    url = request.url
    endpoint_url = url.replace(
        scheme="wss" if url.scheme == "https" else "ws", path=url.path.removesuffix(ASYNCAPI_PATH), query=""
    )
    return Response(served(str(endpoint_url)), media_type="application/json")
