"""Each fault of a link does to the bytes what it says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from _links import Link
from trio.testing import wait_all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SECONDS = 60
"""Time limit of each test."""


class Target:
    """A server that keeps the bytes of each connection, and answers each piece with the same bytes in upper case."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.changed = trio.lowlevel.ParkingLot()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        number = len(self.got)
        self.got.append(b"")
        try:
            async for data in stream:
                self.got[number] += data
                await stream.send_all(data.upper())
                self.changed.unpark_all()
        except trio.BrokenResourceError:
            pass

    async def until(self, *expected: bytes) -> None:
        """Wait until the connections have brought these bytes."""
        while tuple(self.got) != expected:
            await self.changed.park()


@asynccontextmanager
async def linked() -> AsyncGenerator[tuple[Link, Target]]:
    """Run a target and a link to it."""
    target = Target()
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, target.serve, listeners)
            link = Link(nursery, partial(trio.open_tcp_stream, *listeners[0].socket.getsockname()[:2]))
            await link.listen()
            yield link, target
            nursery.cancel_scope.cancel()


async def read(stream: trio.SocketStream, count: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        assert part
        data += part
    return data


async def ends(stream: trio.SocketStream) -> bool:
    """Wait until a connection ends without another byte."""
    try:
        return await stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True


async def test_link_carries_both_ways() -> None:
    """A link carries bytes in both directions, over its port and over connections of this process."""
    async with linked() as (link, target):
        async with await trio.open_tcp_stream(*link.address) as one, await link.connect() as two:
            await one.send_all(b"one")
            assert await read(one, 3) == b"ONE"
            await two.send_all(b"two")
            assert await read(two, 3) == b"TWO"
        await target.until(b"one", b"two")


async def test_cut_link() -> None:
    """A cut ends all connections and refuses new ones. A healed link accepts connections again."""
    async with linked() as (link, _):
        async with await link.connect() as stream:
            await stream.send_all(b"a")
            await read(stream, 1)
            link.cut()
            assert await ends(stream)
            with pytest.raises(OSError, match="cut"):
                await link.connect()
            async with await trio.open_tcp_stream(*link.address) as refused:
                assert await ends(refused)
        link.heal()
        async with await link.connect() as stream:
            await stream.send_all(b"b")
            assert await read(stream, 1) == b"B"


async def test_stall_one_way() -> None:
    """A stalled direction keeps its bytes, the other one goes on, and nothing is lost when the stall ends."""
    async with linked() as (link, target), await link.connect() as stream:
        link.stall("down")
        await stream.send_all(b"a")
        await target.until(b"a")
        link.stall("up")
        await stream.send_all(b"b")
        await wait_all_tasks_blocked(0.1)
        assert target.got == [b"a"]
        link.heal()
        assert await read(stream, 2) == b"AB"


async def test_stalled_bytes_outlive_their_sender() -> None:
    """Bytes that a stalled link has taken arrive later, though the side that sent them has closed the connection."""
    async with linked() as (link, target):
        async with await link.connect() as stream:
            await stream.send_all(b"a")
            await read(stream, 1)
            link.stall("up")
            await stream.send_all(b"late")
        assert target.got == [b"a"]
        link.heal()
        await target.until(b"alate")


async def test_black_hole() -> None:
    """A black hole loses bytes in its direction alone. When it ends, the connection ends, which has lost bytes."""
    async with linked() as (link, target), await link.connect() as stream:
        link.hole("down")
        await stream.send_all(b"a")
        await target.until(b"a")
        link.heal()
        assert await ends(stream)


async def test_hold_at_a_marker() -> None:
    """A link stalls when the chosen bytes come, also if they come in two pieces, and passes them on later."""
    async with linked() as (link, target), await link.connect() as stream:
        held = link.hold_at(b"mark")
        await stream.send_all(b"one ma")
        await read(stream, 6)
        await stream.send_all(b"rk two")
        await held.wait()
        await stream.send_all(b" three")
        assert target.got == [b"one ma"]
        link.heal()
        assert await read(stream, 12) == b"RK TWO THREE"
