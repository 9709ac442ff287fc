"""Tokens (RFC 7519): the header, which names a key; the check of the signature; the claims, which name a user.

Headers that bring or address a key (``jwk``, ``jku``, ``x5c``, ``x5u``) are ignored: only configured keys count. Needs
the extra ``jwt``.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs
import jwt

from actors.failures import text_of
from actors.spi import MAX_DEPTH, too_deep
from transport.auth._keys import BadToken
from transport.auth._limits import MAX_TIME, MAX_TOKEN
from transport.auth._user import BAD_TOKEN, MAX_TOKEN_ID, MAX_USER, User
from transport.errors import NotAuthenticated, TokenExpired

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from transport.auth._keys import Key

_MAX_REASON = 80
"""Maximum length of the reason that a refused client gets, in characters. A close frame has room for 123 bytes."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, separators of lines, and lone surrogates.

In a user's name, a newline could forge a line in a log. No log can hold a lone surrogate.
"""


@attrs.frozen
class Rules:
    """The claims that a token must have."""

    audience: Sequence[str] | None
    """The names of this server, of which ``aud`` must contain one. If None, a token must have no ``aud``."""
    issuer: Sequence[str] | None
    """The names of the issuers that are accepted. If None, ``iss`` is not looked at."""
    leeway: float
    """Maximum difference between the clocks of the issuer and of this server, in seconds."""


@attrs.frozen
class Header:
    """The parameters of a token's header that choose its key."""

    kid: str | None
    algorithm: str


class Tokens:
    """Reads and signs tokens under the given rules. Each call is given its key."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._jwt = _StrictJWT()

    def user(self, token: str, key: Key) -> User:
        """Return the user that ``token`` names. ``key`` is the key that its header chooses.

        Raises:
            NotAuthenticated: If the token is invalid for any reason other than its age.
            TokenExpired: If the token was valid, but has expired.
        """
        with refusals():
            user = self._user(self._claims(token, key))
        if user.expires is not None and user.expires <= time.time():
            raise TokenExpired("the token has expired")
        return user

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        try:
            return self._jwt.decode(
                token,
                key.material,
                algorithms=key.algorithms,
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=self._rules.leeway,
                # The age is checked last, by the caller. A client comes back with a fresh token after TokenExpired:
                # that is of use only if nothing else is wrong with its token.
                options={"require": ["exp", "sub"], "verify_exp": False},
            )
        except jwt.InvalidAudienceError:
            if self._rules.audience is None:
                raise BadToken("it is for an audience (aud), and this server has none") from None
            raise

    def _user(self, claims: dict[str, Any]) -> User:
        leeway = self._rules.leeway
        for name in ("iat", "nbf"):  # optional, and the library takes the text "5" for a time
            if name in claims:
                _time(name, claims[name])
        return User(
            _text("sub", claims["sub"], MAX_USER),
            _time("exp", claims["exp"]) + leeway,
            _text("jti", claims["jti"], MAX_TOKEN_ID) if "jti" in claims else None,
            # The issuer's clock may be ahead. A token counts as issued at the earliest time at which it can have been,
            # so that a revocation ends each token that was issued before.
            claims["iat"] - leeway if "iat" in claims else None,
        )

    def sign(self, user: str, seconds: float, key: Key) -> str:
        """Return a new token for ``user``, signed with ``key`` and valid for ``seconds``.

        Raises:
            ValueError: If ``user`` cannot be a user's id, or ``key`` cannot sign.
        """
        if not key.can_sign:
            raise ValueError("the key of TokenAuth cannot sign tokens, because it is a public key")
        now = time.time()
        claims: dict[str, Any] = {"sub": _text("id of a user", user, MAX_USER), "iat": now, "exp": now + seconds}
        claims["jti"] = secrets.token_hex(8)
        for name, given in (("aud", self._rules.audience), ("iss", self._rules.issuer)):
            if given is not None:
                claims[name] = given[0]
        headers = None if key.id is None else {"kid": key.id}
        return self._jwt.encode(claims, key.material, algorithm=key.algorithms[0], headers=headers)


class _StrictJWT(jwt.PyJWT):
    """The library's reader of tokens, for claims in strict JSON only: each name once, no NaN, UTF-8."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return _json_object(decoded["payload"], "its claims")


def read_header(token: str) -> Header:
    """Return the parameters of a token's header that choose its key. They are not verified.

    Raises:
        BadToken: If the token is longer than :data:`MAX_TOKEN`, or its header cannot be used.
    """
    if len(token) > MAX_TOKEN:
        raise BadToken(f"it has more than {MAX_TOKEN} characters")
    segment = token.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise BadToken("its header is not in base64url") from None
    header = _json_object(decoded, "its header")
    # RFC 7515, section 4.1.11: a header that the reader does not understand, but that is critical.
    if "crit" in header:
        raise BadToken("it has critical headers (crit), and none is supported")
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(kid, str) and "kid" in header:
        raise BadToken("its key id (kid) is not a string")
    if not isinstance(algorithm, str):
        raise BadToken("its header names no algorithm (alg)")
    return Header(kid, algorithm)


def _text(name: str, value: object, limit: int) -> str:
    """Return the string in a claim."""
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise BadToken(f"{name} must be a string of 1 to {limit} characters")
    if _UNPRINTABLE.search(value):
        raise BadToken(f"{name} has a control character")
    return value


def _time(name: str, value: object) -> float:
    """Return the time in a claim (a NumericDate, RFC 7519, section 2), which can have a fraction."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MAX_TIME:
        raise BadToken(f"{name} must be a time in seconds since 1970")
    return float(value)


def _json_object(data: bytes, name: str) -> dict[str, Any]:
    """Return a JSON object. Raises BadToken for anything else, for a name that is there twice, and for deep nesting."""
    if too_deep(data):
        raise BadToken(f"{name} must be nested at most {MAX_DEPTH} levels deep")
    try:
        value = _DECODER.decode(data.decode())
    except BadToken:
        raise
    except ValueError:
        raise BadToken(f"{name} cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise BadToken(f"{name} must be a JSON object")
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Other readers of this token may take the other value.
        raise BadToken("a name is there twice")
    return found


def _not_finite(_: str) -> NoReturn:
    raise BadToken("a number is not finite")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_not_finite)


@contextmanager
def refusals() -> Generator[None]:
    """Turn each error in the ``with`` block that refuses a token into NotAuthenticated with the reason."""
    try:
        yield
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise NotAuthenticated(f"{BAD_TOKEN}: {text_of(error)[:_MAX_REASON]}") from None
