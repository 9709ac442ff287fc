"""``greenroom.v1`` over plain HTTP at a path of a Starlette or FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transport.adapters.routes import COMMANDS, EVENTS, routes
from transport.asgi.user import checked_function
from transport.hosting._mount import checked_app, checked_place

if TYPE_CHECKING:
    from transport.app import Greenroom
    from transport.asgi.user import UserFunction


def mount_events(api: Any, path: str, app: Greenroom, *, user: UserFunction | None = None) -> None:
    """Serve the app's sessions by plain HTTP below ``path``, for clients and networks without WebSocket.

    ``GET PATH/events`` streams the events of a session (server-sent events), or answers a long poll, and
    ``POST PATH/commands`` takes commands. Give it the path of :func:`mount`: ``greenroom.js`` looks for it there when a
    WebSocket cannot be opened.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/ws``.
        app: The app. Give the web application ``lifespan=transport.hosting.lifespan(app)``, too.
        user: A function that finds the user of a request: see :func:`mount`. Without a function, the app's own ``auth``
            decides about the token in the header ``Authorization: Bearer …``.

    Raises:
        ConfigError: An argument cannot be used.
    """
    checked_app(app)
    function = checked_function(user)
    router, _ = checked_place(api, f"{path.rstrip('/')}{EVENTS}")
    _, whole = checked_place(api, f"{path.rstrip('/')}{COMMANDS}")
    prefix = whole.removesuffix(COMMANDS)
    router.routes.extend(routes(lambda: app.server, has_auth=app.auth is not None, user=function, prefix=prefix))
