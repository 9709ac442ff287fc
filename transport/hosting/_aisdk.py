"""Vercel AI SDK at a path of a Starlette or FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transport.adapters.aisdk.mounting import aisdk_routes
from transport.asgi.user import checked_function
from transport.hosting._mount import checked_app, checked_place

if TYPE_CHECKING:
    from transport.app import Greenroom
    from transport.asgi.user import UserFunction


def mount_aisdk(api: Any, path: str, app: Greenroom, *, user: UserFunction | None = None) -> None:
    """Serve the app's agents to pages with Vercel AI SDK: ``mount_aisdk(api, "/chat", app)``.

    A page uses ``useChat`` with ``new DefaultChatTransport({api: "/chat/AGENT"})``. A chat is a session of the user,
    and each answer is a run, which goes on when the page is closed. Below ``PATH/AGENT/CHAT``, ``GET stream`` shows the
    answer in progress again, ``GET messages`` returns the messages of the chat, ``POST cancel`` cancels the answer, and
    ``POST answer`` answers a question of the agent.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/chat``.
        app: The app. Give the web application ``lifespan=transport.hosting.lifespan(app)``, too.
        user: A function that finds the user of a request: see :func:`mount`. Without a function, the app's own ``auth``
            decides about the token in the header ``Authorization: Bearer …``.

    Raises:
        ConfigError: An argument cannot be used.
    """
    checked_app(app)
    function = checked_function(user)
    router, whole = checked_place(api, path)
    made = aisdk_routes(lambda: app.server, has_auth=app.auth is not None, user=function, prefix=whole.rstrip("/"))
    router.routes.extend(made)
