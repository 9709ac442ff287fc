"""Places from which a JWKS comes: a file, or a URL. To load from them blocks, so they are called in a thread.

Needs the extra ``jwt``.
"""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib import request as requests
from urllib.error import HTTPError
from urllib.parse import urlsplit

from actors import ConfigError
from actors.failures import shown
from transport._loopback import is_loopback
from transport.auth._jwks import parse_jwks
from transport.auth._limits import FETCH_SECONDS, MAX_JWKS_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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
        self._opener = requests.build_opener(_NoRedirects, *direct)

    def __call__(self) -> KeySet:
        """Return the keys at the URL.

        Raises:
            OSError: If the URL cannot be fetched within :data:`FETCH_SECONDS`.
            ValueError: If the answer is an HTTP error, or has no usable key.
        """
        end = time.monotonic() + FETCH_SECONDS
        try:
            with self._opener.open(self._request, timeout=FETCH_SECONDS) as response:
                return parse_jwks(read_body(response, end), self._algorithms)
        except HTTPError as error:
            error.close()
            raise ValueError(f"the answer is HTTP {error.code}") from None


class Readable(Protocol):
    """An HTTP response, of which the next part can be read."""

    def read1(self, size: int, /) -> bytes:
        """Return the next part, of at most ``size`` bytes. Return no bytes at the end."""
        ...


def read_body(response: Readable, end: float, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Return the body of an HTTP response, but not much more than :data:`MAX_JWKS_BYTES`.

    Raises TimeoutError once the clock is beyond ``end``.
    """
    body = bytearray()
    while len(body) <= MAX_JWKS_BYTES and (part := response.read1(MAX_JWKS_BYTES)):
        body += part
        if clock() > end:  # the time limit of the socket begins anew with each part
            raise TimeoutError(f"no complete answer within {FETCH_SECONDS:g} s")
    return bytes(body)


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
