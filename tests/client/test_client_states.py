"""The states of a client's connection, one after the other, and the reason why it is not connected."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import pytest
from _both_loops import on_both_loops, settle
from _scripted_server import Peer, scripted

from transport.errors import ConnectionClosedForGood, HandshakeRejected

if TYPE_CHECKING:
    from transport.client import Client


async def seen_states(client: Client, failures: list[str]) -> list[str]:
    """Return all states of a client until it has ended. Note its newest failure in each state."""
    states: list[str] = []
    async for state in client.states():
        states.append(state)
        failures.append(client.last_failure)
    return states


@on_both_loops
async def test_each_state_is_seen() -> None:
    """An iterator over the states shows each one, with the newest failure, and ends when the client has ended."""

    async def welcomed(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(4005, "try later")

    async def ended(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(4501, "a token is required")

    failures: list[str] = []
    refused, busy = ConnectionRefusedError("nobody there"), HTTPStatus.SERVICE_UNAVAILABLE
    async with scripted(refused, busy, welcomed, ended) as server, server.connect() as client:
        states = await seen_states(client, failures)
    attempt, connected = ["connecting", "waiting"], ["connecting", "live", "waiting"]
    assert states == [*attempt, *attempt, *connected, "connecting", "live", "closed"]
    assert failures[0] == ""
    assert list(dict.fromkeys(failures[1:])) == [
        "1006: cannot connect: nobody there",
        "HTTP 503: the script says 503",
        "4005: try later",
        "4501: a token is required",
    ]


@on_both_loops
async def test_states_end_with_the_block() -> None:
    """When the client's block ends, every task that waits for the next state gets ``closed``.

    After that, the iterator of the states ends in each of these tasks.
    """
    found: list[str] = []

    async def watch(client: Client) -> None:
        found.extend(await seen_states(client, []))

    async def stay(peer: Peer) -> None:
        await peer.welcome()
        await peer.closed_by_client()

    async with scripted(stay) as server, anyio.create_task_group() as nursery:
        async with server.connect() as client:
            nursery.start_soon(watch, client)
            nursery.start_soon(watch, client)
            await settle()
    assert found == ["connecting", "live", "closed"] * 2


@pytest.mark.parametrize("status", [403, 404])
@on_both_loops
async def test_refused_upgrade_is_the_last_failure(status: int) -> None:
    """If the server refuses the upgrade permanently, the last failure has its status and its text."""
    async with scripted(HTTPStatus(status)) as server, server.connect() as client:
        with pytest.raises(HandshakeRejected):
            await anext(client.events())
        assert client.last_failure == f"HTTP {status}: the script says {status}"


@on_both_loops
async def test_reason_without_a_text() -> None:
    """If the server closes a connection without a reason, the client's last failure says "no reason given"."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(4502)

    async with scripted(script) as server, server.connect() as client:
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())
        assert client.last_failure == "4502: no reason given"


@on_both_loops
async def test_waiting_is_logged_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    """While a client is not connected, its log has one line for each new reason. After a welcome, it begins anew."""

    async def welcomed(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(4005, "try later")

    async def ended(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(4501, "a token is required")

    refused = ConnectionRefusedError("nobody there")
    caplog.set_level(logging.INFO, "greenroom.client")
    async with scripted(refused, refused, welcomed, welcomed, ended) as server, server.connect() as client:
        await seen_states(client, [])
    nobody, later = "1006: cannot connect: nobody there", "4005: try later"
    assert caplog.messages == [
        f"session s1: not connected, trying again: {reason}" for reason in (nobody, later, later)
    ]
