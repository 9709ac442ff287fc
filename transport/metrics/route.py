"""The path ``/metrics``, for Prometheus: a request of an operator is answered with the metrics of the server."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from starlette.responses import PlainTextResponse, Response

from transport._extras import ExtraMissing
from transport._loopback import is_loopback
from transport._operators import Caller, Operators, Verdict
from transport.metrics._families import Reading, server_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import HTTPConnection, Request

    from transport._running import Server
    from transport.settings import Settings

__all__ = ["METRICS", "allowed_by", "caller_of", "metrics_route", "operators_of", "refusal", "scraped", "server_of"]

METRICS = "/metrics"
"""The path on the port of the pages."""
_NEVER_STORED = {"Cache-Control": "no-store"}
_OPEN = Verdict("anyone")


def metrics_route(
    server: Callable[[], Server | None], allowed: Callable[[HTTPConnection], Verdict]
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of requests for the metrics.

    Args:
        server: Returns the running server, or None.
        allowed: Returns whether a request is answered.
    """

    async def metrics(request: Request) -> Response:
        verdict = allowed(request)
        if not verdict.who:
            return refusal(verdict)
        return await scraped(server(), request.headers.get("accept", ""))

    return metrics


def allowed_by(settings: Settings) -> Callable[[HTTPConnection], Verdict]:
    """Return the check of requests by the settings ``operator_token`` and ``metrics_open``."""
    operators = operators_of(settings)

    def allowed(connection: HTTPConnection) -> Verdict:
        return _OPEN if settings.metrics_open else operators.check(caller_of(connection))

    return allowed


def operators_of(settings: Settings) -> Operators:
    """Return the check of operators by the settings. A server that other machines can reach always needs a token."""
    is_proxied = bool(settings.forwarded_allow) or settings.proxy_protocol or not is_loopback(settings.host)
    return Operators(settings.operator_token, is_proxied=is_proxied)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return the origin of a request."""
    scope = connection.scope
    client, server = scope.get("client") or ("",), scope.get("server") or ("",)
    return Caller(str(client[0]), str(server[0]), connection.headers)


def refusal(verdict: Verdict) -> Response:
    """Return the response to a request that is refused."""
    headers = dict(_NEVER_STORED)
    if verdict.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="greenroom"'
    return PlainTextResponse(verdict.reason + "\n", verdict.status, headers)


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
