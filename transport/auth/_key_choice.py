"""The keys of a TokenAuth: given ones, or ones that are loaded from a file or a URL. Needs the extra ``jwt``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from actors import ConfigError
from actors.failures import describe, shown
from transport.auth._key_cache import KeyCache, Pace
from transport.auth._key_sources import FileSource, UrlSource
from transport.auth._keys import PUBLIC_KEY_ALGORITHMS, checked_algorithms, given_keys
from transport.auth._limits import FILE_SECONDS, MIN_KEY_BYTES, REFETCH_SECONDS
from transport.auth._tokens import read_header, refusals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transport.auth._keys import Key, KeySet


class GivenKeys:
    """Keys that were given as they are."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def first(self) -> Key:
        """Return the first key."""
        return self._keys.keys[0]

    def find(self, token: str) -> Key:
        """Return the key that fits ``token``. Raises NotAuthenticated if there is none."""
        with refusals():
            header = read_header(token)
            return self._keys.find(header.kid, header.algorithm)

    async def find_or_wait(self, token: str) -> Key:
        """Return the same as :meth:`find`."""
        return self.find(token)


class LoadedKeys:
    """Keys that are loaded from a file or a URL."""

    def __init__(self, cache: KeyCache) -> None:
        self._cache = cache

    def first(self) -> Key:
        """Raise ConfigError: the keys are public."""
        raise ConfigError("a TokenAuth with jwks cannot issue tokens; the issuer of the tokens has the private keys")

    def find(self, token: str) -> Key:
        """Raise ConfigError: only an async function can wait for the keys."""
        del token
        raise ConfigError("user() of a TokenAuth with jwks cannot wait for its keys; use: await auth(credentials)")

    async def find_or_wait(self, token: str) -> Key:
        """Return the key that fits ``token``. Raises as :meth:`KeyCache.find` does, or NotAuthenticated."""
        with refusals():
            header = read_header(token)
            return await self._cache.find(header.kid, header.algorithm)


def chosen(
    key: str | bytes | Mapping[str, str | bytes] | None,
    jwks: str | os.PathLike[str] | None,
    algorithms: Sequence[str] | None,
    jwks_seconds: float,
) -> GivenKeys | LoadedKeys:
    """Return the keys for the arguments of TokenAuth. Raises ConfigError for an argument that cannot be used."""
    if (key is None) is (jwks is None):
        raise ConfigError("key or jwks of TokenAuth must be given, and not both")
    if key is not None:
        return GivenKeys(given_keys(key, checked_algorithms(("HS256",) if algorithms is None else algorithms)))
    accepted = checked_algorithms(PUBLIC_KEY_ALGORITHMS if algorithms is None else algorithms)
    if not isinstance(jwks_seconds, (int, float)) or not 0 < jwks_seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"jwks_seconds of TokenAuth must be a finite number above 0, not {shown(jwks_seconds)}")
    if isinstance(jwks, str) and "://" in jwks:
        return LoadedKeys(_at_url(jwks, accepted, jwks_seconds))
    if isinstance(jwks, (str, os.PathLike)):
        return LoadedKeys(_in_file(Path(jwks).absolute(), accepted))
    raise ConfigError(f"jwks of TokenAuth must be the path of a file or an https:// URL, not {shown(jwks)}")


def _at_url(url: str, algorithms: tuple[str, ...], seconds: float) -> KeyCache:
    if secret := set(algorithms) & set(MIN_KEY_BYTES):
        raise ConfigError(
            f"algorithms of TokenAuth: {min(secret)} needs a shared secret, and a URL is no place for secrets"
        )
    return KeyCache(url.partition("?")[0], UrlSource(url, algorithms), Pace(seconds, REFETCH_SECONDS))


def _in_file(path: Path, algorithms: tuple[str, ...]) -> KeyCache:
    source = FileSource(path, algorithms)
    try:
        keys = source()
    except (OSError, ValueError) as error:
        raise ConfigError(f"jwks of TokenAuth: {shown(str(path))}: {describe(error)}") from None
    return KeyCache(str(path), source, Pace(FILE_SECONDS, 0), keys)
