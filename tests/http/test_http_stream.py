"""The stream of a client of the pages: small parts go out at once, and never overtake or cut each other."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from transport import Settings
from transport.http._stream import WRITE_BYTES, ClientGone, ClientStream
from transport.server.port import Port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def pair() -> AsyncGenerator[tuple[ClientStream, trio.SocketStream]]:
    """Yield the server's stream and the client's, over a socket with small buffers."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server, client = (trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in (near, far))
    async with server, client:
        yield ClientStream(server, Port[Any](Settings(), "the pages"), near), client


async def test_small_parts_need_no_wait() -> None:
    """A part that the system takes needs no wait, but other tasks have a turn after each ``WRITE_BYTES``."""
    part = b"x" * (WRITE_BYTES // 8)
    async with pair() as (stream, client):
        for _ in range(8):
            with assert_no_checkpoints():
                await stream.write(part)
            assert len(await client.receive_some(WRITE_BYTES)) == len(part)
        with assert_checkpoints():
            await stream.write(b"x")
        with assert_no_checkpoints():
            await stream.write(b"y")
        assert await client.receive_some() == b"xy"


async def test_parts_keep_their_order() -> None:
    """What the system does not take at once follows, and parts of other tasks wait for it."""
    parts = {name: [name * 3000 for _ in range(20)] for name in (b"a", b"b")}
    got = bytearray()
    async with pair() as (stream, client), trio.open_nursery() as nursery:

        async def write(name: bytes) -> None:
            for part in parts[name]:
                await stream.write(part)

        for name in parts:
            nursery.start_soon(write, name)
        while len(got) < 2 * 20 * 3000:
            await wait_all_tasks_blocked()
            got += await client.receive_some(1000)
    for name, pieces in parts.items():
        assert got.count(name) == sum(map(len, pieces))
    assert {bytes(got[start : start + 3000]) for start in range(0, len(got), 3000)} == {b"a" * 3000, b"b" * 3000}


async def test_cut_part_is_the_last() -> None:
    """If a write is cancelled when a part was written half, nothing more is written: it would be read as its rest."""
    async with pair() as (stream, client):
        with trio.move_on_after(0):
            while True:
                await stream.write(b"x" * 3000)
        with pytest.raises(ClientGone):
            await stream.write(b"y")
        await client.aclose()


async def test_client_that_has_left() -> None:
    """A write to a client that has left raises ``ClientGone``, also each further one."""
    async with pair() as (stream, client):
        await client.aclose()
        for _ in range(2):
            with pytest.raises(ClientGone):
                await stream.write(b"x")
