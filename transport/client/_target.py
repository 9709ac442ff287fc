"""The server to which a URL leads."""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

import attrs

_PATH = re.compile(r"[\x21-\x7e]+")
"""Pattern of a URL path: printable ASCII, since a request line can hold nothing else."""


@attrs.frozen
class Target:
    """The server to which a ``ws:`` or ``wss:`` URL leads."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """Value of the HTTP ``Host`` header for this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.tls) else f"{host}:{self.port}"


def make_target(url: str, context: ssl.SSLContext | None) -> Target:
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
    return Target(host, port or _default_port(tls), path, tls)


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
