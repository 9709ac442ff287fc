"""A run of one agent, and the events of its session."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import trio.testing

from actors import Agents, MemoryLog, Sessions, StreamKey, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = StreamKey("alice", "s1")


async def events_of(function: Callable[..., Awaitable[object]]) -> list[dict[str, Any]]:
    """Run an agent once on trio, and return every event of its session."""
    agents, log = Agents(), MemoryLog()
    agents.add(function, name="agent", timeout=5)
    sessions = Sessions(log, agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get(*KEY)
        await handle.start("agent")
        await sessions.drain(math.inf)
        await trio.testing.wait_all_tasks_blocked()
        return [orjson.loads(line) for line in await log.read(KEY, 0, 1000, 10**7)]


def data_of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the data of the events of one type, without the durations."""
    found = [event["data"] for event in events if event["type"] == kind]
    return [{name: each for name, each in data.items() if name != "duration_ms"} for data in found]
