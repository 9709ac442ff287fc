"""The health of a session shows its faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from actors import Agents, MemoryLog, Run, SessionHealth, Sessions, SessionSettings, SupervisorSpec, open_system

if TYPE_CHECKING:
    from actors import SessionHandle


def health_of(handle: SessionHandle) -> SessionHealth:
    statistics = handle.statistics()
    assert statistics is not None
    return statistics.audit


async def test_overdue_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a run has not ended 10 s after its deadline, the health check of its session reports the run as overdue."""

    async def stays(run: Run) -> None:
        async with run.tool("outside", {}):
            with run.shield(60):
                await trio.sleep_forever()

    agents = Agents()
    agents.add(stays)
    sessions = Sessions(MemoryLog(), agents, SessionSettings(run_seconds=5))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        run_id = await handle.start("stays")
        await trio.sleep(14)
        assert health_of(handle) == SessionHealth((), (), 0, open_calls=1)
        assert health_of(handle).sound
        await trio.sleep(2)
        assert health_of(handle) == SessionHealth((run_id,), (), 0, open_calls=1)
        assert not health_of(handle).sound
        await trio.sleep(60)
        assert health_of(handle) == SessionHealth((), (), 0, open_calls=0)
