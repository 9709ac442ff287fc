"""Addresses of the pages: their URL, and their origins (scheme, host and port) as a browser names them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from transport.protocol.handshake import origin_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 - compared, not listened on


def url_of(listeners: Sequence[socket.socket], host: str | None = None, scheme: str = "http") -> str:
    """Return the URL of the pages on ``host``. If ``host`` is None, the URL has the address of the listeners.

    The URL without its last slash is the origin of the pages.
    """
    address, port = listeners[0].getsockname()[:2]
    name = host or address
    return f"{scheme}://[{name}]:{port}/" if ":" in name else f"{scheme}://{name}:{port}/"


def own_origins(url: str) -> tuple[str, ...]:
    """Return the origins (scheme, host and port) that a browser can send for the pages at ``url``.

    A server on the loopback interface has several names, such as ``localhost``. For a browser, each name is another
    origin. A server at every address of the machine has the name of the machine too. Its origin with the host
    ``0.0.0.0`` or ``[::]`` stands for its IP addresses (:class:`~transport.protocol.handshake.AllowedOrigins`).
    No other name is an own name, also if it means this machine: a foreign page can have such a name (DNS rebinding).
    """
    origin = url.rstrip("/")
    scheme, _, place = origin.partition("://")
    name, _, port = place.rpartition(":")
    names: tuple[str, ...] = ()
    if name in _LOOPBACK_NAMES:
        names = _LOOPBACK_NAMES
    elif name in _EVERY_ADDRESS:
        names = (*_LOOPBACK_NAMES, socket.gethostname())
    return (origin, *(f"{scheme}://{each}:{port}" for each in names))


def public_origins(public_url: str | None) -> tuple[str, ...]:
    """Return the origin of the pages that a proxy serves beside the endpoint, on the host of the setting."""
    origin = None if public_url is None else origin_beside(public_url)
    return () if origin is None else (origin,)
