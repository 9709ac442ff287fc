"""Addresses of the pages: their URL, and their origins (scheme, host and port) as a browser names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def url_of(listeners: Sequence[socket.socket], host: str | None = None) -> str:
    """Return the URL of the pages on ``host``. If ``host`` is None, the URL has the address of the listeners.

    The URL without its last slash is the origin of the pages.
    """
    address, port = listeners[0].getsockname()[:2]
    name = host or address
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def own_origins(url: str) -> tuple[str, ...]:
    """Return the origins (scheme, host and port) that a browser can send for the pages at ``url``.

    A server on the loopback interface has several names, such as ``localhost``. For a browser, each name is another
    origin.
    """
    origin = url.rstrip("/")
    name, _, port = origin.removeprefix("http://").rpartition(":")
    if name in _LOOPBACK_NAMES or name == "0.0.0.0":  # noqa: S104 - compared, not listened on
        return (origin, *(f"http://{loopback}:{port}" for loopback in _LOOPBACK_NAMES))
    return (origin,)
