"""The path ``/health``: its answer shows that the server is alive, and how busy it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from transport.http._callbacks import call_or_500
from transport.http._headers import NEVER_STORED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from transport.app import Server


def health_of(server: Server) -> Mapping[str, object]:
    """Return the numbers of sessions in memory, of running runs and of connections."""
    sessions, endpoint = server.sessions.statistics(), server.endpoint.statistics()
    return {"sessions": sessions.sessions, "runs": sessions.runs.running, "connections": endpoint.connections}


def health_route(health: Callable[[], Mapping[str, object]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of ``/health``. Its JSON answer has ``status`` (``"ok"``) and the fields of ``health()``."""

    async def answer(_: Request) -> Response:
        return JSONResponse({"status": "ok", **call_or_500("health", health)}, headers=NEVER_STORED)

    return answer
