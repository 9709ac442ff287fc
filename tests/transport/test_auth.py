"""``TokenAuth``: valid and invalid tokens. The tokens are made by the JWT library, not by the tested code."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from actors import ConfigError
from transport import Credentials, NotAuthenticated, TokenAuth, TokenExpired, User
from transport.auth import MIN_KEY_BYTES

KEY = "a key that is long enough " * 4
OTHER_KEY = "another key that is long enough " * 4
NEVER = 4e9  # s since 1970: in the year 2096


def token(*, key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a valid token, with changes to its claims. A claim that is None is left out."""
    present = {"sub": "alice", "exp": NEVER, **claims}
    kept = {name: value for name, value in present.items() if value is not None}
    return jwt.api_jws.encode(json.dumps(kept).encode(), key, algorithm)


def unsigned() -> str:
    """Return a token without a signature."""
    return jwt.encode({"sub": "alice", "exp": NEVER}, "", algorithm="none")


def changed(good: str) -> str:
    """Return a copy of the token with the claims of another user, but with the old signature."""
    head, _, signature = good.split(".")
    return ".".join((head, token(sub="mallory").split(".")[1], signature))


def seen(answer: str | None) -> Credentials:
    """Return credentials that contain this token."""
    return Credentials(token=answer, session="s")


async def test_valid_token_has_user_and_end() -> None:
    """For a valid token, TokenAuth returns its user and the time when the token expires."""
    assert await TokenAuth(KEY)(seen(token())) == User("alice", NEVER)


async def test_issued_token_fits_key_and_audience() -> None:
    """A token from ``issue`` is valid only with the same key and the same audience."""
    issued = TokenAuth(KEY, audience="chat").issue("alice", 60)
    user = await TokenAuth(KEY, audience="chat")(seen(issued))
    assert user.id == "alice"
    for auth in (TokenAuth(OTHER_KEY, audience="chat"), TokenAuth(KEY, audience="mail")):
        with pytest.raises(NotAuthenticated):
            await auth(seen(issued))


WRONG: dict[str, str | None] = {
    "absent": None,
    "empty": "",
    "no token": "alice",
    "not text of a token": "\ud800.\u20ac.x",
    "unsigned": unsigned(),
    "another key": token(key=OTHER_KEY),
    "another algorithm": token(algorithm="HS512"),
    "changed": changed(token()),
    "cut": token()[:-4],
    "no user": token(sub=None),
    "an empty user": token(sub=""),
    "a user that is no string": token(sub=7),
    "a user that is too long": token(sub="x" * 257),
    "a user that no log could hold": token(sub="\ud800"),
    "no end": token(exp=None),
    "an end that is no number": token(exp="tomorrow"),
    "an end in a string": token(exp="4000000000"),
    "an end that is a bool": token(exp=True),
    "an end that is no time": token(exp=float("inf")),
    "an end that is not a number": token(exp=float("nan")),
    "not yet": token(nbf=NEVER - 1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_wrong_token_is_not_quoted(wrong: str | None) -> None:
    """TokenAuth raises NotAuthenticated for a wrong token, and the message does not contain the token."""
    with pytest.raises(NotAuthenticated) as caught:
        await TokenAuth(KEY)(seen(wrong))
    assert type(caught.value) is NotAuthenticated  # expired ones are told apart: their clients come back
    assert not wrong or wrong not in str(caught.value)
    str(caught.value).encode()


async def test_user_may_have_256_characters() -> None:
    """TokenAuth accepts a token for a user with a name of 256 characters."""
    assert (await TokenAuth(KEY)(seen(token(sub="x" * 256)))).id == "x" * 256


async def test_old_token_has_expired() -> None:
    """TokenAuth raises TokenExpired for a token after its expiry time."""
    with pytest.raises(TokenExpired):
        await TokenAuth(KEY)(seen(token(exp=1)))


@pytest.mark.parametrize("wrong", [{"key": OTHER_KEY}, {"sub": ""}, {"aud": "mail"}, {"nbf": NEVER - 1}], ids=str)
async def test_expired_and_wrong_token_is_wrong(wrong: dict[str, Any]) -> None:
    """For a token that has expired and is wrong too, TokenAuth raises NotAuthenticated, and not TokenExpired."""
    with pytest.raises(NotAuthenticated) as caught:
        await TokenAuth(KEY, audience="chat")(seen(token(**{"exp": 1, "aud": "chat", **wrong})))
    assert type(caught.value) is NotAuthenticated


async def test_token_end_may_have_a_fraction() -> None:
    """The expiry time of a token may have a fraction of a second, and TokenAuth does not round it."""
    soon = int(time.time()) + 1_000.5
    assert await TokenAuth(KEY)(seen(token(exp=soon))) == User("alice", soon)


async def test_leeway_is_added_to_the_end() -> None:
    """With a leeway, a token is still accepted for that many seconds after its expiry time."""
    ended = int(time.time()) - 1_000
    assert await TokenAuth(KEY, leeway_seconds=100_000)(seen(token(exp=ended))) == User("alice", ended + 100_000)
    with pytest.raises(TokenExpired):
        await TokenAuth(KEY, leeway_seconds=10)(seen(token(exp=ended)))


AUDIENCES = [("chat", True), (["mail", "chat"], True), ("mail", False), (["mail"], False), (None, False), (7, False)]


@pytest.mark.parametrize(("audience", "good"), AUDIENCES)
async def test_audience_must_be_in_the_token(audience: Any, good: bool) -> None:
    """If TokenAuth has an audience, it accepts only tokens that name this audience."""
    credentials = seen(token(aud=audience))
    if good:
        assert (await TokenAuth(KEY, audience="chat")(credentials)).id == "alice"
    else:
        with pytest.raises(NotAuthenticated):
            await TokenAuth(KEY, audience="chat")(credentials)


async def test_listed_algorithms_are_accepted() -> None:
    """TokenAuth accepts a token that is signed with any of its configured algorithms."""
    auth = TokenAuth(KEY, algorithms=["HS256", "HS384"])
    for algorithm in ("HS256", "HS384"):
        assert (await auth(seen(token(algorithm=algorithm)))).id == "alice"


def pair(private: Any) -> tuple[bytes, bytes]:
    """Return a private key and its public key, both as PEM."""
    hidden = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return hidden, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


CURVE = pair(ec.generate_private_key(ec.SECP256R1()))
EDWARDS = pair(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(("algorithm", "keys"), [("ES256", CURVE), ("EdDSA", EDWARDS)])
async def test_public_key_checks_signatures(algorithm: str, keys: tuple[bytes, bytes]) -> None:
    """With only the public key, TokenAuth accepts a token that the private key has signed."""
    private, public = keys
    signed = seen(jwt.encode({"sub": "alice", "exp": NEVER}, private, algorithm))
    for key in (public, public.decode()):
        assert (await TokenAuth(key, algorithms=(algorithm,))(signed)).id == "alice"


async def test_algorithm_must_fit_the_key() -> None:
    """TokenAuth refuses a token with an algorithm that does not fit the key.

    *If a public key were used as a shared secret, every person who knows the public key could sign a token.*
    """
    auth = TokenAuth(CURVE[1], algorithms=("ES256", "HS256", "EdDSA"))
    for private, algorithm in ((KEY, "HS256"), (EDWARDS[0], "EdDSA")):
        with pytest.raises(NotAuthenticated):
            await auth(seen(jwt.encode({"sub": "alice", "exp": NEVER}, private, algorithm)))
    assert (await auth(seen(jwt.encode({"sub": "alice", "exp": NEVER}, CURVE[0], "ES256")))).id == "alice"


@pytest.mark.parametrize(("algorithm", "least"), MIN_KEY_BYTES.items())
async def test_short_key_is_refused(algorithm: str, least: int) -> None:
    """A shared secret must have as many bytes as its algorithm's hash. With one byte less it is refused."""
    for key in ("k" * least, "ü" * (least // 2), b"k" * least):
        auth = TokenAuth(key, algorithms=[algorithm])
        assert (await auth(seen(auth.issue("alice", 60)))).id == "alice"
        with pytest.raises(ConfigError, match=rf"^key of TokenAuth is too short: {algorithm} needs {least} bytes"):
            TokenAuth(key[:-1], algorithms=[algorithm])


async def test_key_is_long_enough_for_each_algorithm() -> None:
    """If a token may be signed with several algorithms, the secret must be long enough for each of them.

    A secret that is too short for one of the algorithms is refused.
    """
    with pytest.raises(ConfigError, match="HS512 needs 64 bytes or more, and it has 32"):
        TokenAuth("k" * 32, algorithms=["HS256", "HS512"])


async def test_short_rsa_key_is_refused() -> None:
    """An RSA key below 2,048 bits is refused, and one of 2,048 bits is accepted."""
    for bits in (1024, 2048):
        private, public = pair(rsa.generate_private_key(65537, bits))
        if bits < 2048:
            with pytest.raises(ConfigError, match=r"^key of TokenAuth is too short: The RSA key is 1024 bits"):
                TokenAuth(public, algorithms=["RS256"])
        else:
            signed = seen(jwt.encode({"sub": "alice", "exp": NEVER}, private, "RS256"))
            assert (await TokenAuth(public, algorithms=["RS256"])(signed)).id == "alice"


def test_missing_cryptography_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If an algorithm needs the package ``cryptography`` and it is not installed, TokenAuth raises ConfigError.

    The message has the command that installs the package.
    """
    monkeypatch.setattr("jwt.api_jws.PyJWS.get_algorithms", lambda _: ["none", "HS256", "HS384", "HS512"])
    with pytest.raises(ConfigError, match="ES256 needs a package: pip install cryptography"):
        TokenAuth(CURVE[1], algorithms=["ES256"])
    with pytest.raises(ConfigError, match="needs a package: pip install cryptography"):
        TokenAuth(jwks="https://a.example/keys")


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("key", {"key": ""}),
        ("key", {"key": CURVE[1]}),
        ("key", {"key": EDWARDS[1], "algorithms": ["ES256", "HS256"]}),
        ("key", {"key": "no PEM", "algorithms": ["ES256"]}),
        ("algorithms", {"key": KEY, "algorithms": []}),
        ("algorithms", {"key": KEY, "algorithms": "HS256"}),
        ("algorithms", {"key": KEY, "algorithms": ["none"]}),
        ("algorithms", {"key": KEY, "algorithms": ["HS256", "HS257"]}),
        ("leeway_seconds", {"key": KEY, "leeway_seconds": -1}),
        ("leeway_seconds", {"key": KEY, "leeway_seconds": float("nan")}),
        ("leeway_seconds", {"key": KEY, "leeway_seconds": float("inf")}),
        ("leeway_seconds", {"key": KEY, "leeway_seconds": "10"}),
    ],
)
def test_wrong_configuration_is_named(field: str, arguments: dict[str, Any]) -> None:
    """TokenAuth raises ConfigError for a wrong key, algorithm or leeway, with the argument's name in the message."""
    with pytest.raises(ConfigError, match=rf"^{field} of TokenAuth[ :]"):
        TokenAuth(**arguments)


def test_repr_hides_token_and_headers() -> None:
    """The repr of ``Credentials`` shows neither the token nor the headers, so that they cannot get into a log."""
    credentials = Credentials(token="secret-token", session="s", headers={"cookie": "secret-cookie"})
    assert "secret" not in repr(credentials)


WRONG_FIELDS: list[tuple[str, object]] = [
    *(("token_id", wrong) for wrong in ("", "x" * 257, 7, "\ud800", True)),
    *((name, wrong) for name in ("expires", "issued") for wrong in ("7", True, float("nan"), 10**400)),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG_FIELDS, ids=repr)
def test_wrong_field_of_a_user_is_refused(name: str, wrong: object) -> None:
    """A User with a wrong token id or a wrong time cannot be made."""
    fields: dict[str, Any] = {name: wrong}
    with pytest.raises((ValueError, OverflowError)):
        User("alice", **fields)


def test_fields_of_a_user() -> None:
    """The token id of a User may have 256 characters, and a time may be 0. The order of the fields is fixed."""
    user = User("alice", 0, "x" * 256, 0.5)
    assert (user.id, user.expires, user.token_id, user.issued) == ("alice", 0, "x" * 256, 0.5)
    assert User("alice") == User("alice", None, None, None)
