"""Fuzz targets: tokens and key sets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING

from fuzz.target import Target, first_byte

from transport import NotAuthenticated, TokenAuth, TokenExpired
from transport.auth._jwks import parse_jwks
from transport.auth._keys import PUBLIC_KEY_ALGORITHMS

if TYPE_CHECKING:
    from transport import User

_KEY, _OTHER_KEY = b"k" * 32, b"o" * 32
_AUTH = TokenAuth({"a": _KEY, "b": _KEY}, audience="us", issuer="them")
_RAW, _SIGNED, _FOREIGN = range(3)


def tokens(data: bytes) -> None:
    """Check that a token is accepted only with a right signature, and that its user is the one in its claims.

    The first byte says what the rest is: a whole token; or a header and claims, which are then signed with the server's
    key, or with a foreign key.
    """
    kind, rest = first_byte(data)
    kind %= 3
    token = rest.decode("latin-1") if kind == _RAW else _signed(rest, _KEY if kind == _SIGNED else _OTHER_KEY)
    try:
        user = _AUTH.user(token)
    except TokenExpired:
        assert kind != _FOREIGN
        return
    except NotAuthenticated as refused:
        reason = str(refused)
    else:
        assert kind != _FOREIGN
        _check_user(token, user)
        return
    assert reason
    assert len(token) < 20 or token not in reason


def _signed(data: bytes, key: bytes) -> str:
    header, _, claims = data.partition(b"\n")
    text = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{text}.{_encoded(hmac.digest(key, text.encode(), hashlib.sha256))}"


def _check_user(token: str, user: User) -> None:
    text, _, signature = token.rpartition(".")
    assert _decoded(signature) == hmac.digest(_KEY, text.encode(), hashlib.sha256)
    header, claims = (json.loads(_decoded(part)) for part in text.split("."))
    assert header["alg"] == "HS256"
    assert header.get("kid") in {"a", "b"}
    assert user.id == claims["sub"]
    assert all(each.isprintable() or each > "\xa0" for each in user.id)
    assert user.expires == claims["exp"] > time.time()
    assert claims["iss"] == "them"
    assert claims["aud"] == "us" or "us" in claims["aud"]
    assert user.token_id == claims.get("jti")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jwks(data: bytes) -> None:
    """Check that any document is a set of usable public keys, or is refused with ``ValueError``."""
    try:
        keys = parse_jwks(data, PUBLIC_KEY_ALGORITHMS)
    except ValueError:
        return
    for key in keys.keys:
        assert key.algorithms
        assert set(key.algorithms) <= set(PUBLIC_KEY_ALGORITHMS)
        assert not key.can_sign, "a private key is kept"


_HEADER = b'{"alg":"HS256","typ":"JWT","kid":"a"}'
_CLAIMS = b'{"sub":"alice","exp":4000000000,"iat":1,"nbf":1,"jti":"j","aud":["us"],"iss":"them"}'
_SEEDS = (
    b"\x01" + _HEADER + b"\n" + _CLAIMS,
    b"\x02" + _HEADER + b"\n" + _CLAIMS,
    b"\x01" + _HEADER + b'\n{"sub":"a","exp":1,"aud":"us","iss":"them"}',
    b'\x01{"alg":"none"}\n' + _CLAIMS,
    b"\x00" + _signed(_HEADER + b"\n" + _CLAIMS, _KEY).encode(),
)
_WORDS = (
    b'"alg"', b'"HS256"', b'"none"', b'"RS256"', b'"kid"', b'"crit"', b'"b64"', b'"jwk"', b'"zip"', b'"typ"', b'"sub"',
    b'"exp"', b'"iat"', b'"nbf"', b'"jti"', b'"aud"', b'"us"', b'"iss"', b'"them"', b"NaN", b"1e400", b"true", b"null",
    b"4000000000", b'"\\ud800"', b'"\\u0000"', b'"\\n"', b"[]", b"{}", b".", b"=", b"\n",
)  # fmt: skip
_RSA = {
    "kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "e": "AQAB",
    "n": _encoded(b"\xc1" + bytes(range(255, 0, -1))),
}  # fmt: skip
_OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
_EC = {
    "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
}  # fmt: skip
_JWKS_SEEDS = tuple(json.dumps({"keys": [key]}).encode() for key in (_RSA, _OKP, _EC, {"kty": "oct", "k": "AAAA"}))
_JWKS_WORDS = (
    b'"keys"', b'"kty"', b'"RSA"', b'"EC"', b'"OKP"', b'"oct"', b'"crv"', b'"P-256"', b'"P-384"', b'"P-521"',
    b'"secp256k1"', b'"Ed25519"', b'"Ed448"', b'"X25519"', b'"x"', b'"y"', b'"d"', b'"n"', b'"e"', b'"k"', b'"p"',
    b'"q"',
    b'"dp"', b'"dq"', b'"qi"', b'"oth"', b'"alg"', b'"use"', b'"sig"', b'"enc"', b'"key_ops"', b'"verify"', b'"kid"',
    b"null", b"[]", b"{}",
)  # fmt: skip

TARGETS = (
    Target("tokens", tokens, _SEEDS, _WORDS, longest=1024),
    Target("jwks", jwks, _JWKS_SEEDS, _JWKS_WORDS, longest=2048),
)
