"""The inspector at a path of a Starlette or FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import ConfigError
from actors.failures import class_name, shown
from transport.app import Greenroom
from transport.asgi.user import call_function, checked_function
from transport.auth import User
from transport.hosting._mount import checked_place
from transport.inspector import Inspector
from transport.inspector.app import routes

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from transport.asgi.user import UserFunction


def mount_inspector(api: Any, path: str, app: Greenroom, *, operator: UserFunction | None = None) -> None:
    """Serve the app's inspector at ``path`` of a web application: ``mount_inspector(api, "/inspect", app)``.

    The inspector shows what runs, and stops runs and connections. All of its addresses are relative, so it also works
    below a ``root_path``, or behind a proxy that changes the path. Each action is a line of the logger
    ``greenroom.audit``.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/inspect``.
        app: The app. Give the web application ``lifespan=transport.hosting.lifespan(app)``, too.
        operator: A function that finds the operator of a request, as ``user`` of :func:`mount` finds a user. It returns
            the operator's name for the audit log, or a :class:`~transport.User`. It refuses other requests by
            ``HTTPException`` with status 401 or 403, ``NotAuthenticated`` or ``Forbidden``. Without a function, the
            setting ``operator_token`` is required, except from this machine itself.

    Raises:
        ConfigError: An argument cannot be used.
    """
    if not isinstance(app, Greenroom):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"the inspector shows a Greenroom, not {shown(app)}")
    router, whole = checked_place(api, path)
    if path == "/":
        raise ConfigError("the inspector needs a path of its own, such as /inspect")
    function = checked_function(operator, "operator")

    async def name(connection: HTTPConnection) -> str:
        assert function is not None  # noqa: S101 - called only with a function
        return _name(await call_function(function, connection))

    inspector = Inspector(lambda: app.server, app.settings, None if function is None else name)
    for route in routes(inspector, whole.rstrip("/")):
        router.add_route(route.path, route.endpoint, name=route.name, include_in_schema=False)


def _name(found: object) -> str:
    if isinstance(found, User):
        return found.id
    # An empty name is refused: *a function that finds nobody may return "" or None*.
    if isinstance(found, str) and found:
        return found
    raise TypeError(f"operator must return a name or a User, not {class_name(found)}")
