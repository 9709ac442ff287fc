"""The functions that run in the server, called as the engines call them, with a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import _valkey
import pytest
import trio

from actors.valkey.address import parse_address
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def valkey() -> AsyncIterator[Valkey]:
    with _valkey.Server() as server, trio.fail_after(60):
        async with Valkey(parse_address(server.url), seconds=60) as valkey:
            yield valkey


async def test_claim_and_release(valkey: Valkey) -> None:
    """A token changes only if the caller knows the newest one. A released token keeps its term."""
    key = [valkey.keys.token("u")]

    async def call(name: str, *args: str) -> Any:
        return await valkey.aside(name, key, *args)

    assert await call("gr1_claim", "", "1 a.x") == [1, b"1 a.x"]
    assert await call("gr1_claim", "", "1 b.x") == [0, b"1 a.x"]
    assert await call("gr1_release", "1 b.x") == [0, b"1 a.x"]
    assert await call("gr1_claim", "1 a.x", "2 b.x") == [1, b"2 b.x"]
    assert await call("gr1_release", "1 a.x") == [0, b"2 b.x"]
    assert await call("gr1_release", "2 b.x") == [1, b"2 -"]
    assert await call("gr1_claim", "2 -", "3 a.x") == [1, b"3 a.x"]


async def test_beats_and_burials(valkey: Valkey) -> None:
    """A beat registers only a node that joins, and shows all nodes. A node that has beaten is not buried."""
    key = [valkey.keys.nodes]

    async def beat(node: str, incarnation: str, join: str = "") -> Any:
        return await valkey.aside("gr1_beat", key, node, incarnation, "info text", join, valkey.keys.channel(node))

    assert await beat("a", "a.1") == [0, b""]
    assert await beat("a", "a.1", "1") == [1, [b"a", b"a.1 1 info text"]]
    assert await beat("a", "a.2", "1") == [0, b"a.1 1 info text"]
    assert await beat("a", "a.1") == [1, [b"a", b"a.1 2 info text"]]
    assert await valkey.aside("gr1_bury", key, "a", "a.1 1") == 0
    assert await valkey.aside("gr1_bury", key, "a", "a.1 2") == 1
    assert await valkey.aside("gr1_bury", key, "a", "a.1 2") == 0
    assert await beat("a", "a.1") == [0, b""]
    await beat("a", "a.2", "1")
    assert await valkey.aside("gr1_leave", key, "a", "a.1") == 0
    assert await valkey.aside("gr1_leave", key, "a", "a.2") == 1
    assert await beat("a", "a.2") == [0, b""]


async def listening(valkey: Valkey, channel: str) -> trio.MemoryReceiveChannel[bytes]:
    """Subscribe to a channel, and return its messages."""
    send, receive = trio.open_memory_channel[bytes](9)
    begun = trio.Event()
    valkey.listen(channel, send.send_nowait, begun.set)
    await begun.wait()
    return receive


async def test_beat_is_heard_by_its_node(valkey: Valkey) -> None:
    """Each beat sends ``beat`` to the node's own channel, so a node notices that it is deaf."""
    own = valkey.keys.channel("a b")
    async with await listening(valkey, own) as messages:
        await valkey.aside("gr1_beat", [valkey.keys.nodes], "a b", "x", "", "1", own)
        assert await messages.receive() == b"beat"


async def test_append_tells_watchers(valkey: Valkey) -> None:
    """One append sends one message to each watcher: its header, and the batches that it watches. Sent again: none."""
    one, two = valkey.keys.of_stream("u", "1"), valkey.keys.of_stream("u", "2")
    for each in (one, two):
        opening = [each.user.token, each.user.index, each.meta]
        await valkey.function("gr1_open", opening, "", "g", "", "e", 1, each.member)
    keys = [key for each in (one, two) for key in (each.user.token, each.meta, each.lines, each.user.opened)]
    args: list[bytes | str | int] = [
        "",
        1,
        1,
        1,
        b"x",
        b"",
        1,
        1,
        "+",
        one.name,
        "1 2",
        "",
        1,
        2,
        3,
        b"y\nz",
        b"",
        1,
        2,
        "",
        two.name,
        "2",
    ]
    async with await listening(valkey, "a") as first, await listening(valkey, "b") as second:
        assert await valkey.function("gr1_append", keys, 0, "g", 2, "a", "push 7", "b", "push 8", *args) == 2
        assert await valkey.function("gr1_append", keys, 1, "g", 2, "a", "push 9", "b", "push 9", *args) == 0
        for channel in ("a", "b"):
            await valkey.commits.call("PUBLISH", channel, b"end")
        assert [await first.receive() for _ in "12"] == [b"push 7\nu/1 1 1 1\nx", b"end"]
        assert [await second.receive() for _ in "12"] == [b"push 8\nu/1 1 1 1\nx\nu/2 1 2 3\ny\nz", b"end"]
    assert await valkey.reads.call("SMEMBERS", one.user.opened) == {b"u/1"}
