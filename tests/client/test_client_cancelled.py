"""A call on a client that is cancelled at any moment leaves no trace in the client."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import hypothesis.strategies as st
import pytest
import trio
from _both_loops import IN_VIRTUAL_TIME, on_asyncio
from _scale import scaled
from _scripted_server import Peer, scripted
from hypothesis import given, settings

from transport.errors import ConnectionClosedForGood

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.client import Client

CALLS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "start": lambda client: client.start("a", 1),
    "send": lambda client: client.send("x"),
    "history": lambda client: client.history(0, 1),
    "typing": lambda client: client.typing(active=True),
    "events": lambda client: anext(client.events()),
    "signals": lambda client: anext(client.signals()),
}
RESULTS: dict[str, Any] = {"run.start": {"run_id": "r"}, "message.send": {}}


async def answer(peer: Peer, *, cut_after: int) -> None:
    """Script of a server: send the welcome after 1 s, and each answer after 1 s. Cut after ``cut_after`` frames."""
    await anyio.sleep(1)
    await peer.welcome()
    while True:
        frame = await peer.receive()
        await anyio.sleep(1)
        cut_after -= 1
        if cut_after < 0:
            await peer.abort()
            return
        if frame["type"] == "history":
            await peer.send("history", id=frame["id"], events=[], more=False)
        elif frame["type"] == "command":
            await peer.send("reply", id=frame["id"], ok=True, result=RESULTS[frame["name"]])
            if frame["args"].get("text") == "last":
                await peer.close(4506)
                return


async def cancelled_after(seconds: float, call: Callable[[Client], Awaitable[Any]], client: Client) -> None:
    """Make a call, and cancel it after a time in the usual way of the event loop."""
    if on_asyncio():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await call(client)
    else:
        with trio.move_on_after(seconds):
            await call(client)


@pytest.mark.parametrize("loop", IN_VIRTUAL_TIME)
@given(
    calls=st.lists(st.tuples(st.sampled_from(sorted(CALLS)), st.integers(0, 12)), max_size=6),
    cut=st.integers(0, 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=scaled(60, 1_000), deadline=None)
def test_cancelled_call_leaves_nothing_behind(calls: list[tuple[str, int]], cut: int, seed: int, loop: str) -> None:
    """If a call is cancelled at any moment, even across reconnects, no command stays pending and later calls work."""

    async def first(peer: Peer) -> None:
        await answer(peer, cut_after=cut)

    async def second(peer: Peer) -> None:
        await answer(peer, cut_after=100)

    async def main() -> None:
        async with scripted(first, second) as server, server.connect(rng=Random(seed)) as client:
            for name, quarters in calls:
                await cancelled_after(quarters / 4, CALLS[name], client)
                assert client.statistics().commands == 0
            while len(server.scripts):  # as many frames as the first connection takes until it is cut
                await client.send("x")
            await client.send("last")
            with pytest.raises(ConnectionClosedForGood):
                await anext(client.events())
            assert client.statistics().commands == 0

    IN_VIRTUAL_TIME[loop](main)
