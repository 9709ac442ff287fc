"""The end of the client's block, against a scripted server in memory, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing
from _both_loops import client_of_this_loop, on_asyncio, on_both_loops, settle
from _scripted_server import Peer, scripted
from client.scripts import stay_connected, take_items

from actors import Position
from transport.errors import (
    ClientClosed,
)

if TYPE_CHECKING:
    from transport.client import Client


@on_both_loops
async def test_leaving_ends_every_wait() -> None:
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

    async with scripted(script) as server, anyio.create_task_group() as nursery:
        async with server.connect() as client:
            nursery.start_soon(follow, client)
            nursery.start_soon(command, client)
            await settle()
        assert client.state == "closed"
    assert closed == [(1000, "")]
    assert sorted(ended) == ["command", "events"]
    with pytest.raises(ClientClosed):
        await client.typing(active=True)


@on_both_loops
async def test_leaving_while_not_connected() -> None:
    """The client's block can be left at once while the client is connecting, and while it waits to reconnect."""
    option = "open_socket" if on_asyncio() else "open_stream"

    async def never(*_: object) -> Any:
        await anyio.sleep_forever()

    async with client_of_this_loop("ws://memory", "s1", **{option: never}) as client:
        await settle()
        assert client.state == "connecting"

    async def refuse(*_: object) -> Any:
        raise ConnectionRefusedError("nobody there")

    start = anyio.current_time()
    async with client_of_this_loop("ws://memory", "s1", **{option: refuse}) as client:
        await settle()
        assert client.state == "waiting"
    assert anyio.current_time() == start


@on_both_loops
async def test_exception_of_the_body() -> None:
    """An exception in the client's block is raised unchanged, not inside a group."""
    async with scripted(stay_connected) as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012  the end of the block is what is tested
            async with server.connect():
                await settle()
                raise KeyError("mine")


@on_both_loops
async def test_cancelled_block_ends_at_once() -> None:
    """If the client's block is cancelled, it ends at once, without a close handshake."""
    async with scripted(stay_connected) as server:
        with anyio.move_on_after(3) as scope:
            async with server.connect():
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == server.connections[0] + 3


@on_both_loops
async def test_cancelled_next_takes_nothing() -> None:
    """If ``anext`` is cancelled while it waits, no event is lost: the next call returns it."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await anyio.sleep(5)
        await peer.events(1)
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        events = client.events()
        with anyio.move_on_after(1):
            await anext(events)
        await anyio.sleep(10)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert client.position == Position("e1", 0)
        assert await take_items(events, 1) == [1]


@on_both_loops
async def test_two_tasks_cannot_iterate() -> None:
    """While one task waits for events, a second task that asks for events gets the loop's usual exception."""
    async with scripted(stay_connected) as server, server.connect() as client, anyio.create_task_group() as nursery:
        nursery.start_soon(take_items, client.events(), 1)
        await settle()
        with pytest.raises(RuntimeError if on_asyncio() else trio.BusyResourceError, match="waiting for these already"):
            await anext(client.events())
        nursery.cancel_scope.cancel()
