"""The statistics of a session tell what should not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from actors import Agents, MemoryLog, Run, SessionHealth, Sessions, SessionSettings, SupervisorSpec, open_system

if TYPE_CHECKING:
    from actors import SessionHandle


def looked_at(handle: SessionHandle) -> SessionHealth:
    statistics = handle.statistics()
    assert statistics is not None
    return statistics.audit


async def test_a_run_that_goes_on_after_its_time_is_overdue_ten_seconds_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
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
        assert looked_at(handle) == SessionHealth((), (), 0, open_calls=1)
        assert looked_at(handle).sound
        await trio.sleep(2)
        assert looked_at(handle) == SessionHealth((run_id,), (), 0, open_calls=1)
        assert not looked_at(handle).sound
        await trio.sleep(60)
        assert looked_at(handle) == SessionHealth((), (), 0, open_calls=0)
