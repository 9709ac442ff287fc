"""An engine that has lost the tokens or the streams of users, as their nodes and clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents

from actors import CommandRefused, LogUnavailable, StreamKey
from actors.cluster._mirror import EpochChanged
from actors.eventlog import MemoryLog, Retention
from actors.streams._committer import Committer
from actors.streams._stream import SessionStream, StreamLimits

if TYPE_CHECKING:
    from _cluster_nodes import Engine, Server
    from trio.testing import MockClock

    from actors import Head

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


async def test_a_session_that_cannot_be_opened_anew(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the engine raises any exception while a client follows its session, the client waits, and the node goes on."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("wait")
        tab = Tab()
        attachment = await tab.attach(b)
        await tab.catch_up()
        make, failures = b.log.make, [KeyError("gone"), RuntimeError("odd")]

        async def failing(key: StreamKey) -> Head:
            if failures:
                raise failures.pop()
            return await make(key)

        monkeypatch.setattr(b.log, "make", failing)
        del engine.nodes["a"], engine.inboxes["a"]
        attachment.command(command(tab, "k1", "message.send", text="x"))
        await eventually(lambda: tab.types[-1] == "user_message" and tab.replies)
        assert (failures, tab.ended, tab.replies[-1].ok) == ([], None, True)


async def test_a_request_that_fails_at_its_owner(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the owner's engine raises any exception at a request of another node, only this request is refused."""
    async with cluster("a", "b", agents=recording_agents([])) as (_, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("wait")
        make, failures = a.log.make, [RuntimeError("odd")]

        async def failing(key: StreamKey) -> Head:
            if failures:
                raise failures.pop()
            return await make(key)

        monkeypatch.setattr(a.log, "make", failing)
        with pytest.raises(CommandRefused, match="failed at the server"):
            await b.sessions.get("ann", "s2")
        await b.sessions.get("ann", "s2")


async def test_a_stream_whose_log_is_gone() -> None:
    """A stream of which the log knows nothing now can be read and trimmed later: both say that the log is away."""
    async with MemoryLog() as log:
        stream = SessionStream(
            KEY,
            await log.make(KEY),
            log=log,
            committer=Committer(log),
            retention=Retention(),
            limits=StreamLimits(ring_events=9, ring_bytes=999, window=9, command_seconds=9, command_bytes=99),
            on_failure=print,
        )
        await log.remove(KEY)
        for call in (stream.read(0, 9, 999), stream.trim_until(0)):
            with pytest.raises(LogUnavailable, match="does not have session s1"):
                await call
