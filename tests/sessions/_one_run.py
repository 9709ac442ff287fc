"""Helpers that run one agent in a session of its own and return its events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import trio
import trio.testing

from actors import Agents, MemoryLog, Sessions, SessionSettings, StreamKey, SupervisorSpec, open_system, verify_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def events_of(
    *agents: Callable[..., Awaitable[object]], value: object = None, settings: SessionSettings | None = None
) -> list[Any]:
    """Run the first agent, then an agent that emits "fine". Check the grammar of all events, and return them."""

    async def fine(run: Any) -> str:
        await run.output("fine")
        return "fine"

    registry, log = Agents(), MemoryLog()
    for agent in (*agents, fine):
        registry.add(agent)
    sessions = Sessions(log, registry, settings)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        for agent in (agents[0], fine):
            await handle.start(agent.__name__, value if agent is agents[0] else None)
            while sessions.statistics().runs.running:  # a virtual clock would not wait for threads
                await trio.lowlevel.checkpoint()
        await sessions.drain(math.inf)
        await trio.testing.wait_all_tasks_blocked()  # until all is committed
        while sessions.statistics().threads.running:
            await trio.lowlevel.checkpoint()
        assert sessions.statistics().crashed == 0
        assert all(one.audit.sound and not one.runs and not one.audit.open_calls for one in sessions.of())
        lines = await log.read(StreamKey("alice", "s1"), 0, 100_000, 10**9)
        assert (await verify_log(log)).faults == ()
        return [orjson.loads(line) for line in lines]


def ends(events: list[Any], kind: str = "agent_completed") -> list[tuple[str, str | None]]:
    """Return the status and error code of each closing event of the type, in order."""
    data = [event["data"] for event in events if event["type"] == kind]
    return [(one["status"], (one.get("error") or {}).get("code")) for one in data]
