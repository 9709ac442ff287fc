"""Who is there: from the credentials of a connection to a user."""

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
"""Characters of a user's name."""


@attrs.frozen
class Credentials:
    """What a connection brought: its hello's token, the session it asks for, the headers of its upgrade, its address.

    Header names are in lower case. The token is never logged, and not shown by ``repr``.
    """

    token: str | None = attrs.field(repr=False)
    session: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    address: str = ""


def _check_user(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_USER:
        raise ValueError(f"{attribute.name} of a user must be a string of 1 to {MAX_USER} characters")
    value.encode()  # a lone surrogate is a ValueError too: no log could hold the name


def _check_expires(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{attribute.name} of a user must be a time in s since 1970 or None")
    float(value)  # an integer that no float holds is an OverflowError


def checked_user(user: object) -> User:
    """Return ``user`` as a plain :class:`User`; raises ``TypeError`` or ``ValueError`` for what is none."""
    if not isinstance(user, User):
        raise TypeError(f"auth must return a User, not {type(user).__name__}")
    return User(user.id, user.expires)  # again, since a subclass may hold values that were not checked


@attrs.frozen
class User:
    """Someone who was authenticated. ``id`` alone decides what may be read; ``expires`` is in s since 1970."""

    id: str = attrs.field(validator=_check_user)
    expires: float | None = attrs.field(default=None, validator=_check_expires)


Authenticate: TypeAlias = "Callable[[Credentials], Awaitable[User]]"
"""Raises :class:`~transport.NotAuthenticated` or :class:`~transport.Forbidden`, alone or in an exception group.

Anything else that is raised or returned is an internal error (4006) of that one connection. The function is cancelled
after ``auth_seconds``.
"""

ANONYMOUS = User("anonymous")


async def anonymous(_: Credentials) -> User:
    """Everyone is the same user: for a server that only this machine reaches."""
    return ANONYMOUS


class TokenAuth:
    """JSON Web Tokens (RFC 7519): ``sub`` is the user, ``exp`` is required.

    ``key`` is the shared secret (HS…) or the public key in PEM (RS…, ES…, EdDSA); only ``algorithms`` are accepted,
    never ``none``. With ``audience`` the token's ``aud`` must contain it. Raises :class:`~transport.NotAuthenticated`,
    and :class:`~transport.TokenExpired` for a token that was good once.
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
        """Say whether the key is one for that algorithm: a client that names another must meet no fault of ours."""
        try:
            self._jwt.PyJWS().get_algorithm_by_name(algorithm).prepare_key(self._key)
        except (self._jwt.PyJWTError, ValueError, TypeError):
            return False
        return True

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user that the token is for."""
        if credentials.token is None:
            raise NotAuthenticated("a token is required")
        return self.user(credentials.token)

    def user(self, token: str) -> User:
        """Return the user that ``token`` is for. About 40 µs."""
        jwt = self._jwt
        try:
            with warnings.catch_warnings():
                # That the key is short is for whoever chose it to know, not for every token.
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                claims: dict[str, Any] = jwt.decode(
                    token,
                    self._key,
                    algorithms=self._algorithms,
                    audience=self._audience,
                    leeway=self._leeway,
                    # Its age is looked at last: only a token with nothing else wrong is worth coming back with afresh.
                    options={"require": ["exp", "sub"], "verify_aud": self._audience is not None, "verify_exp": False},
                )
            user = User(claims["sub"], _time(claims["exp"]) + self._leeway)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise NotAuthenticated(f"the token is not valid: {_reason(error)}") from None
        if user.expires is not None and user.expires <= time.time():
            raise TokenExpired("the token has expired")
        return user

    def issue(self, user: str, seconds: float) -> str:
        """Make a token for ``user`` that is good for ``seconds``; for keys that can sign.

        Raises ``ValueError`` for a name that no user can have and for a time without an end.
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
    """Give a NumericDate (RFC 7519, section 2), fractions too; raises ``ValueError`` or ``TypeError`` for none."""
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError("exp must be a number")
    return float(value)


def _reason(error: Exception) -> str:
    """Say of a token that was refused what may be told: the library's word, which never quotes the token."""
    return text_of(error)[:80]


def _load_jwt() -> Any:
    try:
        import jwt  # noqa: PLC0415 - an optional dependency, needed only here
    except ImportError:
        raise ConfigError("TokenAuth needs the extra jwt: pip install 'greenroom[jwt]'") from None
    return jwt
