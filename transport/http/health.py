"""The paths ``/healthz`` and ``/readyz``: whether the process works, and whether it takes new clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from transport.protocol.health import HEADERS, HEALTHZ, READYZ, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from transport.protocol.health import Health


def health_routes(health: Callable[[], Health]) -> list[Route]:
    """Return the routes of ``/healthz`` and ``/readyz``, which answer from the result of ``health()``."""

    async def respond(request: Request) -> Response:
        status, body = answer(request.url.path, health())
        return Response(body, status, HEADERS)

    return [Route(path, respond) for path in (HEALTHZ, READYZ)]
