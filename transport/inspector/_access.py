"""The access of operators: the decision about each request, before anything is read from the server.

A function of the web application decides, if there is one; else the token, or the cookie of a login with it. Without
``operator_token``, only programs and browsers on this machine are served.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
from starlette.exceptions import HTTPException

from transport._operators import Caller, Operators, Verdict
from transport.errors import Forbidden, NotAuthenticated
from transport.inspector._answers import Refused
from transport.inspector._cookies import Cookies, cookie_name
from transport.protocol.handshake import is_origin, normal_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import HTTPConnection

    from transport.settings import Settings

OperatorFunction: TypeAlias = "Callable[[HTTPConnection], Awaitable[str]]"
"""Returns the name of the operator of a request, or raises a refusal. It runs in the library of the web server."""

_LOG_IN_THERE = "log_in_to_application"
"""The code of a request that the web application's function does not know. The page has no login for it."""
_FOREIGN = "this request comes from a page of another site"
PAGE_HEADER = "x-requested-with"
"""The header that each request with an effect must have. A page of another site cannot add it without being allowed."""


@attrs.frozen
class Operator:
    """The operator of one request."""

    name: str
    """The name in the audit log: ``token``, ``loopback``, or the name that the web application has for the operator."""
    by: Literal["token", "loopback", "host"]
    """The reason why the request is served."""
    address: str
    """The address of the client."""
    cookie: str = attrs.field(default="", repr=False)
    """The cookie by which the operator is logged in. "" for a program."""


class Access:
    """The check of all requests to one inspector.

    Args:
        settings: The settings ``operator_token``, ``forwarded_allow`` and ``proxy_protocol``.
        function: The function of the web application that finds the operator. None if there is none.
    """

    def __init__(self, settings: Settings, function: OperatorFunction | None) -> None:
        self._token = settings.operator_token
        self._operators = Operators.of(settings)
        self._cookies = Cookies(self._token or "")
        self._function = function

    @property
    def has_login(self) -> bool:
        """Whether operators log in here, with the token."""
        return self._function is None and self._token is not None

    async def operator(self, connection: HTTPConnection) -> Operator:
        """Return the operator of a request.

        Raises:
            Refused: The request is not one of an operator.
        """
        address = address_of(connection)
        if self._function is not None:
            return Operator(await _found(self._function, connection), "host", address)
        cookie = connection.cookies.get(cookie_name(connection), "") if self._token is not None else ""
        if cookie and self._cookies.accepts(cookie, time.time()):
            return Operator("token", "token", address, cookie)
        return self._by_header(connection, address)

    def _by_header(self, connection: HTTPConnection, address: str) -> Operator:
        verdict = _allowed(self._operators.check(Caller.of(connection)))
        return Operator(verdict.who, "token" if verdict.who == "token" else "loopback", address)

    def require_page(self, connection: HTTPConnection) -> None:
        """Raise ``Refused`` unless the files of the page may be sent. They have no data, so they need no login."""
        if self._function is None and self._token is None:
            self._by_header(connection, address_of(connection))

    def log_in(self, connection: HTTPConnection, token: str) -> str:
        """Return the value of a new cookie, for a browser in which an operator has written the token.

        Raises:
            Refused: The token is wrong, or too many were.
        """
        _allowed(self._operators.check_token(token, address_of(connection)))
        return self._cookies.make(time.time())

    def log_out(self, operator: Operator) -> None:
        """Accept the operator's cookie no more."""
        if operator.cookie:
            self._cookies.end(operator.cookie)


def require_same_site(connection: HTTPConnection) -> None:
    """Raise ``Refused`` if a page of another site may have sent a request that has an effect."""
    headers = connection.headers
    origin, host = headers.get("origin"), headers.get("host", "")
    # With the scheme of the page: behind a proxy that is not known to the server, its own scheme can be another one.
    own = normal_origin(f"{(origin or '').partition(':')[0]}://{host}")
    require_own_reader(connection)
    if origin is not None and (not is_origin(own) or normal_origin(origin) != own):
        raise Refused(403, "cross_site", _FOREIGN)
    if PAGE_HEADER not in headers:
        raise Refused(403, "cross_site", "send the header X-Requested-With, with any value")


def require_own_reader(connection: HTTPConnection) -> None:
    """Raise ``Refused`` if a browser says that a page of another site has sent a request.

    *Such a page cannot read the answer, but it could let so many requests wait that operators would have to.*
    """
    if connection.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Refused(403, "cross_site", _FOREIGN)


def address_of(connection: HTTPConnection) -> str:
    """Return the address of the client, as the server knows it. "" if it is not known."""
    return "" if connection.client is None else connection.client.host


def _allowed(verdict: Verdict) -> Verdict:
    """Return a verdict that allows a request. Raise ``Refused`` for another one."""
    if verdict.who:
        return verdict
    headers = {name.replace("-", "_"): value for name, value in verdict.headers.items()}
    raise Refused(verdict.status, verdict.code, verdict.reason, **headers)


async def _found(function: OperatorFunction, connection: HTTPConnection) -> str:
    try:
        return await function(connection)
    except HTTPException as error:
        code = _LOG_IN_THERE if error.status_code == 401 else "forbidden"  # noqa: PLR2004 - HTTP's own numbers
        raise Refused(error.status_code, code, str(error.detail)) from None
    except NotAuthenticated as error:
        raise Refused(401, _LOG_IN_THERE, str(error) or "log in to the application") from None
    except Forbidden as error:
        raise Refused(403, "forbidden", str(error) or "not an operator") from None
