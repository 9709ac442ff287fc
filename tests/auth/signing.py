"""Keys and tokens for the tests of TokenAuth. The tokens are made by the JWT library, not by the tested code."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

from transport import Credentials

SECRET = "a key that is long enough " * 4
OTHER_SECRET = "another key that is long enough " * 4
NEVER = 4e9  # s since 1970: in the year 2096


@attrs.frozen
class Pair:
    """A pair of keys, each as PEM, and the private key as an object."""

    private: bytes
    public: bytes
    object: Any

    def encoded(self, encoding: Encoding, form: PublicFormat) -> bytes:
        """Return the public key in another encoding."""
        return bytes(self.object.public_key().public_bytes(encoding, form))

    def jwk(self, algorithm: str, **changes: object) -> dict[str, Any]:
        """Return the public key as a JWK, with changes. A member that is changed to None is left out."""
        made = get_default_algorithms()[algorithm].to_jwk(self.object.public_key(), as_dict=True)
        return {name: value for name, value in {**made, **changes}.items() if value is not None}


@cache
def pair(algorithm: str, number: int = 0) -> Pair:
    """Return a pair of keys for the algorithm. Another number gives another pair."""
    del number
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1(), "ES256K": ec.SECP256K1()}
    private: Any
    if algorithm in curves:
        private = ec.generate_private_key(curves[algorithm])
    elif algorithm == "Ed448":
        private = ed448.Ed448PrivateKey.generate()
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, 2048)
    return Pair(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        private,
    )


def token(key: Any = SECRET, algorithm: str = "HS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a valid token, with changes to its claims and more headers. A claim that is None is left out."""
    present = {"sub": "alice", "exp": NEVER, **claims}
    kept = {name: value for name, value in present.items() if value is not None}
    return with_payload(json.dumps(kept).encode(), key, algorithm, header)


def with_payload(
    payload: bytes, key: Any = SECRET, algorithm: str = "HS256", header: dict[str, Any] | None = None
) -> str:
    """Return a token with any bytes as its payload. The header may have anything too."""
    return with_header(json.dumps({"alg": algorithm, **(header or {})}).encode(), payload, key, algorithm)


def with_header(header: bytes, payload: bytes, key: Any = SECRET, algorithm: str = "HS256") -> str:
    """Return a token with any bytes as its header and payload, signed by ``algorithm``, which need not be the ``alg``.

    With the algorithm ``none`` the signature is empty.
    """
    signed = f"{encoded(header)}.{encoded(payload)}"
    if algorithm == "none":
        return f"{signed}."
    method = get_default_algorithms()[algorithm]
    # A public key as the secret of HMAC: the library refuses to sign with it, an attacker does not.
    prepared = key if algorithm.startswith("HS") and isinstance(key, bytes) else method.prepare_key(key)
    return f"{signed}.{encoded(method.sign(signed.encode(), prepared))}"


def encoded(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seen(answer: str | None) -> Credentials:
    """Return credentials that contain this token."""
    return Credentials(token=answer, session="s")


def jwks(*keys: dict[str, Any]) -> bytes:
    """Return a JWKS as bytes."""
    return json.dumps({"keys": keys}).encode()
