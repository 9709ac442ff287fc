"""An app with a page in React: its agents write many events, ask their user, or go on until they are stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport import Greenroom

if TYPE_CHECKING:
    from actors import Run

app = Greenroom(pages="page")
PIECES = 146


@app.agent
async def writer(run: Run, pieces: int = PIECES) -> None:
    """Write an answer in many pieces: with its start and its end, a run has ``pieces + 2`` events."""
    for number in range(pieces):
        await run.output(f"{number} ")


@app.agent
async def asker(run: Run, prompt: str) -> None:
    """Ask the user, and repeat the answer."""
    await run.output("before ")
    await run.output(str(await run.ask_user(prompt, schema={"enum": ["red", "green"]})))


@app.agent
async def sleeper(run: Run, text: str) -> None:
    """Write a text, and go on until the run is stopped."""
    await run.output(text)
    await trio.sleep_forever()
