"""JWKS (RFC 7517): a JSON document with keys. Needs the extra ``jwt``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import jwt

from actors.spi import MAX_DEPTH, too_deep
from transport.auth._keys import Key, KeySet, prepare, weakness_of
from transport.auth._limits import MAX_JWKS_BYTES, MAX_KID

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_jwks(document: bytes, algorithms: Sequence[str]) -> KeySet:
    """Return the keys of a JWKS that can check signatures by one of the ``algorithms``.

    Other keys are left out: keys to encrypt with, keys of unknown types, and keys that can be guessed. *An issuer adds
    a key of a new type, and the old keys must still work.*

    Raises:
        ValueError: If the document is no JWKS, is too large or nested too deep, or has no usable key.
    """
    if len(document) > MAX_JWKS_BYTES:
        raise ValueError(f"it has more than {MAX_JWKS_BYTES} bytes")
    if too_deep(document):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        content: object = json.loads(document)
    except ValueError:
        raise ValueError("it cannot be read as JSON") from None
    listed = cast("dict[str, Any]", content).get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JWKS: a JSON object with a list called keys")  # noqa: TRY004 - a fault of the content
    keys = [key for each in cast("list[object]", listed) if (key := _key(each, algorithms)) is not None]
    if not keys:
        raise ValueError(f"none of its keys can be used with {' or '.join(algorithms)}")
    return KeySet(keys)


def _key(listed: object, algorithms: Sequence[str]) -> Key | None:
    """Return a key of a JWKS, or None if it cannot be used.

    The key is bound to its ``alg``. Without ``alg``, it is bound to the algorithms that fit its type.
    """
    jwk = cast("dict[str, Any]", listed) if isinstance(listed, dict) else {}
    operations, kid = jwk.get("key_ops", ["verify"]), jwk.get("kid")
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        return None
    fitting: dict[str, Any] = {}
    for algorithm in algorithms:
        if jwk.get("alg", algorithm) == algorithm and (material := _material(jwk, algorithm)) is not None:
            fitting[algorithm] = material
    return Key(next(iter(fitting.values())), tuple(fitting), kid) if fitting else None


def _material(jwk: dict[str, Any], algorithm: str) -> Any:
    """Return the public key or the shared secret of a JWK, or None if it cannot be used with the algorithm."""
    try:
        material = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    # The file may have private keys, which are not needed to check signatures.
    public = material.public_key() if hasattr(material, "public_key") else material
    prepared = prepare(public, algorithm)
    return None if prepared is None or weakness_of(prepared, algorithm) else prepared
