"""Authentication: it turns the credentials of a connection into a user."""

from __future__ import annotations

import math
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from actors import ConfigError
from actors.failures import shown, text_of
from transport._extras import import_extra
from transport.errors import NotAuthenticated, TokenExpired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

NO_TOKEN, BAD_TOKEN = "a token is required", "the token is not valid"
"""Texts with which a client without a token, or with a wrong token, is refused. The server counts these apart."""

MAX_USER = 256
"""Maximum length of a user's id, in characters."""
MAX_TOKEN_ID = 256
"""Maximum length of a token's id, in characters."""


@attrs.frozen
class Credentials:
    """The credentials of a connection. The token is never logged, and ``repr`` does not show it."""

    token: str | None = attrs.field(repr=False)
    """The token in the connection's ``hello`` message. None if there is no token."""
    session: str
    """Name of the session that the connection asks for."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The headers of the HTTP request that opened the WebSocket, with names in lower case."""
    address: str = ""
    """The network address from which the client connects, without the port."""


def _check_user(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_USER:
        raise ValueError(f"{attribute.name} of a user must be a string of 1 to {MAX_USER} characters")
    value.encode()  # raises ValueError for a lone surrogate: no log could hold the name


def _check_token_id(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_ID:
        raise ValueError(f"{attribute.name} of a user must be a string of 1 to {MAX_TOKEN_ID} characters or None")
    value.encode()  # as above


def _check_time(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{attribute.name} of a user must be a time in s since 1970 or None")
    float(value)  # raises OverflowError for an integer that is too large for a float


def checked_user(user: object) -> User:
    """Check the result of an auth function, and return it as a plain :class:`User`.

    Raises:
        TypeError: If ``user`` is not a :class:`User`.
        ValueError: If a value in ``user`` is invalid. A subclass of :class:`User` can let such a value pass.
    """
    if not isinstance(user, User):
        raise TypeError(f"auth must return a User, not {type(user).__name__}")
    # Again, since a subclass may hold values that were not checked.
    return User(user.id, user.expires, user.token_id, user.issued)


@attrs.frozen
class User:
    """An authenticated user: the result of an auth function."""

    id: str = attrs.field(validator=_check_user)
    """The user's name. Sessions are stored under this name. A user can read only sessions under this name."""
    expires: float | None = attrs.field(default=None, validator=_check_time)
    """Time when the server closes connections of this user, in seconds since 1970. None means never."""
    token_id: str | None = attrs.field(default=None, validator=_check_token_id)
    """The id of the token, by which :meth:`Greenroom.revoke` can revoke this token alone. None if it has no id."""
    issued: float | None = attrs.field(default=None, validator=_check_time)
    """Time when the token was issued (or when the user logged in), in seconds since 1970. None if it is not known.

    :meth:`Greenroom.revoke` revokes the tokens that were issued before. Without this time, a token counts as issued
    before. If the clock of the issuer may be ahead of the clock of this server, subtract the difference.
    """


Authenticate: TypeAlias = "Callable[[Credentials], Awaitable[User]]"
"""The type of auth functions, which return the :class:`User` that has the given :class:`Credentials`.

An auth function refuses a client by raising :class:`~transport.NotAuthenticated` or :class:`~transport.Forbidden`,
alone or in an exception group. If the function raises or returns anything else, the connection is closed with an
internal error (4006). An auth function is cancelled after ``auth_seconds``.
"""

ANONYMOUS = User("anonymous")


async def anonymous(_: Credentials) -> User:
    """Return the user ``anonymous`` for every connection. Only for a server that other machines cannot reach."""
    return ANONYMOUS


MIN_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Minimum size of a shared secret, by algorithm (RFC 7518, section 3.2): as many bytes as the hash has.

With a shorter secret, a person who has one token can find the secret by trying, and then sign tokens for every user.
"""
_HOW_TO_MAKE_A_KEY = "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"


class TokenAuth:
    """Authentication by JSON Web Tokens (RFC 7519). The claim ``sub`` is the user; ``exp`` is required.

    Args:
        key: The shared secret (HS…, of at least :data:`MIN_KEY_BYTES`), or the public key in PEM (RS…, ES…, EdDSA),
            which needs the package ``cryptography``.
        algorithms: The algorithms that are accepted. ``none`` is never accepted.
        audience: If given, the token's ``aud`` must contain it.
        leeway_seconds: Seconds after ``exp`` in which a token is still accepted.

    Raises:
        ConfigError: If the key or an algorithm cannot be used, or the extra ``jwt`` is not installed.
    """

    def __init__(
        self,
        key: str | bytes,
        algorithms: Sequence[str] = ("HS256",),
        audience: str | None = None,
        leeway_seconds: float = 0,
    ) -> None:
        self._jwt = _load_jwt()
        if not key:
            raise ConfigError(f"key of TokenAuth is empty; {_HOW_TO_MAKE_A_KEY}")
        self._check_algorithms(algorithms)
        if not isinstance(leeway_seconds, (int, float)) or not 0 <= leeway_seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ConfigError(
                f"leeway_seconds of TokenAuth must be a finite number from 0 on, not {shown(leeway_seconds)}"
            )
        self._key = key
        self._algorithms = [algorithm for algorithm in algorithms if self._fits(algorithm)]
        if not self._algorithms:
            raise ConfigError(f"key of TokenAuth cannot be used with {' or '.join(algorithms)}")
        for algorithm in self._algorithms:
            self._check_strength(algorithm)
        self._audience = audience
        self._leeway = leeway_seconds

    def _fits(self, algorithm: str) -> bool:
        """Return whether the type of the key fits the algorithm.

        *Without this check, a client with a token for an algorithm that does not fit the key would get an internal
        error.*
        """
        try:
            self._jwt.PyJWS().get_algorithm_by_name(algorithm).prepare_key(self._key)
        except (self._jwt.PyJWTError, ValueError, TypeError):
            return False
        return True

    def _check_algorithms(self, algorithms: Sequence[str]) -> None:
        known = set(self._jwt.PyJWS().get_algorithms()) - {"none"}
        if isinstance(algorithms, str) or not algorithms or not all(isinstance(each, str) for each in algorithms):  # pyright: ignore[reportUnnecessaryIsInstance]  # as below
            raise ConfigError(f"algorithms of TokenAuth must be a list of names, not {shown(algorithms)}")
        for algorithm in algorithms:
            if algorithm not in known:
                if algorithm in self._jwt.algorithms.requires_cryptography:
                    raise ConfigError(f"algorithms of TokenAuth: {algorithm} needs a package: pip install cryptography")
                names = ", ".join(sorted(known))
                raise ConfigError(f"algorithms of TokenAuth must be among {names}, not {shown(algorithm)}")

    def _check_strength(self, algorithm: str) -> None:
        """Raise ConfigError if the key is so short that it can be guessed."""
        size = len(self._key.encode() if isinstance(self._key, str) else self._key)
        least = MIN_KEY_BYTES.get(algorithm, 0)
        if size < least:
            text = f"key of TokenAuth is too short: {algorithm} needs {least} bytes or more, and it has {size}"
            raise ConfigError(f"{text}; {_HOW_TO_MAKE_A_KEY}")
        method = self._jwt.PyJWS().get_algorithm_by_name(algorithm)
        if not least and (weakness := method.check_key_length(method.prepare_key(self._key))):
            raise ConfigError(f"key of TokenAuth is too short: {weakness}")

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user of the token in ``credentials``.

        Raise the errors of :meth:`user`, also if there is no token.
        """
        if credentials.token is None:
            raise NotAuthenticated(NO_TOKEN)
        return self.user(credentials.token)

    def user(self, token: str) -> User:
        """Return the user that ``token`` names. Takes about 40 µs.

        Raises:
            NotAuthenticated: If the token is invalid for any reason other than its age.
            TokenExpired: If the token was valid, but has expired.
        """
        jwt = self._jwt
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                leeway=self._leeway,
                # The age is checked last, below. A client comes back with a fresh token after TokenExpired: that is
                # of use only if nothing else is wrong with its token.
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None, "verify_exp": False},
            )
            user = User(claims["sub"], _time(claims["exp"]) + self._leeway)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise NotAuthenticated(f"{BAD_TOKEN}: {_reason(error)}") from None
        if user.expires is not None and user.expires <= time.time():
            raise TokenExpired("the token has expired")
        return user

    def issue(self, user: str, seconds: float) -> str:
        """Return a new token for ``user``, valid for ``seconds``.

        The key must be able to sign, which a public key cannot.

        Raises:
            ValueError: If ``user`` cannot be a user's id, or ``seconds`` is not finite.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"seconds must be a finite number, not {shown(seconds)}")
        claims: dict[str, Any] = {"sub": User(user).id, "exp": time.time() + seconds, "jti": secrets.token_hex(8)}
        if self._audience is not None:
            claims["aud"] = self._audience
        return str(self._jwt.encode(claims, self._key, algorithm=self._algorithms[0]))


def _time(value: Any) -> float:
    """Return the time in a token's claim (a NumericDate, RFC 7519, section 2) as a float. The time can have a fraction.

    Raises:
        ValueError: If ``value`` is infinite, NaN, a string or a bool.
        TypeError: If ``value`` is anything else that is not a number.
    """
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError("exp must be a number")
    return float(value)


def _reason(error: Exception) -> str:
    """Return the reason that a refused client gets: the JWT library's message, which never contains the token."""
    return text_of(error)[:80]


def _load_jwt() -> Any:
    (jwt,) = import_extra("TokenAuth", "jwt", "jwt")
    return jwt
