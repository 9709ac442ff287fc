"""The server to which a URL leads, and the byte stream to this server."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATH = re.compile(r"[\x21-\x7e]+")
"""Pattern of a URL path: printable ASCII, since a request line can hold nothing else."""

StreamFactory: TypeAlias = "Callable[[str, int, ssl.SSLContext | None], Awaitable[trio.abc.Stream]]"
"""A function that opens a byte stream to (host, port), with TLS if there is a context.

On failure the function raises ``OSError``.
"""


@attrs.frozen
class Target:
    """The server to which a ``ws:`` or ``wss:`` URL leads."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    open_stream: StreamFactory

    async def open(self) -> trio.abc.Stream:
        """Open a byte stream to this server."""
        return await self.open_stream(self.host, self.port, self.tls)

    @property
    def authority(self) -> str:
        """Value of the HTTP ``Host`` header for this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.tls) else f"{host}:{self.port}"


def make_target(url: str, context: ssl.SSLContext | None, open_stream: StreamFactory) -> Target:
    """Return the server to which ``url`` leads. ``context`` replaces the default TLS context for ``wss:``.

    Raise ``ValueError`` if the URL cannot be used.
    """
    try:
        parts = urlsplit(url)
        host, port = _checked_host(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {url!r} ({error})") from error
    if parts.scheme not in {"ws", "wss"} or not host or port == 0:
        raise ValueError(f"the URL must be ws://HOST… or wss://HOST…, not {url!r}")
    if parts.scheme == "ws" and context is not None:
        raise ValueError("an ssl_context needs a wss: URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise ValueError(f"the path of a URL is printable ASCII, the rest percent-encoded: {path!r}")
    tls = (context or ssl.create_default_context()) if parts.scheme == "wss" else None
    return Target(host, port or _default_port(tls), path, tls, open_stream)


def _checked_host(host: str) -> str:
    """Return ``host``. Raise ``ValueError`` for a name that no resolver accepts.

    Without this check, different wrong names would raise different exceptions.
    """
    if not all(character.isprintable() and character not in " /\\" for character in host):
        raise ValueError("a host has no spaces")
    host.encode("idna")  # raises UnicodeError, a ValueError, for a label that is too long or empty
    return host


def _default_port(tls: ssl.SSLContext | None) -> int:
    return 80 if tls is None else 443


async def open_tcp_stream(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a TCP stream. Do the TLS handshake before returning, so that a TLS error is reported as a TLS error."""
    if tls is None:
        return await trio.open_tcp_stream(host, port)
    # https_compatible: many servers end a TLS connection without its closing message, as HTTPS allows.
    stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream
