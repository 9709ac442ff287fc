"""An outage of the place with the keys, seen by clients of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auth.signing import jwks, pair, token
from protocol.agents import make_app
from protocol.wire import client, greeted

from transport import TokenAuth

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from protocol.wire import Ended

    from transport import Server

KEYS, NEW_KEYS = pair("ES256"), pair("EdDSA")


async def end_of(server: Server, presented: str) -> Ended:
    """Say hello with a token and return the end of the connection."""
    async with client(server) as one:
        await one.send("hello", session="s1", token=presented)
        return await one.ended()


async def test_outage_sends_only_unknown_keys_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the keys cannot be loaded, tokens of known keys are accepted, and connections go on.

    A client with an unknown key is closed with 4005 and shall come back. A client with a wrong token is refused for
    good. When the keys can be loaded again, the new key is accepted.
    """
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(KEYS.jwk("ES256", kid="old")))
    old = token(KEYS.private, "ES256", {"kid": "old"})
    new = token(NEW_KEYS.private, "EdDSA", {"kid": "new"})
    async with make_app(auth=TokenAuth(jwks=path)).running(port=0) as server, greeted(server, token=old) as before:
        path.write_bytes(b"")
        ended = await end_of(server, new)
        assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4005, True)
        assert ended.reason == "authentication is not possible now: the key of the token is not known yet"
        assert (await end_of(server, token(NEW_KEYS.private, "EdDSA", {"kid": "old"}))).code == 4501
        async with greeted(server, token=old):
            await before.say("still here")
        path.write_bytes(jwks(KEYS.jwk("ES256", kid="old"), NEW_KEYS.jwk("EdDSA", kid="new")))
        async with greeted(server, token=new):
            pass
    loads = [record.getMessage() for record in caplog.records if record.name == "greenroom.auth"]
    assert loads == [
        f"keys of TokenAuth from {path}: ValueError: it cannot be read as JSON; the keys from before are used"
    ]
