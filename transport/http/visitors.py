"""Visitors: each browser is a separate user, known by a cookie.

The cookie holds a signed token for a long time, and scripts cannot read it. ``/token`` returns another kind of token
for a short time, for the hello of the WebSocket. Only ``/token`` sets the cookie, and ``/token`` answers only the page
itself: *the cookie is* ``SameSite=Strict``, *so a link, a form or an image of another site sent a request without it,
and the response replaced the visitor by a new visitor*. A page whose own name was made to mean this machine (DNS
rebinding) gets no token either: it could read by HTTP, since a browser's GET of its own host has no ``Origin``.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, PlainTextResponse, Response

from transport.auth import TokenAuth
from transport.errors import NotAuthenticated
from transport.http._headers import NEVER_STORED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

# The page asks for a new token whenever it connects again, so a token need not live long. The cookie is set anew
# with each token, so a visitor who comes back within this time stays the same user.
TOKEN_SECONDS = 600.0
VISITOR_SECONDS = 90 * 86_400.0

PAGE_HEADER = "X-Requested-With"
"""The header that a request for a token must have, with any value."""
_HOW_TO_ASK = f"ask for a token from a page of this server: POST with the header {PAGE_HEADER}: greenroom\n"
_FOREIGN = "this origin is not allowed\n"


class VisitorTokens:
    """The tokens of visitors: a short one for the hello of a connection, and a long one for the cookie.

    The two kinds have different audiences (claim ``aud``), so that neither is accepted in place of the other. *Scripts
    can read the token for the hello. Put into the cookie, it would become a token for months.*

    Args:
        key: The secret that signs the tokens. It must be as :class:`~transport.TokenAuth` requires.
    """

    def __init__(self, key: str) -> None:
        self.auth = TokenAuth(key, audience="greenroom hello")
        """The auth function of the endpoint. It accepts the tokens for the hello only."""
        self._cookies = TokenAuth(key, audience="greenroom cookie")

    def for_hello(self, user: str) -> str:
        """Return a new token for the hello of a connection. It is valid for ``TOKEN_SECONDS``."""
        return self.auth.issue(user, TOKEN_SECONDS)

    def for_cookie(self, user: str) -> str:
        """Return a new token for the cookie. It is valid for ``VISITOR_SECONDS``."""
        return self._cookies.issue(user, VISITOR_SECONDS)

    def user(self, cookie: str) -> str | None:
        """Return the user of a cookie. Return None if its token is of the other kind, too old or wrong."""
        try:
            return self._cookies.user(cookie).id
        except NotAuthenticated:
            return None


class Visitors:
    """The part of the pages that makes each browser a separate user, with a cookie and with tokens."""

    def __init__(self, tokens: VisitorTokens) -> None:
        self._tokens = tokens

    def admit(self, request: Request) -> Response:
        """Answer with a fresh token for the browser's user. A browser without a valid cookie becomes a new user."""
        cookie = f"greenroom_{request.url.port or request.url.scheme}"  # cookies do not keep the ports of a host apart
        known = request.cookies.get(cookie)
        user = (self._tokens.user(known) if known else None) or f"visitor-{secrets.token_hex(8)}"
        response = JSONResponse({"token": self._tokens.for_hello(user)}, headers=NEVER_STORED)
        response.set_cookie(
            cookie,
            self._tokens.for_cookie(user),
            max_age=int(VISITOR_SECONDS),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response


def refusal_of(request: Request, allow_page: Callable[[Mapping[str, str]], bool]) -> Response | None:
    """Return the response that refuses a request for a token. Return None if a page of this server sent the request.

    ``allow_page`` returns whether the origin in the headers of a request is one of the allowed origins.

    A page of another site cannot add a header of its own, unless this server allows it by CORS, which it never does.
    Browsers also say in ``Sec-Fetch-Site`` which site a request comes from. Programs that are no browser do not.
    """
    if request.method != "POST":
        return PlainTextResponse(_HOW_TO_ASK, HTTPStatus.METHOD_NOT_ALLOWED, headers={**NEVER_STORED, "Allow": "POST"})
    if not allow_page(request.headers):
        return PlainTextResponse(_FOREIGN, HTTPStatus.FORBIDDEN, headers=NEVER_STORED)
    if PAGE_HEADER in request.headers and request.headers.get("sec-fetch-site", "same-origin") == "same-origin":
        return None
    return PlainTextResponse(_HOW_TO_ASK, HTTPStatus.FORBIDDEN, headers=NEVER_STORED)
