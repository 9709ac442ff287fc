"""The headers of the pages: they limit the content that a browser loads, runs and keeps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NEVER_STORED = {"Cache-Control": "no-store"}
"""The header of responses that must not be cached: such responses are valid for one browser or one moment only."""

_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, never bound
_HOST_NAME = re.compile(r"[A-Za-z0-9.:-]+")
"""The form of a host that is safe to copy into a header. A host with ``;`` could change the security policy."""

# No frame of another page may show a page: that page could lead its user to click where the user cannot see.
_NO_FRAMES = "frame-ancestors 'none'; object-src 'none'"
_NO_FORMS = "base-uri 'none'; form-action 'none'"


class SecurityHeaders:
    """ASGI middleware that adds security headers to every response of an application.

    With these headers the browser shows no page in a frame of another page. The browser also loads and runs only files
    of this site, and connects only to this site and its WebSocket. The rule about files and connections is left out for
    the application's own pages, which can set their own policy in a ``<meta>`` element.

    Args:
        app: The application. Its responses get the headers.
        ws_url: The address of the WebSocket endpoint.
        own: Whether the pages are the application's own.
    """

    def __init__(self, app: ASGIApp, ws_url: str, *, own: bool = False) -> None:
        self._app = app
        self._ws_url = ws_url
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped application, and add the security headers to its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), Request(scope).url.hostname)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _add(self, headers: MutableHeaders, host: str | None) -> None:
        policy = _NO_FRAMES if self._own else self._policy(host)
        headers.setdefault("Content-Security-Policy", policy)  # the inspector has a stricter one
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Cache-Control", "no-cache")  # the browser asks again each time; the ETag saves the body

    def _policy(self, host: str | None) -> str:
        parts = urlsplit(ws_url_seen_from(host, self._ws_url))
        return f"default-src 'self'; connect-src 'self' {parts.scheme}://{parts.netloc}; {_NO_FORMS}; {_NO_FRAMES}"


def ws_url_seen_from(host: str | None, ws_url: str) -> str:
    """Return ``ws_url`` with a host that a browser can reach.

    A URL with a host such as ``0.0.0.0`` (the server listens on every address) gets ``host`` instead: the name by which
    the browser reached the page. Any other URL is returned unchanged.
    """
    parts = urlsplit(ws_url)
    if parts.hostname not in _WILDCARDS or not _HOST_NAME.fullmatch(host or ""):
        return ws_url
    name = f"[{host}]" if host and ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{name}:{parts.port}"))
