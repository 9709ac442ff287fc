"""The end of the client's block, against a scripted server in memory, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scripted_server import Peer, scripted
from client.scripts import stay_connected, take_items

from actors import Position
from transport.client import Client, connect
from transport.errors import (
    ClientClosed,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_leaving_ends_every_wait(autojump_clock: MockClock) -> None:
    """At the end of the client's block a close frame is sent, and every task that waits on the client is woken."""
    closed: list[tuple[int | None, str | None]] = []
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        closed.append(await peer.closed_by_client())

    async def follow(client: Client) -> None:
        async for _ in client.events():
            pytest.fail("there are no events")
        ended.append("events")

    async def command(client: Client) -> None:
        with pytest.raises(ClientClosed):
            await client.send("x")
        ended.append("command")

    async with scripted(script) as server, trio.open_nursery() as nursery:
        async with server.connect() as client:
            nursery.start_soon(follow, client)
            nursery.start_soon(command, client)
            await trio.testing.wait_all_tasks_blocked()
        assert client.state == "closed"
    assert closed == [(1000, "")]
    assert sorted(ended) == ["command", "events"]
    with pytest.raises(ClientClosed):
        await client.typing(active=True)


async def test_leaving_while_not_connected(autojump_clock: MockClock) -> None:
    """The client's block can be left at once while the client is connecting, and while it waits to reconnect."""

    async def never(*_: object) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    async with connect("ws://memory", "s1", open_stream=never) as client:
        await trio.testing.wait_all_tasks_blocked()
        assert client.state == "connecting"

    async def refuse(*_: object) -> trio.abc.Stream:
        raise ConnectionRefusedError("nobody there")

    start = trio.current_time()
    async with connect("ws://memory", "s1", open_stream=refuse) as client:
        await trio.testing.wait_all_tasks_blocked()
        assert client.state == "waiting"
    assert trio.current_time() == start


async def test_exception_of_the_body(autojump_clock: MockClock) -> None:
    """An exception in the client's block is raised unchanged, not inside a group."""
    async with scripted(stay_connected) as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012  the end of the block is what is tested
            async with server.connect():
                await trio.testing.wait_all_tasks_blocked()
                raise KeyError("mine")


async def test_cancelled_block_ends_at_once(autojump_clock: MockClock) -> None:
    """If the client's block is cancelled, it ends at once, without a close handshake."""
    async with scripted(stay_connected) as server:
        with trio.move_on_after(3) as scope:
            async with server.connect():
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == server.connections[0] + 3


async def test_cancelled_next_takes_nothing(autojump_clock: MockClock) -> None:
    """If ``anext`` is cancelled while it waits, no event is lost: the next call returns it."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await trio.sleep(5)
        await peer.events(1)
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        events = client.events()
        with trio.move_on_after(1):
            await anext(events)
        await trio.sleep(10)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert client.position == Position("e1", 0)
        assert await take_items(events, 1) == [1]


async def test_two_tasks_cannot_iterate(autojump_clock: MockClock) -> None:
    """While one task waits for events, a second task that asks for events gets BusyResourceError."""
    async with scripted(stay_connected) as server, server.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(anext, client.events())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(client.events())
        nursery.cancel_scope.cancel()
