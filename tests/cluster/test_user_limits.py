"""The limits of a user's part of the log hold in the whole cluster, also when the user moves from node to node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_nodes import cluster, eventually, recording_agents

from actors import CommandRefused, SessionSettings, StreamKey

if TYPE_CHECKING:
    from _cluster_nodes import Server
    from trio.testing import MockClock

LIMIT = 16_000
TEXT = "x" * 1_000


async def emit(server: Server, session: str, count: int) -> None:
    """Emit events of a little more than 1,000 bytes in a session of ``ann``, by way of this node."""
    handle = await server.sessions.get("ann", session)
    for _ in range(count):
        await handle.emit("text", TEXT)
    await trio.sleep(1)


async def test_bytes_of_a_user_who_moves(autojump_clock: MockClock) -> None:
    """A node that owns a user again counts also the events that other nodes stored meanwhile, and trims the oldest."""
    limits = SessionSettings(retain_user_bytes=LIMIT)
    async with cluster("a", "b", limits=limits) as (engine, (a, b)):
        await emit(a, "s1", 2)
        await emit(b, "s2", 10)
        assert engine.tokens["ann"].incarnation == b.node.incarnation
        assert (await engine.log.usage("ann")).size < LIMIT
        await emit(a, "s3", 8)
        await eventually(lambda: a.sessions.statistics().quotas.reached)
        await trio.sleep(5)
        assert (await engine.log.usage("ann")).size <= LIMIT
        heads = [await engine.log.head(StreamKey("ann", name)) for name in ("s1", "s3")]
        assert [head and head.oldest for head in heads] == [3, 1]


async def test_sessions_of_a_user_who_moves(autojump_clock: MockClock) -> None:
    """A node that owns a user again counts also the sessions that other nodes made meanwhile."""
    async with cluster("a", "b", limits=SessionSettings(sessions_per_user=3)) as (_, (a, b)):
        for server, session in ((a, "s1"), (b, "s2"), (b, "s3")):
            await emit(server, session, 1)
        with pytest.raises(CommandRefused, match="the user has 3 sessions"):
            await emit(a, "s4", 1)


async def test_former_owner_trims_nothing(autojump_clock: MockClock) -> None:
    """A node trims no events of a user that another node owns: they may be events of an open run there."""
    limits = SessionSettings(retain_user_bytes=LIMIT)
    async with cluster("a", "b", agents=recording_agents([]), limits=limits) as (engine, (a, b)):
        await emit(a, "s1", 1)
        handle = await b.sessions.get("ann", "s1")
        await handle.start("wait")
        await emit(b, "s1", 15)
        assert (await engine.log.usage("ann")).size > LIMIT
        await a.sessions.user_retention.trim("ann")
        head = await engine.log.head(StreamKey("ann", "s1"))
        assert (head and head.oldest, engine.tokens["ann"].incarnation) == (2, b.node.incarnation)
