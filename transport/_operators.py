"""The check of operators: requests for the metrics and other pages that are not for clients (pure).

With the setting ``operator_token``, a request must have this token. Without it, only programs on the same machine are
answered, and only if nothing shows that the request came through a proxy, or from a page of another site.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from transport._loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROXIED = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
"""Header fields that proxies add. Names that begin with ``x-forwarded-`` count, too.

*A proxy on the same machine hands on the requests of strangers.*
"""

_ONLY_HERE = "only programs on this machine are answered, and not through a proxy, unless operator_token is set"


@attrs.frozen
class Caller:
    """The origin of a request: its addresses and its header fields."""

    client: str
    """The address of the client."""
    server: str
    """The address at which the client has reached this server."""
    headers: Mapping[str, str]
    """The header fields, with names in lower case."""

    @property
    def is_local(self) -> bool:
        """Whether a program on this machine has asked by a name of this machine."""
        addresses = (self.client, self.server)
        return all(map(is_own_address, addresses)) and is_own_host(self.headers.get("host", ""))

    @property
    def is_proxied(self) -> bool:
        """Whether a field of a proxy is among the header fields."""
        return any(name in _PROXIED or name.startswith("x-forwarded-") for name in self.headers)


@attrs.frozen
class Verdict:
    """The result of the check of one request."""

    who: str = ""
    """``token`` or ``loopback``, the reason why the request is answered. "" if it is refused."""
    status: int = HTTPStatus.OK
    """The HTTP status of a refusal."""
    reason: str = ""
    """The text of a refusal."""


class Operators:
    """The check of requests by the setting ``operator_token``.

    Args:
        token: The setting. None if only programs on this machine are operators.
        is_proxied: Whether the server is behind proxies (``forwarded_allow`` or ``proxy_protocol`` is set). Then the
            address of a client says nothing, and a token is always needed.
    """

    def __init__(self, token: str | None, *, is_proxied: bool = False) -> None:
        self._token = None if token is None else token.encode()
        self._is_proxied = is_proxied

    def is_token(self, given: str) -> bool:
        """Return whether ``given`` is the token, in a time that does not depend on the number of equal characters."""
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def check(self, caller: Caller) -> Verdict:
        """Return whether the request of ``caller`` is one of an operator."""
        if self._token is not None:
            authorization = caller.headers.get("authorization", "")
            scheme, _, given = authorization.partition(" ")
            if scheme.lower() == "bearer" and self.is_token(given.strip()):
                return Verdict("token")
            return Verdict("", HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer and the operator_token")
        if self._is_proxied or not caller.is_local or caller.is_proxied:
            return Verdict("", HTTPStatus.FORBIDDEN, _ONLY_HERE)
        return Verdict("loopback")


def is_own_address(address: str) -> bool:
    """Return whether an address is one of the loopback interface, also an IPv4 address that is written as IPv6."""
    return is_loopback(address.lower().removeprefix("::ffff:"))


def is_own_host(host: str) -> bool:
    """Return whether the field ``Host`` names this machine itself.

    *The name of a foreign page can be made to mean this machine (DNS rebinding), and the page then asks it.*
    """
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return is_own_address(name.strip("[]").lower())
