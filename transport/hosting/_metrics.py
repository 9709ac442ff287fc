"""The metrics of an app at a path of a Starlette or FastAPI application."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from transport._operators import Verdict
from transport.asgi.user import call_function, checked_function
from transport.errors import Forbidden, NotAuthenticated
from transport.hosting._mount import checked_place
from transport.metrics._families import server_of
from transport.metrics.route import allowed_by, metrics_route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection, Request

    from transport.app import Greenroom
    from transport.asgi.user import UserFunction


def mount_metrics(
    api: Any, path: str, app: Greenroom, *, operator: Callable[[HTTPConnection], object] | None = None
) -> None:
    """Serve the app's metrics for Prometheus at ``path`` of a web application. Needs the extra ``metrics``.

    Without the extra, the path answers 501 and names it.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/metrics``.
        app: The app. While it does not run, the path answers 503.
        operator: A function that decides about a request. It takes a ``starlette.requests.HTTPConnection``, and returns
            something true, such as the operator's name, to allow the request. A false result, ``HTTPException``,
            ``NotAuthenticated`` and ``Forbidden`` refuse it. The function may be async; if not, it runs in a thread.
            Without a function, the settings ``operator_token`` and ``metrics_open`` count, as for ``greenroom serve``.

    Raises:
        ConfigError: An argument cannot be used.
    """
    function = checked_function(operator, "operator")
    router, whole = checked_place(api, path)
    allowed = allowed_by(app.settings) if function is None else partial(_judged, function)
    handler = metrics_route(lambda: server_of(app), allowed)
    router.add_route(whole, handler, methods=["GET"], name="greenroom-metrics", include_in_schema=False)


async def _judged(function: UserFunction, request: Request) -> Verdict:
    """Return whether the application's own function allows a request. Its other exceptions are raised unchanged."""
    try:
        found = await call_function(function, request)
    except NotAuthenticated as refused:
        return Verdict("", HTTPStatus.UNAUTHORIZED, str(refused))
    except Forbidden as refused:
        return Verdict("", HTTPStatus.FORBIDDEN, str(refused))
    return Verdict("dependency") if found else Verdict("", HTTPStatus.FORBIDDEN, "operators only")
