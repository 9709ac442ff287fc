"""The claims of a token: times, audience, issuer, and what becomes of them in the User."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from auth.signing import NEVER, SECRET, jwks, pair, seen, token

from actors import ConfigError
from transport import NotAuthenticated, TokenAuth, TokenExpired, User
from transport.auth import MAX_TOKEN

if TYPE_CHECKING:
    from pathlib import Path

FAR = 1_000.0  # s: far more than a test takes


async def reason(auth: TokenAuth, wrong: str) -> str:
    """Return the reason with which TokenAuth refuses a token for good; "" if it accepts the token."""
    try:
        await auth(seen(wrong))
    except TokenExpired:
        raise AssertionError(wrong) from None
    except NotAuthenticated as refusal:
        return str(refusal).partition(": ")[2]
    return ""


def claiming(name: str, value: Any) -> str:
    """Return a token with this claim."""
    claims = {name: value}
    return token(**claims)


# Times


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_token_of_the_future_is_refused(name: str) -> None:
    """A token with ``nbf`` or ``iat`` in the future is refused, unless the leeway covers it."""
    later = time.time() + FAR
    assert "not yet valid" in await reason(TokenAuth(SECRET), claiming(name, later))
    assert "not yet valid" in await reason(TokenAuth(SECRET, leeway_seconds=FAR / 2), claiming(name, later))
    assert await reason(TokenAuth(SECRET, leeway_seconds=FAR * 2), claiming(name, later)) == ""
    assert await reason(TokenAuth(SECRET), claiming(name, time.time() - 1)) == ""


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "wrong",
    ["4000000000", "soon", "NaN", True, False, -1, -0.5, 253_402_300_800, 4e12, 10**400, -(10**400), [], {}, [1]],
    ids=lambda value: str(value)[:20],
)
async def test_time_must_be_a_time(name: str, wrong: object) -> None:
    """A token with a time that is no number of seconds from 1970 to the year 9999 is refused for good."""
    assert await reason(TokenAuth(SECRET), claiming(name, wrong)) != ""


async def test_time_may_be_the_end_of_the_year_9999() -> None:
    """A token may expire in the last second of the year 9999, and may be issued in 1970."""
    last = 253_402_300_799
    assert await TokenAuth(SECRET)(seen(token(exp=last, iat=0, nbf=0))) == User("alice", last, None, 0)


# Audience and issuer


@pytest.mark.parametrize("audience", ["chat", ["chat"], ["chat", "mail"]])
async def test_token_for_another_audience_is_refused(audience: object) -> None:
    """If TokenAuth has no audience, it refuses a token that is meant for one."""
    assert (
        await reason(TokenAuth(SECRET), token(aud=audience)) == "it is for an audience (aud), and this server has none"
    )


async def test_one_of_several_audiences_is_enough() -> None:
    """If TokenAuth has several audiences, the token must name one of them."""
    auth = TokenAuth(SECRET, audience=["web", "phone"])
    assert await reason(auth, token(aud="phone")) == ""
    assert await reason(auth, token(aud=["mail", "web"])) == ""
    assert await reason(auth, token(aud="mail")) == "Audience doesn't match"
    assert await reason(auth, token()) == 'Token is missing the "aud" claim'


@pytest.mark.parametrize("issuer", ["https://id.example", ["https://id.example", "https://old.example"]])
async def test_issuer_must_be_right(issuer: Any) -> None:
    """If TokenAuth has an issuer, or several, the token must be by one of them. Otherwise any issuer is right."""
    auth = TokenAuth(SECRET, issuer=issuer)
    assert await reason(auth, token(iss="https://id.example")) == ""
    wrong: tuple[object, ...] = ("https://id.example/", "https://id", "", None, 7, ["https://id.example"])
    for each in wrong:
        assert await reason(auth, token(iss=each)) != ""
    assert await reason(TokenAuth(SECRET), token(iss="https://evil.example")) == ""


@pytest.mark.parametrize("wrong", [{"iss": "evil"}, {"jti": 7}, {"iat": "1"}, {"nbf": True}, {"aud": "mail"}], ids=str)
async def test_expired_token_with_another_fault_is_wrong(wrong: dict[str, Any]) -> None:
    """A token that has expired is refused for good if anything else is wrong with it."""
    auth = TokenAuth(SECRET, issuer="id")
    with pytest.raises(TokenExpired):
        await auth(seen(token(exp=1, iss="id")))
    assert await reason(auth, token(**{"exp": 1, "iss": "id", **wrong})) != ""


# The user


async def test_user_has_token_id_and_time() -> None:
    """The User has ``jti`` as the id of the token, and ``iat`` as the time when it was issued."""
    assert await TokenAuth(SECRET)(seen(token(jti="t-1", iat=5.5))) == User("alice", NEVER, "t-1", 5.5)
    assert await TokenAuth(SECRET)(seen(token())) == User("alice", NEVER, None, None)


async def test_leeway_makes_a_token_older() -> None:
    """The leeway is subtracted from the time of issue: the clock of the issuer may be so much ahead.

    *Otherwise a token would outlive a revocation that came after it.*
    """
    user = await TokenAuth(SECRET, leeway_seconds=10)(seen(token(iat=1_000)))
    assert user == User("alice", NEVER + 10, None, 990)


@pytest.mark.parametrize("name", ["sub", "jti"])
@pytest.mark.parametrize(
    "wrong",
    [7, 1.5, True, "", [], ["alice"], {}, "x" * 257, "a\nb", "a\0", "\x7f", "\x9b31m", "\u2028", "\ud800"],
    ids=ascii,
)
async def test_names_are_short_and_printable(name: str, wrong: object) -> None:
    """A token whose ``sub`` or ``jti`` is no string of 1 to 256 characters, or has control characters, is refused."""
    told = await reason(TokenAuth(SECRET), claiming(name, wrong))
    assert "must be" in told or told == f"{name} has a control character"


async def test_names_may_be_in_any_language() -> None:
    """The names in a token may have 256 characters in any language, also characters that join others."""
    for name in ("x" * 256, "نام‌کاربر", "👩‍💻", "auth0|a b", "Zoë"):
        assert (await TokenAuth(SECRET)(seen(token(sub=name, jti=name)))) == User(name, NEVER, name)


# Issue


def test_issued_token_has_all_claims() -> None:
    """A token from ``issue`` has the times, a token id, the first audience and issuer, and the ``kid`` of its key."""
    auth = TokenAuth({"new": SECRET, "old": SECRET[::-1]}, audience=["chat", "mail"], issuer="me")
    before = time.time()
    issued = auth.issue("alice", 60)
    claims = jwt.decode(issued, SECRET, algorithms=["HS256"], audience="chat", issuer="me")
    assert jwt.get_unverified_header(issued)["kid"] == "new"
    assert claims["sub"] == "alice"
    assert before <= claims["iat"] == claims["exp"] - 60 <= time.time()
    user, other = auth.user(issued), auth.user(auth.issue("alice", 60))
    assert (user.token_id, user.issued) == (claims["jti"], claims["iat"])
    assert other.token_id != user.token_id


def test_private_key_issues_tokens() -> None:
    """TokenAuth with a private key issues tokens that the public key checks. A public key cannot issue any."""
    keys = pair("ES256")
    issued = TokenAuth({"k": keys.private}, ["ES256"]).issue("alice", 60)
    public = TokenAuth({"k": keys.public}, ["ES256"])
    assert public.user(issued).id == "alice"
    for algorithm in ("ES256", "EdDSA", "RS256"):
        with pytest.raises(ValueError, match="cannot sign tokens"):
            TokenAuth(pair(algorithm).public, [algorithm]).issue("alice", 60)


@pytest.mark.parametrize("wrong", ["", "x" * 257, "a\nb", 7])
def test_token_for_a_wrong_user_is_not_issued(wrong: Any) -> None:
    """TokenAuth does not issue a token that it would refuse."""
    with pytest.raises(ValueError, match=r"^id of a user "):
        TokenAuth(SECRET).issue(wrong, 60)


def test_jwks_neither_issues_nor_reads_at_once(tmp_path: Path) -> None:
    """TokenAuth with a JWKS cannot issue tokens, and reads them only in its async call."""
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(pair("EdDSA").jwk("EdDSA")))
    auth = TokenAuth(jwks=path)
    with pytest.raises(ConfigError, match="cannot issue tokens"):
        auth.issue("alice", 60)
    with pytest.raises(ConfigError, match="await auth"):
        auth.user(token(pair("EdDSA").private, "EdDSA"))


# Size


async def test_token_may_have_8192_characters() -> None:
    """A token of 8,192 characters is accepted. A longer one is refused before it is read."""

    def of(length: int) -> str:
        shorter = token(pad="x")
        return token(pad="x" * ((length - len(shorter)) * 3 // 4 + 1))

    longest = max((of(MAX_TOKEN - less) for less in range(4)), key=lambda each: (len(each) <= MAX_TOKEN, len(each)))
    assert MAX_TOKEN - 2 <= len(longest) <= MAX_TOKEN == 8192
    assert await reason(TokenAuth(SECRET), longest) == ""
    assert await reason(TokenAuth(SECRET), of(MAX_TOKEN + 4)) == "it has more than 8192 characters"
    assert await reason(TokenAuth(SECRET), "x" * 60_000) == "it has more than 8192 characters"
