"""The path ``/metrics``, for Prometheus: a request of an operator is answered with the metrics of the server."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from starlette.responses import PlainTextResponse, Response

from transport._extras import ExtraMissing
from transport._operators import Caller, Operators, Verdict
from transport.metrics._families import Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from transport._running import Server
    from transport.settings import Settings

METRICS = "/metrics"
"""The path on the port of the pages."""
_NEVER_STORED = {"Cache-Control": "no-store"}
_OPEN = Verdict("anyone")


def metrics_route(
    server: Callable[[], Server | None], allowed: Callable[[Request], Awaitable[Verdict]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of requests for the metrics.

    Args:
        server: Returns the running server, or None.
        allowed: Returns whether a request is answered.
    """

    async def metrics(request: Request) -> Response:
        verdict = await allowed(request)
        if not verdict.who:
            return PlainTextResponse(f"{verdict.reason}\n", verdict.status, {**_NEVER_STORED, **verdict.headers})
        return await scraped(server(), request.headers.get("accept", ""))

    return metrics


def allowed_by(settings: Settings) -> Callable[[Request], Awaitable[Verdict]]:
    """Return the check of requests by the settings ``operator_token`` and ``metrics_open``."""
    operators = Operators.of(settings)

    async def allowed(request: Request) -> Verdict:
        return _OPEN if settings.metrics_open else operators.check(Caller.of(request))

    return allowed


async def scraped(server: Server | None, accept: str) -> Response:
    """Return the metrics of a server as a response, in the format that ``accept`` asks for.

    The metrics are those of one moment. Their text is made in steps of a few milliseconds, between which other tasks
    run. *The text of many tools at once would hold up every client.*
    """
    if server is None:
        return PlainTextResponse("the app is not running\n", HTTPStatus.SERVICE_UNAVAILABLE, _NEVER_STORED)
    try:
        collector: Any = import_module("transport.metrics.collector")
    except ExtraMissing as missing:
        return PlainTextResponse(f"{missing}\n", HTTPStatus.NOT_IMPLEMENTED, _NEVER_STORED)
    scrape, parts = collector.Scrape(Reading.of(server), accept), list[bytes]()
    for part in scrape.parts():
        parts.append(part)
        await checkpoint()
    return Response(b"".join(parts), headers={**_NEVER_STORED, "Content-Type": scrape.content_type})
