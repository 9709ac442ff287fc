"""Authentication: it turns the credentials of a connection into a user."""

from __future__ import annotations

import math
import secrets
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from actors import ConfigError
from actors.failures import shown, text_of
from transport.errors import NotAuthenticated, TokenExpired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

MAX_USER = 256
"""Maximum length of a user's id, in characters."""


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


def _check_expires(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{attribute.name} of a user must be a time in s since 1970 or None")
    float(value)  # raises OverflowError for an integer that is too large for a float


def checked_user(user: object) -> User:
    """Check the result of an auth function, and return it as a plain :class:`User`.

    Raises:
        TypeError: If ``user`` is not a :class:`User`.
        ValueError: If ``user`` is an instance of a subclass that did not check its values, and a value is invalid.
    """
    if not isinstance(user, User):
        raise TypeError(f"auth must return a User, not {type(user).__name__}")
    return User(user.id, user.expires)  # again, since a subclass may hold values that were not checked


@attrs.frozen
class User:
    """An authenticated user: the result of an auth function."""

    id: str = attrs.field(validator=_check_user)
    """The user's name. Sessions are stored under this name, and it alone decides which sessions the user may read."""
    expires: float | None = attrs.field(default=None, validator=_check_expires)
    """Time when the server closes connections of this user, in seconds since 1970. None means never."""


Authenticate: TypeAlias = "Callable[[Credentials], Awaitable[User]]"
"""The type of auth functions, which return the :class:`User` that has the given :class:`Credentials`.

An auth function refuses a client by raising :class:`~transport.NotAuthenticated` or :class:`~transport.Forbidden`,
alone or in an exception group. If it raises or returns anything else, the connection is closed with an internal error
(4006). It is cancelled after ``auth_seconds``.
"""

ANONYMOUS = User("anonymous")


async def anonymous(_: Credentials) -> User:
    """Return the user ``anonymous`` for every connection. Only for a server that other machines cannot reach."""
    return ANONYMOUS


class TokenAuth:
    """Authentication by JSON Web Tokens (RFC 7519). The claim ``sub`` is the user; ``exp`` is required.

    Args:
        key: The shared secret (HS…), or the public key in PEM (RS…, ES…, EdDSA).
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
            raise ConfigError("key of TokenAuth is empty")
        if (
            isinstance(algorithms, str)
            or not algorithms
            or not set(algorithms) <= set(self._jwt.PyJWS().get_algorithms()) - {"none"}
        ):
            raise ConfigError(
                f"algorithms of TokenAuth must be a list of signature algorithms, not {shown(algorithms)}"
            )
        if not isinstance(leeway_seconds, (int, float)) or not 0 <= leeway_seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ConfigError(
                f"leeway_seconds of TokenAuth must be a finite number from 0 on, not {shown(leeway_seconds)}"
            )
        self._key = key
        self._algorithms = [algorithm for algorithm in algorithms if self._fits(algorithm)]
        if not self._algorithms:
            raise ConfigError(f"key of TokenAuth cannot be used with {' or '.join(algorithms)}")
        self._audience = audience
        self._leeway = leeway_seconds

    def _fits(self, algorithm: str) -> bool:
        """Return whether the key can be used with that algorithm.

        *Without this check, a client with a token for an algorithm that does not fit the key would get an internal
        error.*
        """
        try:
            self._jwt.PyJWS().get_algorithm_by_name(algorithm).prepare_key(self._key)
        except (self._jwt.PyJWTError, ValueError, TypeError):
            return False
        return True

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user of the token in ``credentials``.

        Raise the errors of :meth:`user`, also if there is no token.
        """
        if credentials.token is None:
            raise NotAuthenticated("a token is required")
        return self.user(credentials.token)

    def user(self, token: str) -> User:
        """Return the user that ``token`` names. Takes about 40 µs.

        Raises:
            NotAuthenticated: If the token is invalid for any reason other than its age.
            TokenExpired: If the token was valid, but has expired.
        """
        jwt = self._jwt
        try:
            with warnings.catch_warnings():
                # A short key is the operator's choice: a warning for each token would help no one.
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
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
            raise NotAuthenticated(f"the token is not valid: {_reason(error)}") from None
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._jwt.InsecureKeyLengthWarning)
            return str(self._jwt.encode(claims, self._key, algorithm=self._algorithms[0]))


def _time(value: Any) -> float:
    """Return the time in a token's claim (a NumericDate, RFC 7519, section 2) as a float. It may have a fraction.

    Raises:
        ValueError: If ``value`` is infinite, NaN, a string or a bool.
        TypeError: If ``value`` has any other type that is not a number.
    """
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError("exp must be a number")
    return float(value)


def _reason(error: Exception) -> str:
    """Return the reason of a refusal for the client: the JWT library's message, which never contains the token."""
    return text_of(error)[:80]


def _load_jwt() -> Any:
    try:
        import jwt  # noqa: PLC0415 - an optional dependency, needed only here
    except ImportError:
        raise ConfigError("TokenAuth needs the extra jwt: pip install 'greenroom[jwt]'") from None
    return jwt
