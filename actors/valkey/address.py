"""Addresses of Valkey servers, as URLs. Pure: it needs no client library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from actors.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 6379

_SCHEMES: Mapping[str, tuple[bool, bool]] = {
    "valkey": (False, False),
    "valkeys": (True, False),
    "valkey+unix": (False, False),
    "valkey+cluster": (False, True),
    "valkeys+cluster": (True, True),
}
"""For each scheme: whether connections use TLS, and whether the server is a part of a Valkey Cluster."""

FORMS = (
    "valkey://HOST:PORT, valkeys://HOST:PORT, valkey+unix:///PATH, valkey+cluster://HOST:PORT "
    "or valkeys+cluster://HOST:PORT"
)


@attrs.frozen
class Address:
    """The address of a Valkey server: a host and port, or the path of a socket, and the credentials for it."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""
    """Path of the server's Unix socket. If it is empty, the host and port count."""
    user: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)
    database: int = 0
    tls: bool = False
    cluster: bool = False
    """Whether this is one server of a Valkey Cluster, from which the other servers are found."""

    def __str__(self) -> str:
        """Return the address without its credentials, for messages."""
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_valkey(url: str) -> bool:
    """Return whether the URL of a log has a scheme of a Valkey server."""
    scheme, colon, _ = url.partition(":")
    return bool(colon) and scheme in _SCHEMES


def parse_address(url: str) -> Address:
    """Return the address that a URL describes.

    The user and the password are percent-encoded in the URL: ``valkey://user:password@host:6379/0``. Only a password:
    ``valkey://:password@host``. The path is the number of the database, except for ``valkey+unix://``, whose path is
    the path of the socket.

    Raises:
        ConfigError: The URL is no address of a Valkey server. The message does not show the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(url, str(error)) from None
    if parts.scheme not in _SCHEMES:
        raise _wrong(url, "the scheme is unknown")
    if parts.query or parts.fragment:
        raise _wrong(url, "nothing can follow ? or #")
    tls, cluster = _SCHEMES[parts.scheme]
    place = _socket(url, parts) if parts.scheme == "valkey+unix" else _host(url, parts, port)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return attrs.evolve(place, user=user, password=password, tls=tls, cluster=cluster)


def _socket(url: str, parts: SplitResult) -> Address:
    if parts.hostname or not parts.path.startswith("/"):
        raise _wrong(url, "give the absolute path of the socket after three slashes")
    return Address(path=unquote(parts.path))


def _host(url: str, parts: SplitResult, port: int | None) -> Address:
    if not parts.hostname:
        raise _wrong(url, "the host is missing")
    database = parts.path.removeprefix("/")
    if not re.fullmatch(r"[0-9]{0,5}", database):
        raise _wrong(url, "the path must be the number of a database")
    if int(database or 0) and _SCHEMES[parts.scheme][1]:
        raise _wrong(url, "a cluster has only database 0")
    return Address(parts.hostname, DEFAULT_PORT if port is None else port, database=int(database or 0))


def without_password(url: str) -> str:
    """Return the URL of a log with its user and password replaced by ``***``, for messages."""
    if not url.startswith("valkey"):
        return url
    return re.sub(r"//.*@", "//***@", url, count=1)


def _wrong(url: str, reason: str) -> ConfigError:
    return ConfigError(f"log {without_password(url)!r}: {reason}: give {FORMS}")
