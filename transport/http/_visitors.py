"""Visitors: each browser is a separate user, known by a cookie.

The cookie holds a signed token for a long time, and scripts cannot read it. ``/token`` returns a token for a short
time, for the hello of the WebSocket. The cookie is ``SameSite=Strict`` and only ``/token``, which only the page asks
for, sets it: *a request that comes by a link from another site has no cookie, and when each response set a cookie, a
request by a link replaced the visitor by a new visitor*.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, cast

from starlette.responses import JSONResponse, Response

from transport.http._callbacks import call_or_500
from transport.http._headers import NEVER_STORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

# The page asks for a new token whenever it connects again, so a token need not live long. The cookie is set anew
# with each token, so a visitor who comes back within this time stays the same user.
TOKEN_SECONDS = 600.0
VISITOR_SECONDS = 90 * 86_400.0


class Visitors:
    """The part of the pages that makes each browser a separate user, with a cookie and with tokens."""

    def __init__(self, issue_token: Callable[[str, float], str], read_token: Callable[[str], str | None]) -> None:
        self._issue = issue_token
        self._read = read_token

    def admit(self, request: Request) -> Response:
        """Answer with a fresh token for the browser's user. A browser without a valid cookie becomes a new user."""
        cookie = f"greenroom_{request.url.port or request.url.scheme}"  # cookies do not keep the ports of a host apart
        known = request.cookies.get(cookie)
        user = (call_or_500("read_token", self._read, known) if known else None) or f"visitor-{secrets.token_hex(8)}"
        response = JSONResponse({"token": self._token(user, TOKEN_SECONDS)}, headers=NEVER_STORED)
        response.set_cookie(
            cookie,
            self._token(user, VISITOR_SECONDS),
            max_age=int(VISITOR_SECONDS),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def _token(self, user: str, seconds: float) -> str:
        return cast("str", call_or_500("issue_token", self._issue, user, seconds))
