"""An engine that has lost the tokens of users: another node claims a user, and the former owner does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents

from actors import StreamKey
from actors.cluster._mirror import EpochChanged

if TYPE_CHECKING:
    from _cluster_nodes import Engine, Server
    from trio.testing import MockClock

KEY = StreamKey("ann", "s1")


async def claimed_elsewhere(engine: Engine, a: Server, b: Server) -> None:
    """Let ``a`` own a user without a session, and ``b`` claim the user after the engine has lost the token."""
    await a.node.own("ann")
    assert a.router.owned.is_mine("ann")
    del engine.tokens["ann"]
    await Tab("c-0").attach(b)
    assert engine.tokens["ann"].incarnation == b.node.incarnation


async def test_a_client_of_the_former_owner(autojump_clock: MockClock) -> None:
    """A client that comes to the former owner is attached to the session of the new one."""
    async with cluster("a", "b") as (engine, (a, b)):
        await claimed_elsewhere(engine, a, b)
        tab = Tab()
        attachment = await tab.attach(a)
        assert not a.router.owned.is_mine("ann")
        assert a.router.statistics().mirrors == 1
        attachment.command(command(tab, "k1", "message.send", text="x"))
        await eventually(lambda: tab.types)
        assert tab.replies[0].ok


async def test_the_application_at_the_former_owner(autojump_clock: MockClock) -> None:
    """An application that has not reached its session at the former owner reaches it when it tries again."""
    async with cluster("a", "b") as (engine, (a, b)):
        await claimed_elsewhere(engine, a, b)
        handle = await a.sessions.get("ann", "s1")
        await handle.emit("noted", None)
        await eventually(lambda: b.sessions.of()[0].journal.committed == 1)


async def test_a_mirror_whose_log_is_gone(autojump_clock: MockClock) -> None:
    """A read of a mirror from a log that is gone means that the epoch has changed, so its clients attach again."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("wait")
        tab = Tab()
        await tab.attach(b)
        await engine.log.remove(KEY)
        with pytest.raises(EpochChanged):
            await tab.catch_up()
