"""Attacks on who a client is: forged and replayed tokens, sessions of others, and ids that others use."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from attacks.arena import arena
from attacks.attacker import Attacker, Got
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from protocol.agents import auth_by_name

from transport import TokenAuth

if TYPE_CHECKING:
    from trio.testing import MockClock

NEVER = 4e9  # s since 1970: in the year 2096
CLAIMS: dict[str, Any] = {"sub": "neighbour", "exp": NEVER}
"""The claims that each attacker would like to have."""


def pem(private: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Return a private key and its public key."""
    hidden = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return hidden, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PRIVATE, PUBLIC = pem(ec.generate_private_key(ec.SECP256R1()))
OWN, _ = pem(ec.generate_private_key(ec.SECP256R1()))
"""A key that the attacker has made."""


def part(value: object) -> str:
    """Return a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(algorithm: str, key: bytes) -> str:
    """Return a token that no library would make, signed with a hash."""
    signed = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(CLAIMS)}"
    return f"{signed}.{part(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def own(**head: Any) -> str:
    """Return a token that is signed with the attacker's key, with more in its head."""
    return jwt.encode(CLAIMS, OWN, "ES256", headers=head)


def signed(**claims: Any) -> str:
    """Return a token with the right signature, and changed claims."""
    return jwt.encode({**CLAIMS, **claims}, PRIVATE, "ES256")


def of_another(token: str) -> str:
    """Return the token with another user, and its old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{part({**CLAIMS, 'sub': 'admin'})}.{signature}"


FORGED = {
    "none": f"{part({'alg': 'none'})}.{part(CLAIMS)}.",
    "none in capitals": f"{part({'alg': 'NONE'})}.{part(CLAIMS)}.",
    "none with a signature": f"{part({'alg': 'none'})}.{part(CLAIMS)}.{signed().rpartition('.')[2]}",
    "no signature": signed().rpartition(".")[0] + ".",
    "public key as a secret": by_hand("HS256", PUBLIC),
    "public key as a secret, named ES256": by_hand("ES256", PUBLIC),
    "an empty secret": by_hand("HS256", b""),
    "a key of its own": own(),
    "a key of its own, in the head": own(jwk={"kty": "oct", "k": part(b"x" * 32)}),
    "a key that is a file": own(kid="../../../../dev/null"),
    "another user": of_another(signed()),
    "a signature of zeros": f"{signed().rpartition('.')[0]}.{part(bytes(64))}",
    "not yet": signed(nbf=NEVER - 1),
    "no end": jwt.encode({"sub": "neighbour"}, PRIVATE, "ES256"),
    "two users": signed(sub=["neighbour", "admin"]),
    "no token": "",
    "a long one": "x." * 20_000,
}


async def test_forged_token(patient_clock: MockClock) -> None:
    """A token that the key has not signed gets 4501, whatever its head says. None is taken for another one."""
    forged = list(FORGED.values())

    async def attack(one: Attacker) -> None:
        await one.hello(token=forged[one.number])

    async with arena(TokenAuth(PUBLIC, algorithms=["ES256"]), signed()) as here:
        assert await here.endure_each(attack, FORGED) == dict.fromkeys(FORGED, Got(101, 4501))
        assert here.server.sessions.statistics().sessions == 2  # of the neighbour and the newcomer


@pytest.mark.parametrize("claim", ["jku", "x5u"])
async def test_token_with_the_address_of_a_key(claim: str, patient_clock: MockClock) -> None:
    """The server does not fetch a key from an address that a token names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        token = own(**{claim: f"http://127.0.0.1:{listener.getsockname()[1]}/key"})

        async with arena(TokenAuth(PUBLIC, algorithms=["ES256"]), signed()) as here:
            assert set(await here.endure(lambda one: one.hello(token=token))) == {Got(101, 4501)}
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_replayed_token_after_its_end(patient_clock: MockClock) -> None:
    """A token that was once valid gets 4004 after its end, from any client."""
    async with arena(TokenAuth(PUBLIC, algorithms=["ES256"]), signed()) as here:
        assert set(await here.endure(lambda one: one.hello(token=signed(exp=1)))) == {Got(101, 4004)}


async def test_session_of_another_user(patient_clock: MockClock) -> None:
    """A user who knows a session's name, epoch and run, and its command ids, gets nothing of it and changes nothing.

    The same name is another session for each user.
    """
    async with arena(auth_by_name, "neighbour", retain_events=10_000, ring_events=10_000) as here:
        theirs = await here.server.sessions.get("neighbour", "neighbour")
        await theirs.emit("secret", "of the neighbour")
        run_id = await theirs.start("ask")

        async def attack(one: Attacker) -> None:
            await one.hello("neighbour", token="mallory", resume={"epoch": here.neighbour.epoch, "seq": 0})
            await one.tell("history", id="h", after=0, limit=500)
            await one.tell("command", id="0", name="run.cancel", args={"run_id": run_id})
            answer = {"run_id": run_id, "call_id": f"{run_id}-1", "value": "x"}
            await one.tell("command", id="1", name="input.answer", args=answer)
            await one.tell("command", id=f"2-{one.number}", name="message.send", args={"text": "of the attacker"})
            await one.read(f'"id":"2-{one.number}","ok":'.encode())
            await one.leave()

        for got in await here.endure(attack):
            replies = {each["id"]: each.get("result") or each["error"]["code"] for each in got.frames if "ok" in each}
            assert replies["0"] == {"cancelled": False}
            assert replies["1"] in {"unknown_run", "not_waiting"}
            assert got.frames[0]["reset"] == "epoch_changed"
            assert "of the neighbour" not in json.dumps(got.frames)
        statistics = theirs.statistics()
        assert statistics is not None
        assert statistics.runs == 1


async def test_guessed_sessions(patient_clock: MockClock) -> None:
    """A user who guesses the names of sessions gets new and empty sessions, also with a name like another user's id."""
    guesses = ["neighbour", "s1", "neighbour:neighbour", "neighbour.neighbour", "..", "~", "-"]

    async def attack(one: Attacker) -> None:
        await one.hello(guesses[one.number], token=f"mallory-{one.number}")
        await one.leave()

    async with arena(auth_by_name, "neighbour") as here:
        for got in await here.endure(attack, len(guesses), len(guesses)):
            assert got.frames[0]["latest"] == 0


async def test_command_id_of_another_user(patient_clock: MockClock) -> None:
    """A command with an id that another user has used is carried out, and its reply is its own.

    Only a command of the same user in the same session is a repetition.
    """
    async with arena(auth_by_name, "neighbour", command_memory_seconds=300) as here:
        for user, session, repeated in (
            ("alice", "s1", None),
            ("mallory", "s1", None),
            ("alice", "s2", None),
            ("alice", "s1", True),
        ):
            one = await here.connect()
            await one.hello(session, token=user)
            await one.tell("command", id="1", name="message.send", args={"text": user})
            await one.read(b'"id":"1","ok":')
            await one.leave()
            (reply,) = (each for each in Got.read(one.received).frames if each["type"] == "reply")
            assert (reply["ok"], reply.get("duplicate")) == (True, repeated)
