"""Keys that check signatures. Each key is bound to its algorithms and cannot be used with any other.

*A server accepted RS256 and HS256 with one public key. With that key as the shared secret, every person who knew the
public key could sign tokens (RFC 8725, section 2.1).* Needs the extra ``jwt``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import jwt
from jwt.algorithms import requires_cryptography

from actors import ConfigError
from actors.failures import shown
from transport.auth._limits import MAX_KID, MIN_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HOW_TO_MAKE_A_KEY = "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
PUBLIC_KEY_ALGORITHMS = tuple(sorted(requires_cryptography))
"""The algorithms with a pair of keys: a private key that signs, and a public key that checks."""

_JWS = jwt.PyJWS()
_NAME = "key of TokenAuth"


class BadToken(ValueError):
    """A fault of a token. The text is the reason that the client gets, and it does not quote the token."""


class UnknownKid(BadToken):
    """No key has the ``kid`` of the token."""


@attrs.frozen
class Key:
    """A key, with the only algorithms for which it is used."""

    material: Any = attrs.field(repr=False)
    """The bytes of a shared secret, or a key object of the package ``cryptography``."""
    algorithms: tuple[str, ...]
    id: str | None = None
    """The ``kid`` of the key. None if the key has no id."""

    @property
    def can_sign(self) -> bool:
        """Whether the key can sign tokens: a public key cannot."""
        return isinstance(self.material, bytes) or hasattr(self.material, "sign")


class KeySet:
    """Keys of which a token names one by its ``kid``."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._by_id: defaultdict[str | None, list[Key]] = defaultdict(list)
        for key in self.keys:
            self._by_id[key.id].append(key)

    def find(self, kid: str | None, algorithm: str) -> Key:
        """Return the only key that fits a token.

        A key fits if its algorithms contain the token's, and if it has the token's ``kid``. If one of key and token has
        no ``kid``, the algorithm decides. If several keys fit, none is tried: *otherwise each wrong token would cost as
        many checks as there are keys.*

        Raises:
            UnknownKid: No key has this ``kid``.
            BadToken: No key fits, or several keys fit.
        """
        named = self.keys if kid is None else (*self._by_id.get(kid, ()), *self._by_id.get(None, ()))
        if not named:
            raise UnknownKid("no key has its key id (kid)")
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting:
            raise BadToken("its algorithm is not accepted")
        if len(fitting) > 1:
            raise BadToken("several keys fit, and its key id (kid) must name one of them")
        return fitting[0]


def checked_algorithms(algorithms: Sequence[str]) -> tuple[str, ...]:
    """Return the names of algorithms. Raises ConfigError if a name is unknown, or needs a package that is missing."""
    known = set(_JWS.get_algorithms()) - {"none"}
    if isinstance(algorithms, str) or not algorithms or not all(isinstance(each, str) for each in algorithms):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"algorithms of TokenAuth must be a list of names, not {shown(algorithms)}")
    for algorithm in algorithms:
        if algorithm not in known:
            if algorithm in requires_cryptography:
                raise ConfigError(f"algorithms of TokenAuth: {algorithm} needs a package: pip install cryptography")
            names = ", ".join(sorted(known))
            raise ConfigError(f"algorithms of TokenAuth must be among {names}, not {shown(algorithm)}")
    return tuple(algorithms)


def given_keys(given: str | bytes | Mapping[str, str | bytes], algorithms: Sequence[str]) -> KeySet:
    """Return the argument ``key`` of TokenAuth, one key or a mapping from ``kid`` to key, as a KeySet.

    Raises:
        ConfigError: If a key or a ``kid`` cannot be used.
    """
    if isinstance(given, (str, bytes)):
        return KeySet([_given_key(_NAME, given, algorithms)])
    if not hasattr(given, "items"):
        raise ConfigError(f"{_NAME} must be a key or a mapping from kid to key, not of type {type(given).__name__}")
    if not given:
        raise ConfigError(f"{_NAME} is a mapping without keys; {HOW_TO_MAKE_A_KEY}")
    return KeySet(_given_key(_named(kid), key, algorithms, kid) for kid, key in given.items())


def _named(kid: object) -> str:
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise ConfigError(f"{_NAME}: a kid must be a string of 1 to {MAX_KID} characters, not {shown(kid)}")
    return f"{_NAME} with the kid {shown(kid)}"


def _given_key(name: str, material: object, algorithms: Sequence[str], kid: str | None = None) -> Key:
    if not isinstance(material, (str, bytes)):
        raise ConfigError(f"{name} must be text or bytes, not of type {type(material).__name__}")
    if not material:
        raise ConfigError(f"{name} is empty; {HOW_TO_MAKE_A_KEY}")
    prepared: dict[str, Any] = {}
    for algorithm in algorithms:
        found = prepare(material, algorithm)
        if found is not None:
            prepared[algorithm] = found
    if not prepared:
        raise ConfigError(f"{name} cannot be used with {' or '.join(algorithms)}")
    for algorithm, found in prepared.items():
        if weakness := weakness_of(found, algorithm):
            how = f"; {HOW_TO_MAKE_A_KEY}" if algorithm in MIN_KEY_BYTES else ""
            raise ConfigError(f"{name} is too short: {weakness}{how}")
    return Key(next(iter(prepared.values())), tuple(prepared), kid)


def prepare(material: Any, algorithm: str) -> Any:
    """Return a key in the form in which the algorithm uses it. None if the key is not of the algorithm's type.

    *Without this check, a client with a token for an algorithm that does not fit the key would get an internal error.*
    """
    try:
        return _JWS.get_algorithm_by_name(algorithm).prepare_key(material)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def weakness_of(prepared: Any, algorithm: str) -> str | None:
    """Return the reason why a key can be guessed, or None if it is long enough."""
    least = MIN_KEY_BYTES.get(algorithm)
    if least is None:
        return _JWS.get_algorithm_by_name(algorithm).check_key_length(prepared)
    size = len(prepared)
    return f"{algorithm} needs {least} bytes or more, and it has {size}" if size < least else None
