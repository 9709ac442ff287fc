"""A lease keeps a session in memory. Without one, an idle session leaves memory after its time."""

from __future__ import annotations

import trio
import trio.testing

from actors import Agents, MemoryLog, Sessions, SessionSettings, SupervisorSpec, open_system


async def test_lease_keeps_an_idle_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While a session has a lease, it stays in memory although it is idle.

    Its idle time begins when the last lease ends.
    """
    sessions = Sessions(MemoryLog(), Agents(), SessionSettings(idle_seconds=100))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        async with handle.lease(), handle.lease():
            await trio.sleep(1000)
            statistics = handle.statistics()
            assert statistics is not None
            assert statistics.leases == 2
        await trio.sleep(99)
        assert sessions.statistics().sessions == 1
        await trio.sleep(50)
        assert (sessions.statistics().sessions, sessions.statistics().reaped) == (0, 1)


async def test_leased_session_is_not_displaced(autojump_clock: trio.testing.MockClock) -> None:
    """A session with a lease never leaves memory to make room for a new session."""
    sessions = Sessions(MemoryLog(), Agents(), SessionSettings(max_sessions=2))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        leased = await sessions.get("alice", "s1")
        async with leased.lease():
            for number in range(2, 6):
                await sessions.get("alice", f"s{number}")
            assert [each.session for each in sessions.of()] == ["s1", "s5"]


async def test_lease_does_not_delay_the_end_of_the_server(autojump_clock: trio.testing.MockClock) -> None:
    """A server can end at once, even if a lease keeps one of its sessions in memory."""
    sessions = Sessions(MemoryLog(), Agents())
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        async with handle.lease():
            await sessions.drain(1000)
            await system.shutdown()
    assert trio.current_time() < 1000
