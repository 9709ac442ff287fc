"""Hostile tokens: each is refused with a plain reason, and only a configured key makes a token valid."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from auth.signing import NEVER, OTHER_SECRET, SECRET, encoded, jwks, pair, seen, token, with_header, with_payload
from hypothesis import example, given
from hypothesis import strategies as st

from transport import NotAuthenticated, TokenAuth, TokenExpired, User
from transport.auth._jwks import parse_jwks
from transport.auth._keys import KeySet

GOOD = json.dumps({"sub": "alice", "exp": NEVER}).encode()
HEADER = json.dumps({"alg": "HS256"}).encode()
DEEP = 3_000  # levels: a token of this depth is still short enough


def deep(inner: bytes) -> bytes:
    """Return ``inner`` in many lists."""
    return b"[" * DEEP + inner + b"]" * DEEP


HOSTILE: dict[str, str] = {
    "header: no base64url": "!!!." + token().partition(".")[2],
    "header: a newline": "\n" + token(),
    "header: not UTF-8": with_header(b'{"alg":"HS256","\xff":1}', GOOD),
    "header: UTF-16": with_header(HEADER.decode().encode("utf-16"), GOOD),
    "header: empty": with_header(b"", GOOD),
    "header: a list": with_header(b'["alg"]', GOOD),
    "header: null": with_header(b"null", GOOD),
    "header: deep": with_header(b'{"alg":"HS256","x":' + deep(b"") + b"}", GOOD),
    "header: alg twice": with_header(b'{"alg":"HS256","alg":"HS256"}', GOOD),
    "header: NaN": with_header(b'{"alg":"HS256","x":NaN}', GOOD),
    "header: a number of 4,500 digits": with_header(b'{"alg":"HS256","x":' + b"1" * 4_500 + b"}", GOOD),
    "header: b64 is false": with_header(b'{"alg":"HS256","b64":false}', GOOD),
    "header: b64 is false, and critical": with_header(b'{"alg":"HS256","b64":false,"crit":["b64"]}', b""),
    "claims: empty": with_payload(b""),
    "claims: no JSON": with_payload(b"{"),
    "claims: a list": with_payload(b"[]"),
    "claims: a string": with_payload(b'"sub"'),
    "claims: null": with_payload(b"null"),
    "claims: not UTF-8": with_payload(b'{"sub":"\xff","exp":4000000000}'),
    "claims: UTF-16": with_payload(GOOD.decode().encode("utf-16")),
    "claims: a byte order mark": with_payload(b"\xef\xbb\xbf" + GOOD),
    "claims: deep": with_payload(b'{"sub":"alice","exp":4000000000,"x":' + deep(b"") + b"}"),
    "claims: deep objects": with_payload(b'{"sub":"alice","exp":4000000000,"x":' + b'{"":' * 1_500),
    "claims: sub twice": with_payload(b'{"sub":"alice","exp":4000000000,"sub":"bob"}'),
    "claims: exp twice": with_payload(b'{"sub":"alice","exp":1,"exp":4000000000}'),
    "claims: twice inside": with_payload(b'{"sub":"alice","exp":4000000000,"x":{"y":1,"y":2}}'),
    "claims: exp is NaN": with_payload(b'{"sub":"alice","exp":NaN}'),
    "claims: exp is infinite": with_payload(b'{"sub":"alice","exp":Infinity}'),
    "claims: exp is beyond floats": with_payload(b'{"sub":"alice","exp":1e999}'),
    "claims: exp has 400 digits": with_payload(b'{"sub":"alice","exp":' + b"9" * 400 + b"}"),
    "claims: exp has 4,500 digits": with_payload(b'{"sub":"alice","exp":' + b"9" * 4_500 + b"}"),
    "claims: iat is beyond floats": with_payload(b'{"sub":"alice","exp":4000000000,"iat":1e999}'),
    "claims: nbf is beyond floats": with_payload(b'{"sub":"alice","exp":4000000000,"nbf":-1e999}'),
    "claims: another number is infinite": with_payload(b'{"sub":"alice","exp":4000000000,"x":-Infinity}'),
    "two parts": token().rpartition(".")[0],
    "four parts": token() + ".x",
    "a part of dots": "." * 8_000,
    "empty parts": "..",
    "no signature": token().rpartition(".")[0] + ".",
    "a lone surrogate": token() + "\ud800",
    "dots of another script": token().replace(".", "\uff0e"),
    "a space at the end": token() + " ",
    "Bearer": "Bearer " + token(),
}


def test_json_of_a_token_may_have_64_levels() -> None:
    """The header and the claims of a token may be nested 64 levels deep, and not 65."""
    auth = TokenAuth(SECRET)
    for levels, told in ((63, ""), (64, "nested at most 64 levels deep")):
        inner = b'"x":' + b"[" * levels + b"]" * levels + b"}"
        for nested in (with_header(HEADER[:-1] + b"," + inner, GOOD), with_payload(GOOD[:-1] + b"," + inner)):
            with pytest.raises(NotAuthenticated, match=told) if told else nullcontext():
                auth.user(nested)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_token_is_refused(hostile: str) -> None:
    """A hostile token is refused for good, with a reason in plain text that does not quote it."""
    for auth in (TokenAuth(SECRET), TokenAuth({"k": SECRET})):
        with pytest.raises(NotAuthenticated, match=r"^the token is not valid: ") as caught:
            await auth(seen(hostile))
        assert type(caught.value) is NotAuthenticated
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 123
        assert hostile not in str(caught.value)


# Any token

CURVE, EDWARDS, STRANGER = pair("ES256"), pair("EdDSA"), pair("ES256", 1)
AUTH = TokenAuth({"s": SECRET, "c": CURVE.public, "e": EDWARDS.public}, ["HS256", "ES256", "EdDSA"])
MINE: list[tuple[Any, str, str]] = [
    (SECRET, "HS256", "s"),
    (CURVE.private, "ES256", "c"),
    (EDWARDS.private, "EdDSA", "e"),
]
THEIRS: list[tuple[Any, str, str]] = [
    (OTHER_SECRET, "HS256", "s"),
    (STRANGER.private, "ES256", "c"),
    (CURVE.public, "HS256", "c"),
    (EDWARDS.public, "HS512", "e"),
    (SECRET, "HS384", "s"),
    (b"", "none", "s"),
]

numbers = st.integers() | st.floats() | st.sampled_from([0, 1, NEVER, 10**400, -1, 2**63])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "zip"]), values, max_size=4
)
claims = st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "x"]), values, max_size=6)


def outcome(auth: TokenAuth, any_token: str) -> User | None:
    """Return the user of a token, or None if it is refused. Every other exception passes."""
    try:
        return auth.user(any_token)
    except TokenExpired:
        return None
    except NotAuthenticated as refusal:
        str(refusal).encode()
        return None


@given(signer=st.sampled_from(THEIRS), header=headers, named=st.booleans(), body=claims)
def test_only_a_configured_key_makes_a_token_valid(
    signer: tuple[Any, str, str], header: dict[str, Any], named: bool, body: dict[str, Any]
) -> None:
    """A token by a key that is not configured, or by an algorithm that is not its key's, is never accepted."""
    key, algorithm, kid = signer
    head = {"alg": algorithm, **({"kid": kid} if named else {}), **header}
    payload = {"sub": "alice", "exp": NEVER, **body}
    assert outcome(AUTH, with_header(json.dumps(head).encode(), json.dumps(payload).encode(), key, algorithm)) is None


@given(signer=st.sampled_from(MINE), header=headers, body=claims)
@example(signer=MINE[0], header={}, body={})
def test_signed_token_is_accepted_or_refused(
    signer: tuple[Any, str, str], header: dict[str, Any], body: dict[str, Any]
) -> None:
    """A token with any claims, signed with a configured key, has a valid user, or is refused. Nothing else happens."""
    key, algorithm, kid = signer
    head = {"alg": algorithm, "kid": kid, **header}
    payload = {"sub": "alice", "exp": NEVER, **body}
    user = outcome(AUTH, with_header(json.dumps(head).encode(), json.dumps(payload).encode(), key, algorithm))
    if user is None:
        assert header or body
    else:
        assert (user.id, user.expires, user.token_id) == (payload["sub"], payload["exp"], payload.get("jti"))
        assert user.id.isprintable() or any(ord(character) > 0x9F for character in user.id)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """Return a valid token in which characters were changed, removed, added or moved."""
    key, algorithm, kid = draw(st.sampled_from(MINE))
    text = token(key, algorithm, {"kid": kid}, sub="alice", jti="t")
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 5)))
        other = draw(st.text(st.sampled_from("AQgw-_.=+/ \n\0é"), max_size=5) | st.text(max_size=3))
        text = text[:start] + other + text[end:]
    return text


@given(mutants())
def test_changed_token_has_no_other_user(mutant: str) -> None:
    """A changed token is refused, unless it still has all that was signed: a character of padding was added."""
    assert outcome(AUTH, mutant) in {None, User("alice", NEVER, "t")}


@given(st.text() | st.text(st.sampled_from("eyJhbGciOiIUzI1NiJ9.-_="), max_size=200))
def test_any_text_is_refused(text: str) -> None:
    """Any text instead of a token is refused."""
    assert outcome(AUTH, text) is None


# Any JWKS


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()) | claims.map(jwks))
def test_any_document_is_no_jwks(document: bytes) -> None:
    """A document without keys is refused with a ValueError, whatever is in it."""
    with pytest.raises(ValueError, match=r"^(it|none) "):
        parse_jwks(document, ("ES256", "RS256", "EdDSA"))


@given(
    st.sampled_from(["ES256", "EdDSA", "RS256"]),
    st.dictionaries(
        st.sampled_from(["kty", "alg", "use", "key_ops", "kid", "crv", "x", "y", "n", "e", "k", "d"]), values
    ),
)
def test_any_key_is_used_or_left_out(algorithm: str, changes: dict[str, Any]) -> None:
    """A JWKS with a changed key is refused, or gives keys that are bound to one of the accepted algorithms."""
    document = jwks({**pair(algorithm).jwk(algorithm), **changes}, EDWARDS.jwk("EdDSA", kid="good"))
    found = parse_jwks(document, ("ES256", "RS256", "EdDSA"))
    assert isinstance(found, KeySet)
    assert found.keys[-1].id == "good"
    assert {each for key in found.keys for each in key.algorithms} <= {"ES256", "RS256", "EdDSA"}


def test_deep_document_is_no_jwks() -> None:
    """A JWKS that is nested too deep, or is too large, is refused."""
    for deep_text in (b"[" * 63 + b"]" * 63, b"[" * 100_000):
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            parse_jwks(b'{"keys":[' + deep_text + b"]}", ("ES256",))
    nested = jwks(CURVE.jwk("ES256", x5c=[])).replace(b'"x5c": []', b'"x5c": ' + b"[" * 61 + b"]" * 61)
    assert len(parse_jwks(nested, ("ES256",)).keys) == 1
    large = jwks(CURVE.jwk("ES256"), {"x": "y" * 256 * 1024})
    with pytest.raises(ValueError, match="more than 262144 bytes"):
        parse_jwks(large, ("ES256",))
    padded = jwks(CURVE.jwk("ES256")).ljust(256 * 1024)
    assert len(parse_jwks(padded, ("ES256",)).keys) == 1
    with pytest.raises(ValueError, match="more than 262144 bytes"):
        parse_jwks(padded + b" ", ("ES256",))


def test_base64_of_a_signature_has_one_form() -> None:
    """The last character of a signature cannot be changed, although some of its bits are not used."""
    good = token()
    last = good[-1]
    others = [
        character
        for character in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        if character != last
    ]
    assert outcome(TokenAuth(SECRET), good) is not None
    assert [character for character in others if outcome(TokenAuth(SECRET), good[:-1] + character)] == []
    assert encoded(b"\0") == "AA"
