"""``TokenAuth``: valid and invalid tokens. The tokens are made by the JWT library, not by the tested code."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from actors import ConfigError
from transport import Credentials, NotAuthenticated, TokenAuth, TokenExpired, User

KEY = "a key that is long enough " * 4
OTHER_KEY = "another key that is long enough " * 4
NEVER = 4e9  # s since 1970: in the year 2096


def token(*, key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a good token with changed claims. A claim that is None is left out."""
    present = {"sub": "alice", "exp": NEVER, **claims}
    kept = {name: value for name, value in present.items() if value is not None}
    return jwt.api_jws.encode(json.dumps(kept).encode(), key, algorithm)


def unsigned() -> str:
    """Return a token without a signature."""
    return jwt.encode({"sub": "alice", "exp": NEVER}, "", algorithm="none")


def changed(good: str) -> str:
    """Return a token with the claims of another user under its old signature."""
    head, _, signature = good.split(".")
    return ".".join((head, token(sub="mallory").split(".")[1], signature))


def seen(answer: str | None) -> Credentials:
    """Return credentials with this token."""
    return Credentials(token=answer, session="s")


async def test_valid_token_has_user_and_end() -> None:
    """A valid token gives its user and the time at which it expires."""
    assert await TokenAuth(KEY)(seen(token())) == User("alice", NEVER)


async def test_issued_token_fits_key_and_audience() -> None:
    """An issued token is valid only for the key and audience with which it was issued."""
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
    """A wrong token raises NotAuthenticated, and the message does not quote the token."""
    with pytest.raises(NotAuthenticated) as caught:
        await TokenAuth(KEY)(seen(wrong))
    assert type(caught.value) is NotAuthenticated  # expired ones are told apart: their clients come back
    assert not wrong or wrong not in str(caught.value)
    str(caught.value).encode()


async def test_user_may_have_256_characters() -> None:
    """The name of a user may have 256 characters."""
    assert (await TokenAuth(KEY)(seen(token(sub="x" * 256)))).id == "x" * 256


async def test_old_token_has_expired() -> None:
    """A token after its expiry time raises TokenExpired."""
    with pytest.raises(TokenExpired):
        await TokenAuth(KEY)(seen(token(exp=1)))


@pytest.mark.parametrize("wrong", [{"key": OTHER_KEY}, {"sub": ""}, {"aud": "mail"}, {"nbf": NEVER - 1}], ids=str)
async def test_expired_and_wrong_token_is_wrong(wrong: dict[str, Any]) -> None:
    """An expired token with another fault raises NotAuthenticated, not TokenExpired."""
    with pytest.raises(NotAuthenticated) as caught:
        await TokenAuth(KEY, audience="chat")(seen(token(**{"exp": 1, "aud": "chat", **wrong})))
    assert type(caught.value) is NotAuthenticated


async def test_token_end_may_have_a_fraction() -> None:
    """The expiry time of a token may have a fraction of a second, and the fraction counts."""
    soon = int(time.time()) + 1_000.5
    assert await TokenAuth(KEY)(seen(token(exp=soon))) == User("alice", soon)


async def test_leeway_is_added_to_the_end() -> None:
    """A token is valid until its expiry time plus the leeway."""
    ended = int(time.time()) - 1_000
    assert await TokenAuth(KEY, leeway_seconds=100_000)(seen(token(exp=ended))) == User("alice", ended + 100_000)
    with pytest.raises(TokenExpired):
        await TokenAuth(KEY, leeway_seconds=10)(seen(token(exp=ended)))


AUDIENCES = [("chat", True), (["mail", "chat"], True), ("mail", False), (["mail"], False), (None, False), (7, False)]


@pytest.mark.parametrize(("audience", "good"), AUDIENCES)
async def test_audience_must_be_in_the_token(audience: Any, good: bool) -> None:
    """If an audience is configured, it must be in the token."""
    credentials = seen(token(aud=audience))
    if good:
        assert (await TokenAuth(KEY, audience="chat")(credentials)).id == "alice"
    else:
        with pytest.raises(NotAuthenticated):
            await TokenAuth(KEY, audience="chat")(credentials)


async def test_listed_algorithms_are_accepted() -> None:
    """A token signed by any configured algorithm is accepted."""
    auth = TokenAuth(KEY, algorithms=["HS256", "HS384"])
    for algorithm in ("HS256", "HS384"):
        assert (await auth(seen(token(algorithm=algorithm)))).id == "alice"


def pair(private: Any) -> tuple[bytes, bytes]:
    """Return a private key and its public key, in PEM."""
    hidden = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return hidden, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


CURVE = pair(ec.generate_private_key(ec.SECP256R1()))
EDWARDS = pair(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(("algorithm", "keys"), [("ES256", CURVE), ("EdDSA", EDWARDS)])
async def test_public_key_checks_signatures(algorithm: str, keys: tuple[bytes, bytes]) -> None:
    """A public key is enough to check the tokens that its private key signed."""
    private, public = keys
    signed = seen(jwt.encode({"sub": "alice", "exp": NEVER}, private, algorithm))
    for key in (public, public.decode()):
        assert (await TokenAuth(key, algorithms=(algorithm,))(signed)).id == "alice"


async def test_algorithm_must_fit_the_key() -> None:
    """An algorithm that does not fit the key is not accepted.

    *If a public key were taken for a shared secret, anyone could sign a token.*
    """
    auth = TokenAuth(CURVE[1], algorithms=("ES256", "HS256", "EdDSA"))
    for private, algorithm in ((KEY, "HS256"), (EDWARDS[0], "EdDSA")):
        with pytest.raises(NotAuthenticated):
            await auth(seen(jwt.encode({"sub": "alice", "exp": NEVER}, private, algorithm)))
    assert (await auth(seen(jwt.encode({"sub": "alice", "exp": NEVER}, CURVE[0], "ES256")))).id == "alice"


async def test_short_key_makes_no_warning() -> None:
    """A short key causes no warning when a token is issued or checked."""
    auth = TokenAuth("short")
    assert (await auth(seen(auth.issue("alice", 60)))).id == "alice"


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
    """A wrong key, algorithm or leeway raises ConfigError with the name of the argument."""
    with pytest.raises(ConfigError, match=rf"^{field} of TokenAuth "):
        TokenAuth(**arguments)


def test_repr_hides_token_and_headers() -> None:
    """The repr of credentials shows neither the token nor the headers."""
    credentials = Credentials(token="secret-token", session="s", headers={"cookie": "secret-cookie"})
    assert "secret" not in repr(credentials)
