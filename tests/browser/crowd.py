"""An app for the inspector's browser tests. Its first agent starts runs of many users, which never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser.stage import player

from transport import Greenroom

if TYPE_CHECKING:
    from actors import Run

app = Greenroom()

HOLDS = "a line | extras"
"""The script of each run of the crowd: two sub-agents, each with a tool that never ends."""


@app.agent
async def crowd(run: Run, users: str) -> str:
    """Start a run of the agent ``player`` for so many users, and return when all have started."""
    for number in range(int(users)):
        session = await run.app.sessions.get(f"user-{number:04}", "play")
        await session.start("player", HOLDS)
    return f"{users} play"


app.agent(player)
