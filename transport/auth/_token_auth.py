"""``TokenAuth``: an auth function for JSON Web Tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors import ConfigError
from actors.failures import shown
from transport._extras import import_extra
from transport.auth._limits import JWKS_SECONDS
from transport.auth._user import NO_TOKEN
from transport.errors import NotAuthenticated

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from transport.auth._user import Credentials, User


class TokenAuth:
    """Authentication by JSON Web Tokens (RFC 7519). The claim ``sub`` is the user; ``exp`` is required.

    ``nbf`` and ``iat`` must not be in the future. ``jti`` and ``iat`` become :attr:`User.token_id` and
    :attr:`User.issued`. A token has at most :data:`MAX_TOKEN` characters.

    A key is used only with the algorithms that fit its type. Of several keys, a token names its key by the header
    ``kid``. A token without ``kid`` is accepted if exactly one key fits its algorithm. A key that has no ``kid`` itself
    takes a token with any ``kid``.

    Args:
        key: The shared secret (HS…, of at least :data:`MIN_KEY_BYTES`), or the public key in PEM (RS…, PS…, ES…,
            EdDSA), which needs the package ``cryptography``. Or a mapping from ``kid`` to key, so that the key can be
            changed while tokens of the old key are still valid.
        algorithms: The algorithms that are accepted. ``none`` is never accepted. By default HS256 for ``key``, and
            every algorithm with a public key for ``jwks``.
        audience: The name of this server, or several names. The token's ``aud`` must contain one of them. If None, a
            token that has ``aud`` is refused, because it is meant for another server (RFC 7519, section 4.1.3).
        leeway_seconds: Maximum difference between the clocks of the issuer and of this server, in seconds. A token is
            accepted so much before ``nbf`` and ``iat``, and after ``exp``.
        issuer: The name of the issuer, or several names. The token's ``iss`` must be one of them. If None, ``iss`` is
            not checked.
        jwks: In place of ``key``: the path of a file, or an ``https://`` URL, with public keys (RFC 7517). A file is
            read at once, and again when it has changed. A URL is fetched when the first token comes. ``http://`` is
            only for loopback addresses.
        jwks_seconds: Time after which the keys of a URL are fetched again, in seconds. They are fetched earlier for a
            token with an unknown ``kid``, at most every 10 seconds. While the URL fails, the old keys are used.

    Raises:
        ConfigError: If an argument cannot be used, or the extra ``jwt`` is not installed.
    """

    def __init__(  # noqa: PLR0913 - each is a rule of its own
        self,
        key: str | bytes | Mapping[str, str | bytes] | None = None,
        algorithms: Sequence[str] | None = None,
        audience: str | Sequence[str] | None = None,
        leeway_seconds: float = 0,
        *,
        issuer: str | Sequence[str] | None = None,
        jwks: str | os.PathLike[str] | None = None,
        jwks_seconds: float = JWKS_SECONDS,
    ) -> None:
        import_extra("TokenAuth", "jwt", "jwt")
        from transport.auth import _key_choice, _tokens  # noqa: PLC0415 - they need the extra

        if not isinstance(leeway_seconds, (int, float)) or not 0 <= leeway_seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ConfigError(
                f"leeway_seconds of TokenAuth must be a finite number from 0 on, not {shown(leeway_seconds)}"
            )
        rules = _tokens.Rules(_names("audience", audience), _names("issuer", issuer), leeway_seconds)
        self._keys = _key_choice.chosen(key, jwks, algorithms, jwks_seconds)
        self._tokens = _tokens.Tokens(rules)

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user of the token in ``credentials``.

        Raise the errors of :meth:`user`, also if there is no token.
        """
        if credentials.token is None:
            raise NotAuthenticated(NO_TOKEN)
        return self._tokens.user(credentials.token, await self._keys.find_or_wait(credentials.token))

    def user(self, token: str) -> User:
        """Return the user that ``token`` names. Takes about 50 µs.

        Raises:
            NotAuthenticated: If the token is invalid for any reason other than its age.
            TokenExpired: If the token was valid, but has expired.
            ConfigError: If the keys come from ``jwks``: only ``await auth(credentials)`` can wait for them.
        """
        return self._tokens.user(token, self._keys.find(token))

    def issue(self, user: str, seconds: float) -> str:
        """Return a new token for ``user``, valid for ``seconds``. It is signed with the first key.

        The token has ``iat``, a random ``jti``, the first ``audience`` and ``issuer``, and the ``kid`` of the key.

        Raises:
            ValueError: If ``user`` cannot be a user's id, ``seconds`` is not finite, or the key cannot sign: a public
                key cannot.
            ConfigError: If the keys come from ``jwks``.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"seconds must be a finite number, not {shown(seconds)}")
        return self._tokens.sign(user, seconds, self._keys.first())


def _names(argument: str, given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names in an argument of TokenAuth as a tuple."""
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else ()
    if not names or not all(isinstance(each, str) and each for each in names):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise ConfigError(f"{argument} of TokenAuth must be a name or a list of names, not {shown(given)}")
    return names
