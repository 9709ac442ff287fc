"""The request for a WebSocket in an ASGI scope, in the form in which the endpoint judges requests."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from transport._loopback import is_loopback
from transport.protocol.handshake import PATH, is_origin, normal_origin
from transport.server._wire import UpgradeRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.types import Message, Scope

    from transport.asgi.tasks import Tasks
    from transport.auth import User
    from transport.protocol.handshake import Reject

# The web server has read these headers, if it trusts the proxy in front of it. The endpoint must not read them again.
_READ_BY_SERVER = {"forwarded", "x-forwarded-for"}
_DENIAL = "websocket.http.response"


class UserOfRequest(Protocol):
    """The user of one request, found by the web application."""

    async def find(self, scope: Scope) -> None:
        """Find the user, in the web server's library."""

    async def get(self) -> User:
        """Wait for the user, in trio. Raise the refusal if the request has no user."""
        ...


class RequestHeaders(dict[str, str]):
    """The headers of a request, with the way to its user."""

    __slots__ = ("user",)

    user: UserOfRequest | None
    """The user, if the web application has a function that finds it. None if the app's own ``auth`` counts."""


class MountedRequest:
    """A request for a WebSocket at a path of a web application.

    Args:
        scope: The ASGI scope of the call.
        user: The user of the request, if the application has a function for that; else None.
        strict: Whether the endpoint knows no users, or is on the server's own port. Then a page on the same host
            counts as own only if the host is this machine itself. *A foreign page's own name can be made to mean this
            machine (DNS rebinding).*
    """

    __slots__ = ("_origin_is_own", "_strict", "_user", "address", "fields", "scope")

    def __init__(self, scope: Scope, user: UserOfRequest | None, *, strict: bool) -> None:
        self.scope = scope
        self._user = user
        self.address = str((scope.get("client") or ("",))[0])
        """The network address of the client, as the web server knows it. Empty if it is not known."""
        self.fields = tuple(_decoded(scope["headers"]))
        """The header fields in their order, with names in lower case."""
        self._strict = strict
        self._origin_is_own = _is_own(scope, dict(self.fields), strict=strict)

    @property
    def asked(self) -> UpgradeRequest:
        """The request, without its parts that the web server or the mount has judged: path, proxies, own pages."""
        judged = _READ_BY_SERVER | ({"origin"} if self._origin_is_own else set[str]())
        offered = tuple(self.scope.get("subprotocols") or ())
        return UpgradeRequest(PATH, offered, tuple(field for field in self.fields if field[0] not in judged))

    @property
    def headers(self) -> RequestHeaders:
        """All headers of the request. They lead to its user."""
        headers = RequestHeaders(self.fields)
        headers.user = self._user
        return headers

    def from_own_page(self) -> MountedRequest:
        """Return the request with the ``Origin`` of a page at the same scheme, host and port.

        A call that has come by no network, such as that of a test client, is returned as it is.
        """
        if not _has_network(self.scope):
            return self
        origin = f"{_scheme(self.scope)}://{dict(self.fields).get('host', '')}".encode("latin-1")
        scope = {**self.scope, "headers": [*self.scope["headers"], (b"origin", origin)]}
        return MountedRequest(scope, self._user, strict=self._strict)

    def on_accepted(self, tasks: Tasks) -> None:
        """Start to find the user, since the request was accepted. A refused request costs the application nothing."""
        if self._user is not None:
            tasks.start(self._user.find, self.scope)

    def refusal(self, answer: Reject) -> Iterator[Message]:
        """Yield the ASGI messages that refuse the request: with an HTTP status, if the server can send one."""
        if _DENIAL not in (self.scope.get("extensions") or ()):
            yield {"type": "websocket.close"}
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        yield {"type": f"{_DENIAL}.start", "status": answer.status, "headers": headers}
        yield {"type": f"{_DENIAL}.body", "body": answer.body.encode() + b"\n"}


def is_reachable(scope: Scope) -> bool:
    """Return whether other machines can perhaps reach the address at which the client has reached the web server."""
    server = str((scope.get("server") or ("",))[0])
    with suppress(ValueError):  # the path of a socket, or the name that a test client makes up
        return not ipaddress.ip_address(server).is_loopback
    return False


def _has_network(scope: Scope) -> bool:
    """Return whether the web server has got the request at a network address."""
    with suppress(ValueError):
        return bool(ipaddress.ip_address(str((scope.get("server") or ("",))[0])))
    return False


def _scheme(scope: Mapping[str, Any]) -> str:
    return "https" if scope.get("scheme") in {"wss", "https"} else "http"


def _is_own(scope: Mapping[str, Any], headers: Mapping[str, str], *, strict: bool) -> bool:
    """Return whether the page that asks is from the same scheme, host and port as its request goes to."""
    host = headers.get("host", "")
    own = normal_origin(f"{_scheme(scope)}://{host}")
    if not is_origin(own) or normal_origin(headers.get("origin", "")) != own:
        return False
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return not strict or is_loopback(name.strip("[]").lower())


def _decoded(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")
