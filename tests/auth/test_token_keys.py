"""The keys of TokenAuth: which key checks a token, and by which algorithm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from auth.signing import NEVER, OTHER_SECRET, SECRET, encoded, jwks, pair, seen, token, with_header, with_payload
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from actors import ConfigError
from transport import NotAuthenticated, TokenAuth
from transport.auth._jwks import parse_jwks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLAIMS = json.dumps({"sub": "alice", "exp": NEVER}).encode()
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA")


async def refused(auth: TokenAuth, wrong: str) -> str:
    """Return the reason with which TokenAuth refuses a token for good."""
    with pytest.raises(NotAuthenticated) as caught:
        await auth(seen(wrong))
    assert type(caught.value) is NotAuthenticated
    return str(caught.value)


async def accepted(auth: TokenAuth, good: str) -> bool:
    """Return whether TokenAuth accepts a token as that of alice."""
    try:
        return (await auth(seen(good))).id == "alice"
    except NotAuthenticated:
        return False


def in_file(folder: Path, *keys: dict[str, Any]) -> Path:
    """Return the path of a new file with a JWKS of these keys."""
    path = folder / "keys.json"
    path.write_bytes(jwks(*keys))
    return path


# Pairs of keys

FORMS: dict[str, Callable[[Path, str], TokenAuth]] = {
    "key": lambda _, algorithm: TokenAuth(pair(algorithm).public, [algorithm]),
    "mapping": lambda _, algorithm: TokenAuth({"k": pair(algorithm).public.decode()}, [algorithm]),
    "jwks": lambda folder, algorithm: TokenAuth(jwks=in_file(folder, pair(algorithm).jwk(algorithm, kid="k"))),
    "jwks with alg": lambda folder, algorithm: TokenAuth(
        jwks=str(in_file(folder, pair(algorithm).jwk(algorithm, kid="k", alg=algorithm, use="sig")))
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("algorithm", PUBLIC)
async def test_public_key_checks_each_algorithm(
    algorithm: str, form: Callable[[Path, str], TokenAuth], tmp_path: Path
) -> None:
    """A token that the private key has signed is accepted with the public key, in every form of the argument.

    A token by another pair of the same type is refused.
    """
    auth = form(tmp_path, algorithm)
    assert await accepted(auth, token(pair(algorithm).private, algorithm, {"kid": "k"}))
    other = token(pair(algorithm, 1).private, algorithm, {"kid": "k"})
    assert "Signature verification failed" in await refused(auth, other)


async def test_key_of_another_curve_is_not_used(tmp_path: Path) -> None:
    """A key is used only with the algorithm of its curve, also if the JWKS says otherwise."""
    with pytest.raises(ConfigError, match="none of its keys can be used"):
        TokenAuth(jwks=in_file(tmp_path, pair("ES384").jwk("ES384", alg="ES256")))
    with pytest.raises(ConfigError, match="key of TokenAuth cannot be used with ES256"):
        TokenAuth(pair("ES384").public, ["ES256"])


async def test_private_key_in_a_file_is_used_as_public(tmp_path: Path) -> None:
    """A JWKS file with a private key checks signatures as its public key does."""
    private = pair("EdDSA").object.private_bytes_raw()
    jwk = pair("EdDSA").jwk("EdDSA", d=encoded(private))
    assert not parse_jwks(jwks(jwk), ["EdDSA"]).keys[0].can_sign
    auth = TokenAuth(jwks=in_file(tmp_path, jwk))
    assert await accepted(auth, token(pair("EdDSA").private, "EdDSA"))


# Key ids


async def test_key_id_chooses_the_key() -> None:
    """With several keys, a token is checked by the key that its ``kid`` names, and by no other."""
    auth = TokenAuth({"old": SECRET, "new": OTHER_SECRET})
    assert await accepted(auth, token(SECRET, header={"kid": "old"}))
    assert await accepted(auth, token(OTHER_SECRET, header={"kid": "new"}))
    assert "Signature verification failed" in await refused(auth, token(SECRET, header={"kid": "new"}))


@pytest.mark.parametrize("kid", ["", "OLD", "old ", "x" * 5000])
async def test_unknown_key_id_is_refused(kid: str) -> None:
    """A token with a ``kid`` that no key has is refused, although one of the keys has signed it."""
    assert "no key has its key id" in await refused(TokenAuth({"old": SECRET}), token(header={"kid": kid}))


@pytest.mark.parametrize("kid", [None, 7, True, ["old"], {"old": 1}])
async def test_key_id_must_be_a_string(kid: object) -> None:
    """A token with a ``kid`` that is no string is refused, also if there is only one key."""
    for auth in (TokenAuth({"old": SECRET}), TokenAuth(SECRET)):
        assert "its key id (kid) is not a string" in await refused(auth, token(header={"kid": kid}))


async def test_token_without_key_id_needs_one_fitting_key() -> None:
    """A token without ``kid`` is accepted if exactly one key fits its algorithm. If several fit, none is tried."""
    curve = pair("ES256")
    auth = TokenAuth({"a": SECRET, "b": curve.public}, ["HS256", "ES256"])
    assert await accepted(auth, token(SECRET))
    assert await accepted(auth, token(curve.private, "ES256"))
    several = TokenAuth({"a": SECRET, "b": OTHER_SECRET})
    assert "several keys fit" in await refused(several, token(SECRET))


async def test_key_without_id_takes_any_key_id(tmp_path: Path) -> None:
    """A key that has no ``kid`` is used for tokens with any ``kid``."""
    for auth in (
        TokenAuth(pair("ES256").public, ["ES256"]),
        TokenAuth(jwks=in_file(tmp_path, pair("ES256").jwk("ES256"))),
    ):
        assert await accepted(auth, token(pair("ES256").private, "ES256", {"kid": "any"}))


async def test_same_key_id_may_have_keys_of_two_types(tmp_path: Path) -> None:
    """Two keys of different types may have one ``kid``: the algorithm decides. Of one type, none is tried."""
    curve, edwards = pair("ES256"), pair("EdDSA")
    two = TokenAuth(jwks=in_file(tmp_path, curve.jwk("ES256", kid="k"), edwards.jwk("EdDSA", kid="k")))
    assert await accepted(two, token(curve.private, "ES256", {"kid": "k"}))
    assert await accepted(two, token(edwards.private, "EdDSA", {"kid": "k"}))
    same = TokenAuth(jwks=in_file(tmp_path, curve.jwk("ES256", kid="k"), pair("ES256", 1).jwk("ES256", kid="k")))
    assert "several keys fit" in await refused(same, token(curve.private, "ES256", {"kid": "k"}))


# Key confusion

PUBLISHED: dict[str, Callable[[], bytes]] = {
    "PEM": lambda: pair("RS256").public,
    "PEM in one line more": lambda: b"\n" + pair("RS256").public,
    "DER": lambda: pair("RS256").encoded(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "PKCS1": lambda: pair("RS256").encoded(Encoding.PEM, PublicFormat.PKCS1),
    "SSH": lambda: pair("RS256").encoded(Encoding.OpenSSH, PublicFormat.OpenSSH),
    "JWK": lambda: json.dumps(pair("RS256").jwk("RS256", kid="k")).encode(),
    "modulus": lambda: str(pair("RS256").jwk("RS256")["n"]).encode(),
}


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
async def test_public_key_is_no_secret(published: Callable[[], bytes], tmp_path: Path) -> None:
    """A token that was signed with a public key as the shared secret is refused, even if HS256 is accepted too."""
    both, public = ("RS256", "HS256"), pair("RS256").public
    forms = (
        TokenAuth(public, both),
        TokenAuth({"k": public, "secret": SECRET}, both),
        TokenAuth(jwks=in_file(tmp_path, pair("RS256").jwk("RS256", kid="k")), algorithms=both),
    )
    for auth in forms:
        for algorithm in ("HS256", "HS384", "HS512"):
            forged = with_payload(CLAIMS, published(), algorithm, {"kid": "k"})
            assert "its algorithm is not accepted" in await refused(auth, forged)


async def test_key_id_does_not_lend_a_key_to_another_algorithm() -> None:
    """A token with the ``kid`` of one key and the algorithm of another is refused, whichever key has signed it."""
    curve = pair("ES256")
    auth = TokenAuth({"secret": SECRET, "curve": curve.public}, ["HS256", "ES256"])
    assert "its algorithm is not accepted" in await refused(auth, token(SECRET, header={"kid": "curve"}))
    assert "its algorithm is not accepted" in await refused(auth, token(curve.private, "ES256", {"kid": "secret"}))


@pytest.mark.parametrize("published", [name for name in PUBLISHED if name != "modulus"])
def test_public_key_cannot_be_given_as_a_secret(published: str) -> None:
    """TokenAuth refuses a public key as the secret of HS256, alone and in a mapping."""
    key = PUBLISHED[published]()
    for given in (key, {"k": key}):
        with pytest.raises(ConfigError, match=r"^key of TokenAuth .*cannot be used with HS256"):
            TokenAuth(given)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS257"])
async def test_unsigned_token_is_refused(algorithm: str, tmp_path: Path) -> None:
    """A token without a signature is refused, however its algorithm is written."""
    unsigned = with_payload(CLAIMS, algorithm="none", header={"alg": algorithm})
    for auth in (
        TokenAuth(SECRET),
        TokenAuth({"k": SECRET}),
        TokenAuth(jwks=in_file(tmp_path, pair("EdDSA").jwk("EdDSA"))),
    ):
        assert "its algorithm is not accepted" in await refused(auth, unsigned)
        assert not await accepted(auth, unsigned + encoded(b"signature"))


@pytest.mark.parametrize("algorithm", [None, 7, True, ["HS256"], {"HS256": 1}, ...])
async def test_algorithm_must_be_a_string(algorithm: object) -> None:
    """A token with an ``alg`` that is no string, or without ``alg``, is refused."""
    header = {} if algorithm is ... else {"alg": algorithm}
    assert "names no algorithm" in await refused(TokenAuth(SECRET), with_header(json.dumps(header).encode(), CLAIMS))


async def test_key_that_a_token_brings_is_ignored() -> None:
    """Headers that bring or address a key (``jwk``, ``jku``, ``x5c``, ``x5u``) change nothing.

    A token by a configured key is accepted with them, a token by another key is refused.
    """
    mine, theirs = pair("ES256"), pair("ES256", 1)
    auth = TokenAuth(mine.public, ["ES256"])
    address = "https://evil.example/keys"
    for header in ({"jwk": theirs.jwk("ES256")}, {"jku": address}, {"x5u": address}, {"x5c": ["AAAA"]}):
        assert await accepted(auth, token(mine.private, "ES256", header))
        assert "Signature verification failed" in await refused(auth, token(theirs.private, "ES256", header))


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": True}, {"crit": []}, {"crit": 7}, {"crit": None}], ids=str
)
async def test_critical_header_is_refused(header: dict[str, Any]) -> None:
    """A token with a critical header is refused, because none is supported."""
    assert "critical headers" in await refused(TokenAuth(SECRET), token(header=header))


# JWKS


async def test_key_of_a_jwks_is_bound_to_its_alg(tmp_path: Path) -> None:
    """A key of a JWKS with ``alg`` is used with this algorithm only, without it with all of its type."""
    keys = pair("RS256")
    bound = TokenAuth(jwks=in_file(tmp_path, keys.jwk("RS256", alg="RS256")))
    assert await accepted(bound, token(keys.private, "RS256"))
    assert "its algorithm is not accepted" in await refused(bound, token(keys.private, "PS256"))
    free = TokenAuth(jwks=in_file(tmp_path, keys.jwk("RS256", alg=None)))
    assert await accepted(free, token(keys.private, "PS256"))


async def test_accepted_algorithms_limit_a_jwks(tmp_path: Path) -> None:
    """With ``algorithms``, a JWKS is used for these algorithms only."""
    keys = pair("RS256")
    auth = TokenAuth(jwks=in_file(tmp_path, keys.jwk("RS256", alg=None)), algorithms=["PS256"])
    assert await accepted(auth, token(keys.private, "PS256"))
    assert "its algorithm is not accepted" in await refused(auth, token(keys.private, "RS256"))


UNUSABLE: dict[str, dict[str, Any]] = {
    "for encryption": {"use": "enc"},
    "use of another type": {"use": 7},
    "only to sign": {"key_ops": ["sign"]},
    "operations of another type": {"key_ops": "verify"},
    "another algorithm": {"alg": "RS256"},
    "an algorithm of another type": {"alg": ["ES256"]},
    "no algorithm": {"alg": "none"},
    "an unknown type": {"kty": "PQ"},
    "no type": {"kty": None},
    "type of another type": {"kty": ["EC"]},
    "another curve": {"crv": "P-384"},
    "no point": {"x": None},
    "a point of another type": {"x": 7},
    "not on the curve": {"x": encoded(b"\1" * 32)},
    "a key id that is no string": {"kid": 7},
    "an empty key id": {"kid": ""},
    "a long key id": {"kid": "k" * 257},
}


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_unusable_key_of_a_jwks_is_left_out(change: dict[str, Any], tmp_path: Path) -> None:
    """A key of a JWKS that cannot check signatures is left out. The other keys of the JWKS work."""
    curve, edwards = pair("ES256"), pair("EdDSA")
    auth = TokenAuth(jwks=in_file(tmp_path, curve.jwk("ES256", **change), edwards.jwk("EdDSA", kid="k" * 256)))
    assert await accepted(auth, token(edwards.private, "EdDSA", {"kid": "k" * 256}))
    assert "its algorithm is not accepted" in await refused(auth, token(curve.private, "ES256"))


async def test_short_rsa_key_of_a_jwks_is_left_out(tmp_path: Path) -> None:
    """An RSA key of a JWKS that can be guessed is left out."""
    short = encoded((int.from_bytes(b"\xff" * 128, "big") - 2**500).to_bytes(128, "big"))
    with pytest.raises(ConfigError, match="none of its keys can be used"):
        TokenAuth(jwks=in_file(tmp_path, pair("RS256").jwk("RS256", n=short)))


async def test_secret_in_a_file_needs_its_algorithm(tmp_path: Path) -> None:
    """A shared secret in a JWKS file is used only if ``algorithms`` names its algorithm, and if it is long enough."""
    secret = {"kty": "oct", "k": encoded(SECRET.encode()), "kid": "k"}
    path = in_file(
        tmp_path, secret, pair("EdDSA").jwk("EdDSA"), {"kty": "oct", "k": encoded(b"x" * 31), "kid": "short"}
    )
    assert "its algorithm is not accepted" in await refused(TokenAuth(jwks=path), token(SECRET))
    auth = TokenAuth(jwks=path, algorithms=["HS256"])
    assert await accepted(auth, token(SECRET, header={"kid": "k"}))
    assert "no key has its key id" in await refused(auth, token(b"x" * 31, header={"kid": "short"}))


# Configuration


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ("key or jwks of TokenAuth must be given", {}),
        ("key or jwks of TokenAuth must be given, and not both", {"key": SECRET, "jwks": "keys.json"}),
        ("key of TokenAuth must be a key or a mapping", {"key": 7}),
        ("key of TokenAuth must be a key or a mapping", {"key": [SECRET]}),
        ("key of TokenAuth is a mapping without keys", {"key": {}}),
        ("key of TokenAuth: a kid must be a string of 1 to 256 characters, not 7", {"key": {7: SECRET}}),
        ("key of TokenAuth: a kid must be a string of 1 to 256 characters, not ''", {"key": {"": SECRET}}),
        ("key of TokenAuth: a kid must be a string of 1 to 256", {"key": {"k" * 257: SECRET}}),
        ("key of TokenAuth with the kid 'a' must be text or bytes", {"key": {"a": None}}),
        ("key of TokenAuth with the kid 'b' is empty", {"key": {"a": SECRET, "b": ""}}),
        ("key of TokenAuth with the kid 'a' is too short: HS256 needs 32 bytes", {"key": {"a": "x" * 31}}),
        (
            "key of TokenAuth with the kid 'a' cannot be used with ES256",
            {"key": {"a": SECRET}, "algorithms": ["ES256"]},
        ),
        ("audience of TokenAuth must be a name", {"key": SECRET, "audience": ""}),
        ("audience of TokenAuth must be a name", {"key": SECRET, "audience": []}),
        ("issuer of TokenAuth must be a name", {"key": SECRET, "issuer": ["a", 7]}),
        ("jwks of TokenAuth must be the path of a file", {"jwks": 7}),
        ("jwks of TokenAuth: '/nowhere/keys.json': ", {"jwks": "/nowhere/keys.json"}),
        ("jwks of TokenAuth: '/dev': .*it is not a plain file", {"jwks": "/dev"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "ftp://a.example/keys"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "file:///etc/keys"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "https:///keys"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "https://[::1/keys"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "https://a.example:x/keys"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "https://a.example/a\r\nb: c"}),
        ("jwks of TokenAuth must be the path of a file or an https:// URL", {"jwks": "https://a.example/a b"}),
        ("jwks of TokenAuth: a URL must not have a user", {"jwks": "https://me:secret@a.example/keys"}),
        ("jwks of TokenAuth: http:// is only for loopback addresses", {"jwks": "http://a.example/keys"}),
        ("jwks of TokenAuth: http:// is only for loopback addresses", {"jwks": "http://127.0.0.1.a.example/keys"}),
        ("jwks_seconds of TokenAuth must be", {"jwks": "https://a.example/keys", "jwks_seconds": 0}),
        ("jwks_seconds of TokenAuth must be", {"jwks": "https://a.example/keys", "jwks_seconds": float("inf")}),
        ("algorithms of TokenAuth: HS256 needs a shared", {"jwks": "https://a.example/keys", "algorithms": ["HS256"]}),
    ],
)
def test_wrong_argument_is_named(told: str, arguments: dict[str, Any]) -> None:
    """TokenAuth raises ConfigError for a wrong argument, and the message names it and does not show a key."""
    with pytest.raises(ConfigError, match=f"^{told}") as caught:
        TokenAuth(**arguments)
    assert SECRET not in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://a.example/keys", "http://127.0.0.1:1/k", "http://[::1]/k", "http://localhost/k"]
)
def test_url_is_not_fetched_before_a_token_comes(url: str) -> None:
    """TokenAuth accepts an https:// URL, and an http:// URL of a loopback address. It does not fetch it yet."""
    TokenAuth(jwks=url)
