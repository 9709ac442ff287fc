"""The check of operators: requests for the metrics and other pages that are not for clients (pure).

With the setting ``operator_token``, a request must have this token, and each address has few attempts. Without it, only
programs on the same machine are answered, and only if nothing shows that the request came through a proxy, or from a
page of another site.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from transport._loopback import is_loopback
from transport.protocol.addresses import counted_as
from transport.protocol.limits import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import HTTPConnection

    from transport.settings import Settings

WRONG_TOKENS_PER_SECOND, WRONG_TOKENS_BURST = 1.0, 10
"""Number of wrong tokens that one address may send per second, on average, and at once. Then it has to wait."""
MAX_GUESSERS = 1_000
"""Number of addresses with counted wrong tokens. Beyond it the address with the oldest one is forgotten."""

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

    @classmethod
    def of(cls, connection: HTTPConnection) -> Caller:
        """Return the origin of a request."""
        client, server = connection.client, connection.scope.get("server") or ("",)
        return cls("" if client is None else client.host, str(server[0]), connection.headers)

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
    code: str = ""
    """The name of a refusal, for programs."""

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of a refusal."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": 'Bearer realm="greenroom"'}
        return {"Retry-After": "1"} if self.status == HTTPStatus.TOO_MANY_REQUESTS else {}


_NO_TOKEN = Verdict(
    "", HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer and the operator_token", code="not_logged_in"
)
_WRONG = Verdict(
    "",
    HTTPStatus.UNAUTHORIZED,
    "this is not the operator_token, or not sent as Authorization: Bearer",
    code="wrong_token",
)
_TOO_MANY = Verdict("", HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens: wait a second", code="too_many_attempts")
_ELSEWHERE = Verdict("", HTTPStatus.FORBIDDEN, _ONLY_HERE, code="off")


class Operators:
    """The check of requests by the setting ``operator_token``.

    Args:
        token: The setting. None if only programs on this machine are operators.
        is_reachable: Whether other machines can reach the server, or a proxy that is in front of it. Then the address
            of a client proves nothing, and a token is always needed.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, token: str | None, *, is_reachable: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._token = None if token is None else token.encode()
        self._is_reachable = is_reachable
        self._guessers = Guessers(clock)

    @classmethod
    def of(cls, settings: Settings) -> Operators:
        """Return the check of operators by the settings of a server."""
        is_proxied = bool(settings.forwarded_allow) or settings.proxy_protocol
        return cls(settings.operator_token, is_reachable=is_proxied or not is_loopback(settings.host))

    def check(self, caller: Caller) -> Verdict:
        """Return whether the request of ``caller`` is one of an operator."""
        if self._token is None:
            is_elsewhere = self._is_reachable or not caller.is_local or caller.is_proxied
            return _ELSEWHERE if is_elsewhere else Verdict("loopback")
        authorization = caller.headers.get("authorization")
        if authorization is None:
            return _NO_TOKEN
        scheme, _, given = authorization.partition(" ")
        return self.check_token(given.strip() if scheme.lower() == "bearer" else "", caller.client)

    def check_token(self, given: str, address: str) -> Verdict:
        """Return whether ``given`` is the token. A wrong one counts as an attempt of the address.

        The comparison takes a time that does not depend on the number of equal characters.
        """
        if not self._guessers.may_try(address):
            return _TOO_MANY
        if self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token):
            return Verdict("token")
        self._guessers.note(address)
        return _WRONG


class Guessers:
    """The addresses that have sent wrong tokens, and the number that each of them may still send.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of remembered addresses."""
        return len(self._buckets)

    def may_try(self, address: str) -> bool:
        """Return False if too many wrong tokens came from this address. The next token is then not looked at."""
        bucket = self._buckets.get(counted_as(address))
        return bucket is None or bucket.has(1, self._clock())

    def note(self, address: str) -> None:
        """Count a wrong token."""
        name, now = counted_as(address), self._clock()
        bucket = self._buckets.pop(name, None) or TokenBucket(WRONG_TOKENS_PER_SECOND, WRONG_TOKENS_BURST, now)
        bucket.take(now)
        self._buckets[name] = bucket
        while len(self._buckets) > MAX_GUESSERS:
            self._buckets.popitem(last=False)


def is_own_address(address: str) -> bool:
    """Return whether an address is one of the loopback interface, also an IPv4 address that is written as IPv6."""
    return is_loopback(address.lower().removeprefix("::ffff:"))


def is_own_host(host: str) -> bool:
    """Return whether the field ``Host`` names this machine itself.

    *The name of a foreign page can be made to mean this machine (DNS rebinding), and the page then asks it.*
    """
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return is_own_address(name.strip("[]").lower())
