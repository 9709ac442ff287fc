"""Tokens that expire or cannot be had, beside a scripted server in memory, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from _both_loops import on_both_loops, settle
from _scripted_server import Peer, scripted
from client.scripts import stay_connected, until_back

from transport.errors import ConnectionClosedForGood, TokenUnavailable


@on_both_loops
async def test_expired_token_is_fetched_again() -> None:
    """After 4004 (token expired), the client calls the token callable again and reconnects with the new token."""
    given: list[str] = []
    shown: list[str] = []

    async def fresh() -> str:
        await anyio.sleep(0.1)
        given.append(f"token {len(given)}")
        return given[-1]

    def ending(code: int) -> Any:
        async def script(peer: Peer) -> None:
            shown.append((await peer.welcome())["token"])
            await peer.close(code)

        return script

    scripts = (ending(4004), ending(4001), ending(4004), stay_connected)
    async with scripted(*scripts) as server, server.connect(token=fresh) as client:
        await until_back(client)
        assert client.state == "live"
    assert shown == ["token 0", "token 1", "token 1"]
    assert len(given) == 3


@on_both_loops
async def test_expired_fixed_token_ends_the_client() -> None:
    """A client with a fixed token ends after 4004 (token expired), since it cannot get a new token."""

    async def script(peer: Peer) -> None:
        await peer.expect("hello")
        await peer.close(4004, "token expired")

    async with scripted(script) as server, server.connect(token="stale") as client:
        with pytest.raises(ConnectionClosedForGood, match="one fixed token; give a function") as ended:
            await anext(client.events())
        assert (ended.value.code, ended.value.reason) == (4004, "token expired")


def no_token() -> str:
    """Token callable that raises an exception."""
    raise RuntimeError("the issuer is on fire")


@on_both_loops
async def test_token_failure_is_raised_to_a_waiting_task() -> None:
    """If the token callable raises, a waiting task gets TokenUnavailable with that exception as its cause."""
    async with scripted() as server, server.connect(token=no_token) as client:
        with pytest.raises(TokenUnavailable, match="on fire") as ended:
            await client.send("x")
        assert isinstance(ended.value.__cause__, RuntimeError)


@on_both_loops
async def test_token_failure_is_raised_on_leaving() -> None:
    """If the token callable raises and no task waits, TokenUnavailable is raised at the end of the client's block."""
    async with scripted() as server:
        with pytest.raises(TokenUnavailable, match="on fire"):
            async with server.connect(token=no_token):
                await settle()


@on_both_loops
async def test_token_failure_does_not_hide_the_body() -> None:
    """If the client's block raises an exception, this exception is raised, even if the token callable failed too."""
    async with scripted() as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012  the end of the block is what is tested
            async with server.connect(token=no_token):
                await settle()
                raise KeyError("mine")
