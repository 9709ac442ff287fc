"""An append that reaches Valkey after another node has claimed the user is refused. If not, the judge would see it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from chaos.histories import SESSION, Story
from chaos.judge import judge
from chaos.stage import stage

from actors import StreamKey
from actors.valkey.library import source
from transport import connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from chaos.stage import Node, Stage

    from transport import Client

SECONDS = 150
"""Time limit of the test. It takes some 10 s, and longer on a machine that is busy."""
COMPARISON = "owner[u] ~= args[a+1]"
"""The comparison of tokens in the function that appends."""


async def test_late_append(tmp_path: Path) -> None:
    """Valkey refuses the late append of an old owner. Without the comparison of tokens, the judge finds the event."""
    with trio.fail_after(SECONDS):
        async with stage(tmp_path, 2, 1.0) as ready:
            async with late_append(ready, "ann") as client:
                await client.send("ann 3")
                assert await texts(ready, "ann") == ["ann 1", "ann 3"]
            assert judge(await story(ready)) == []
            await break_append(ready)
            async with late_append(ready, "bob", accepted=True):
                assert await texts(ready, "bob") == ["bob 1", "bob 2"]
            assert {(fault.rule, fault.user) for fault in judge(await story(ready))} == {("fence", "bob")}


@asynccontextmanager
async def late_append(ready: Stage, user: str, *, accepted: bool = False) -> AsyncGenerator[Client]:
    """Let an append of the first node arrive after the second node has opened the session. Yield a client of that."""
    old, new = ready.nodes
    async with trio.open_nursery() as nursery, client_of(old, user) as writer:
        await writer.send(f"{user} 1")
        held = old.to_valkey.hold_at(f"{user} 2".encode())
        nursery.start_soon(writer.send, f"{user} 2")
        await held.wait()
        old.pause()
        await ready.until_removed(old)
        nursery.cancel_scope.cancel()
    async with client_of(new, user) as reader:
        await anext(reader.events())
        refusals = await refused(ready)
        old.to_valkey.heal()
        while len(await texts(ready, user)) == 1 if accepted else await refused(ready) == refusals:
            await ready.until_beaten(new, 1)
        old.go_on()
        yield reader


def client_of(node: Node, user: str) -> AbstractAsyncContextManager[Client]:
    """Return a client of the user that connects to this node only."""
    return connect("ws://node/", SESSION, user, open_stream=node.open_stream)


async def break_append(ready: Stage) -> None:
    """Replace the library in Valkey by one whose function appends with any token."""
    assert source().count(COMPARISON) == 1
    await ready.log.valkey.reads.call(b"FUNCTION", b"LOAD", b"REPLACE", source().replace(COMPARISON, "false"))


async def refused(ready: Stage) -> bytes:
    """Return the text in which Valkey counts the refused calls of functions."""
    lines = bytes(await ready.log.valkey.reads.call(b"INFO", b"errorstats")).splitlines()
    return next((line for line in lines if line.startswith(b"errorstat_REFUSED:")), b"")


async def texts(ready: Stage, user: str) -> list[object]:
    """Return the messages of the user in the log."""
    return [event.data["text"] for event in (await ready.stored())[StreamKey(user, SESSION)].events]


async def story(ready: Stage) -> Story:
    """Return everything that is known, without the histories of clients."""
    return Story([], await ready.stored(), [entries for node in ready.nodes for entries in node.record()])
