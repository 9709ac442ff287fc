"""Places from which a JWKS comes: a file, or a URL. To load from them blocks, so they are called in a thread.

Needs the extra ``jwt``.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any
from urllib import request as requests
from urllib.error import HTTPError
from urllib.parse import urlsplit

from actors import ConfigError
from actors.failures import shown
from transport._loopback import is_loopback
from transport.auth._jwks import parse_jwks
from transport.auth._limits import FETCH_SECONDS, MAX_JWKS_BYTES
from transport.auth._timed_http import TimedHandler, TimedTlsHandler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transport.auth._keys import KeySet


class FileSource:
    """A file with a JWKS. It is read again only after it has changed."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        self._path = path
        self._algorithms = algorithms
        self._mark: object = None
        self._keys: KeySet | None = None

    def __call__(self) -> KeySet:
        """Return the keys in the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file has no usable key, or is not a plain file.
        """
        status = self._path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a plain file")  # to open a pipe would wait for its writer
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._keys is None or mark != self._mark:
            with self._path.open("rb") as file:
                self._keys = parse_jwks(file.read(MAX_JWKS_BYTES + 1), self._algorithms)
            self._mark = mark
        return self._keys


class UrlSource:
    """A URL with a JWKS.

    Redirects are not followed: *a redirect from https:// to http:// would let everybody on the way send keys of their
    own*. A proxy of the environment (``HTTPS_PROXY``) is used, except for loopback addresses.

    Raises:
        ConfigError: If the URL cannot be used.
    """

    def __init__(self, url: str, algorithms: Sequence[str]) -> None:
        self._request = requests.Request(_checked(url), headers={"Accept": "application/json"})  # noqa: S310 - checked
        self._algorithms = algorithms
        direct = [requests.ProxyHandler({})] if self._request.type == "http" else []
        self._opener = requests.build_opener(_NoRedirects, TimedHandler, TimedTlsHandler, *direct)

    def __call__(self) -> KeySet:
        """Return the keys at the URL.

        Raises:
            OSError: If the server does not take the connection, or send all of the answer, within
                :data:`FETCH_SECONDS`.
            ValueError: If the answer is an HTTP error, or has no usable key.
        """
        try:
            with self._opener.open(self._request, timeout=FETCH_SECONDS) as response:
                return parse_jwks(response.read(MAX_JWKS_BYTES + 1), self._algorithms)
        except HTTPError as error:
            error.close()
            raise ValueError(f"the answer is HTTP {error.code}") from None


class _NoRedirects(requests.HTTPRedirectHandler):
    """Makes each redirect an HTTP error."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Return None: no request follows."""


def _checked(url: str) -> str:
    """Return the URL. Raises ConfigError if it cannot be used."""
    try:
        scheme, place, *_ = parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        scheme, place, host = "", "", None
    if not host or scheme not in {"https", "http"} or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"jwks of TokenAuth must be the path of a file or an https:// URL, not {shown(url)}")
    if "@" in place:
        raise ConfigError("jwks of TokenAuth: a URL must not have a user or a password")
    if scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"jwks of TokenAuth: http:// is only for loopback addresses, not for {shown(host)}; use https://"
        )
    return url
