"""A tab in the background does not read for minutes. When it reads again it gets every event."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from delivery.agents import server_on
from protocol.wire import greeted_in_memory

from actors import Event
from transport import connect

if TYPE_CHECKING:
    from protocol.wire import Client as Wire

    from transport import Client, Server

ASLEEP = 300.0


class FrozenStream(trio.abc.Stream):
    """A stream of a page that the browser has frozen: it neither reads nor writes until the page wakes up."""

    def __init__(self, inner: trio.abc.Stream, awake: list[trio.Event]) -> None:
        self._inner = inner
        self._awake = awake

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await self._awake[-1].wait()
        return await self._inner.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._awake[-1].wait()
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


async def run_rounds(server: Server, other: Wire, rounds: int) -> int:
    """Do ``rounds`` times ten runs, spread over five minutes in all. Return the newest committed seq."""
    for number in range(rounds):
        for run in range(10):
            await other.completed(await other.start(f"{number}-{run}", "wall", {"count": 20, "size": 2_000}))
        await trio.sleep(ASLEEP / rounds)
    (session,) = server.sessions.of()
    return session.journal.committed


async def read_until(client: Client, seen: list[Any], seq: int) -> None:
    """Read events into ``seen`` up to the event with this seq."""
    async for event in client.events():
        seen.append(event)
        if isinstance(event, Event) and event.seq == seq:
            return


@pytest.mark.parametrize("freeze", ["the application", "the whole page"])
@pytest.mark.parametrize("ring", [64, 100_000])
async def test_background_tab(freeze: str, ring: int, autojump_clock: trio.testing.MockClock) -> None:
    """A tab that did not read for five minutes gets every event without a reset when it reads again.

    If the whole page was frozen, it reconnects at most once. If only the application did not read, the client gets the
    events in parts of half a buffer, and may reconnect once for each part.
    """
    awake = [trio.Event()]
    awake[0].set()

    app = server_on("memory:", ring_events=ring)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:

        async def open_stream(*_: object) -> Any:
            await awake[-1].wait()
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(server.endpoint.serve, theirs)
            return FrozenStream(ours, awake)

        async with (
            greeted_in_memory(server) as other,
            connect("ws://memory/", "s1", open_stream=open_stream, rng=random.Random(1)) as client,
        ):
            await other.say("hello")
            seen: list[Any] = []
            await read_until(client, seen, 1)
            if freeze == "the whole page":
                awake.append(trio.Event())
            last = await run_rounds(server, other, rounds=10)
            before = client.statistics().connections
            if freeze == "the whole page":
                assert server.endpoint.statistics().connections == 1
                awake[-1].set()
            back = trio.current_time()
            await read_until(client, seen, last)
            assert [event.seq for event in seen] == list(range(1, last + 1))
            assert last == 1 + 10 * 10 * 22
            statistics = client.statistics()
            # The client fetches half a buffer at a time and may reconnect for each half. More would be a loop.
            assert statistics.connections - before <= (1 if freeze == "the whole page" else 1 + 2 * last // 1024)
            assert statistics.resets == 0
            assert trio.current_time() - back < 30
            await trio.sleep(ASLEEP)
            assert client.statistics().connections == statistics.connections
        nursery.cancel_scope.cancel()
