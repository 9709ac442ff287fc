"""An app for the inspector's browser tests. Its first agent starts runs of many users, which never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from browser.stage import player

from transport import Greenroom

if TYPE_CHECKING:
    from actors import Run

app = Greenroom()

STARTS_AT_ONCE = 50
HOLDS = "a line | extras"
"""The script of each run of the crowd: two sub-agents, each with a tool that never ends."""


@app.agent
async def crowd(run: Run, users: str) -> str:
    """Start a run of the agent ``player`` for so many users, and return when all have started."""
    at_once = trio.CapacityLimiter(STARTS_AT_ONCE)

    async def start(user: str) -> None:
        async with at_once:
            session = await run.app.sessions.get(user, "play")
            await session.start("player", HOLDS)

    async with trio.open_nursery() as nursery:
        for number in range(int(users)):
            nursery.start_soon(start, f"user-{number:04}")
    return f"{users} play"


app.agent(player)
