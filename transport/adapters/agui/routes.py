"""The routes of AG-UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from transport.adapters.agui._handlers import (
    CancelHandler,
    CapabilitiesHandler,
    ConnectHandler,
    RunHandler,
    RunningHandler,
)
from transport.adapters.agui._input import last_user_message
from transport.adapters.application import application

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from transport._running import Server
    from transport.adapters.agui._capabilities import Capabilities
    from transport.adapters.agui._input import InputFunction
    from transport.adapters.exchange import Handler
    from transport.asgi.user import UserFunction

AGUI_PATH = "/agui"
"""The path of AG-UI on the HTTP port of a server."""


def agui_routes(  # noqa: PLR0913 - by keyword only
    find: Callable[[], Server],
    *,
    has_auth: bool,
    user: UserFunction | None = None,
    own_port: bool = False,
    prefix: str = AGUI_PATH,
    input_: InputFunction = last_user_message,
    capabilities: Mapping[str, Capabilities] | None = None,
) -> list[Route]:
    """Return the routes of AG-UI below ``prefix``.

    Args:
        find: As for :func:`.application`.
        has_auth: As for :func:`.application`.
        user: As for :func:`.application`.
        own_port: As for :func:`.application`.
        prefix: The path, without a slash at its end.
        input_: The function that makes the input of an agent from a ``RunAgentInput``.
        capabilities: The capabilities that the application declares, by the name of the agent.
    """
    handlers: dict[str, tuple[str, Handler]] = {
        "/{agent}": ("POST", RunHandler(input_)),
        "/{agent}/connect": ("POST", ConnectHandler()),
        "/{agent}/capabilities": ("GET", CapabilitiesHandler(capabilities or {})),
        "/{agent}/{thread}/runs": ("GET", RunningHandler()),
        "/{agent}/{thread}/{run}/cancel": ("POST", CancelHandler()),
    }
    return [
        Route(
            f"{prefix}{path}",
            application(find, handler, has_auth=has_auth, user=user, own_port=own_port, whole_conversations=True),
            name=f"greenroom-agui{path}",
            methods=[method, "OPTIONS"],
            include_in_schema=False,
        )
        for path, (method, handler) in handlers.items()
    ]
