"""The answer to a request for a WebSocket, and a check of the order of a client's frames (pure)."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from transport.protocol.client_frames import BadFrame, ClientFrame, Hello, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

SUBPROTOCOL = "greenroom.v1"
SERVED = (SUBPROTOCOL,)
"""WebSocket subprotocols that the server accepts."""
PATH = "/"
"""URL path of the WebSocket endpoint."""
LARGEST_PORT = 65_535
"""The largest number of a TCP port."""
_START_OF_URI = re.compile(r"\Ahttps?://[^/?#]+/?", re.IGNORECASE)


@attrs.frozen
class Accept:
    """The decision to accept an upgrade to WebSocket.

    The answer names ``subprotocol``, unless the client offered none.
    """

    subprotocol: str | None


@attrs.frozen
class Reject:
    """The decision to refuse an upgrade to WebSocket, with the HTTP error ``status`` and the text ``body``."""

    status: int
    body: str


def plain_answer(refusal: Reject) -> bytes:
    """Return the HTTP answer to a refused request, as bytes that the caller sends itself.

    After these bytes the caller must close the connection.
    """
    body = refusal.body.encode() + b"\n"
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        "Connection: close",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def upgrade(
    *, path: str, offered: Sequence[str], origin: str | None, host: str, allowed: AllowedOrigins
) -> Accept | Reject:
    """Return the answer to a client's request for an upgrade from HTTP to WebSocket.

    A client that sends no Origin is not a browser, and is accepted: the check is only against foreign web pages. The
    user's token, not the origin, decides which sessions the user can read.

    Args:
        path: The path of the request, with the query.
        offered: The subprotocols that the client offers.
        origin: The header ``Origin``: the web page that asks. None if the client sent none.
        host: The header ``Host``: the address at which the client reached the endpoint.
        allowed: The origins of web pages that are allowed to connect.
    """
    if path_of(path) != PATH:
        return Reject(404, f"there is nothing at this path; the endpoint is {PATH}")
    if origin is not None and not allowed.allow(origin, host):
        return Reject(403, "this origin is not allowed")
    if not offered:
        return Accept(None)
    known = next((name for name in offered if name in SERVED), None)
    if known is None:
        return Reject(400, f"none of the offered subprotocols is served; served: {', '.join(SERVED)}")
    return Accept(known)


_SCHEME = r"[a-z][a-z0-9+.-]*"
_HOST = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"
_ORIGIN = re.compile(
    rf"(?P<scheme>{_SCHEME})://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/?", re.IGNORECASE | re.ASCII
)
_HOST_IN = re.compile(rf"(?:(?P<scheme>{_SCHEME})://)?(?P<host>(?:{_HOST})(?::[0-9]{{1,5}})?)(?:/.*)?", re.IGNORECASE)
_LOOPBACK = re.compile(r"(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "https://app.example.com"


def path_of(target: str) -> str:
    """Return the path in the target of a request: a path, or an absolute URI (RFC 9112, section 3.2.2)."""
    return path_and_query(target).partition("?")[0]


def path_and_query(target: str) -> str:
    """Return the target of a request without the scheme and host of an absolute URI. Other targets are unchanged."""
    return _START_OF_URI.sub("/", target, count=1)


def normal_origin(origin: str) -> str:
    """Return a web page's origin in a normal form, for comparison: lower case, no default port (RFC 6454, section 4).

    A value that is not an origin, such as ``null`` or a URL with a path, is returned unchanged: it equals no origin.
    """
    parts = _parts(origin.strip())
    if parts is None:
        return origin
    scheme, host, port = parts
    return f"{scheme}://{host}" + ("" if port in {None, _DEFAULT_PORTS.get(scheme)} else f":{port}")


def is_origin(text: str) -> bool:
    """Return whether ``text`` is a web page's origin that can be allowed: a scheme, a host and perhaps a port.

    One slash at the end is ignored. ``null`` cannot be allowed: browsers send ``null`` for every local file and for
    every sandboxed page, also of foreign sites.
    """
    return _parts(text) is not None


def _parts(text: str) -> tuple[str, str, int | None] | None:
    """Return the scheme, the host and the port of an origin. Return None if ``text`` is not an origin."""
    # A host outside ASCII never matches: browsers send such a host in its ASCII form, xn--…
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    host, port = found["host"].lower(), None if found["port"] is None else int(found["port"])
    if host.startswith("["):
        try:
            host = f"[{ipaddress.ip_address(host[1:-1])}]"
        except ValueError:
            return None
    return None if port is not None and port > LARGEST_PORT else (found["scheme"].lower(), host, port)


def origin_like(text: str) -> str:
    """Return the origin that a person probably means by ``text``, or an example if ``text`` is not similar to one."""
    found = _HOST_IN.fullmatch(text.strip())
    if found is None or text == "null":
        return _EXAMPLE
    scheme = found["scheme"] or ("http" if _LOOPBACK.fullmatch(found["host"]) else "https")
    origin = f"{scheme}://{found['host']}".lower()
    return origin if is_origin(origin) else _EXAMPLE


def origin_beside(url: str) -> str | None:
    """Return the origin of the pages that have the host of a WebSocket URL. Return None if it is no URL for clients.

    Such a URL is ``ws://`` or ``wss://``, a host that clients can reach, perhaps a port, and perhaps a path.
    """
    found = _ENDPOINT.fullmatch(url)
    origin = "" if found is None else f"http{found['secure']}://{found['place']}".lower()
    parts = _parts(origin)
    return None if parts is None or parts[1] in _EVERY_ADDRESS.values() else origin


_ENDPOINT = re.compile(
    r"ws(?P<secure>s?)://(?P<place>[^/?#]+)(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?", re.IGNORECASE | re.ASCII
)
_EVERY_ADDRESS = {4: "0.0.0.0", 6: "[::]"}  # noqa: S104 - compared with, never bound
_IN_URL = re.compile(
    r"\[(?P<v6>[0-9a-f:.]+)\](?P<v6_port>:[0-9]+)?|(?P<v4>[0-9.]+)(?P<v4_port>:[0-9]+)?", re.IGNORECASE
)


class AllowedOrigins:
    """The origins of web pages that are allowed to connect.

    An origin with the host ``0.0.0.0`` or ``[::]`` stands for the pages of a server that listens at every address of
    the machine. It allows a page whose host is an IP address, if the client reached the endpoint at this address too.
    *A name would not do: a foreign page's own name can be made to mean this machine (DNS rebinding), and an address of
    another machine is a foreign page.*

    Args:
        origins: The origins, in any form that :func:`is_origin` accepts.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._listed = frozenset(map(normal_origin, origins))

    def allow(self, origin: str, host: str) -> bool:
        """Return whether a page with this ``Origin`` header may connect to the endpoint at this ``Host`` header."""
        normal = normal_origin(origin)
        if normal in self._listed:
            return True
        scheme, _, page = normal.partition("://")
        address, port = _address_in(page)
        if address is None or address != _address_in(host)[0]:
            return False
        return f"{scheme}://{_EVERY_ADDRESS[address.version]}{port}" in self._listed


def _address_in(host: str) -> tuple[IPv4Address | IPv6Address | None, str]:
    """Return the IP address and the port (such as ``":80"``, or "") in the host part of a URL.

    The address is None if the host is a name.
    """
    if (found := _IN_URL.fullmatch(host)) is not None:
        with suppress(ValueError):
            return ipaddress.ip_address(found["v6"] or found["v4"]), found["v6_port"] or found["v4_port"] or ""
    return None, ""


class Conversation:
    """A check of the order of a client's frames: the first frame must be a hello, and a later hello is an error."""

    __slots__ = ("greeted",)

    def __init__(self) -> None:
        self.greeted = False
        """Whether the client's hello has arrived."""

    def receive(self, text: str) -> ClientFrame:
        """Return the client's next frame.

        Raise ``BadFrame`` if the frame is invalid, or is not allowed at this point.
        """
        frame = parse(text)
        if isinstance(frame, Hello) == self.greeted:
            raise BadFrame("a second hello" if self.greeted else "a frame before hello")
        self.greeted = True
        return frame


AFTER_HELLO = Conversation()
"""The check of all frames after the hello. All connections share it, since its state does not change any more."""
AFTER_HELLO.greeted = True
