"""The routes as ASGI applications, for the port of the server's own pages and for web applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from transport.adapters.aisdk.routes import ROUTES
from transport.adapters.application import application

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport._running import Server
    from transport.asgi.user import UserFunction


def aisdk_routes(
    find: Callable[[], Server],
    *,
    has_auth: bool,
    user: UserFunction | None = None,
    own_port: bool = False,
    prefix: str = "",
) -> list[Route]:
    """Return the routes below ``prefix``. The other arguments are those of :func:`.application`."""
    return [
        Route(
            prefix + path,
            application(find, handler(), has_auth=has_auth, user=user, own_port=own_port, whole_conversations=True),
            name=f"greenroom-aisdk-{handler.__name__.lower()}",
            methods=[method, "OPTIONS"],
            include_in_schema=False,
        )
        for path, (method, handler) in ROUTES.items()
    ]
