"""The routes of ``greenroom.v1`` over plain HTTP, for the port of the server's own pages and for web applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from transport.adapters.application import application
from transport.adapters.events import CommandsHandler, EventsHandler, Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from transport._running import Server
    from transport.asgi.user import UserFunction

EVENTS, COMMANDS = "/events", "/commands"
"""The paths of the streams and of the commands, below the place where they are mounted."""


def routes(
    find: Callable[[], Server],
    *,
    has_auth: bool,
    user: UserFunction | None = None,
    own_port: bool = False,
    prefix: str = "",
) -> list[Route]:
    """Return the two routes below ``prefix``. The other arguments are those of :func:`.application`."""
    streams = Streams()
    events = application(find, EventsHandler(streams), has_auth=has_auth, user=user, own_port=own_port)
    commands = application(find, CommandsHandler(streams), has_auth=has_auth, user=user, own_port=own_port)
    return [
        _route(f"{prefix}{EVENTS}", events, "GET"),
        _route(f"{prefix}{COMMANDS}", commands, "POST"),
    ]


def _route(path: str, app: ASGIApp, method: str) -> Route:
    return Route(path, app, name=f"greenroom{path}", methods=[method, "OPTIONS"], include_in_schema=False)
