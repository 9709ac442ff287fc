"""An app for a server process that is killed. Some of its agents have tools that never end."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from actors import Run  # noqa: TC001 - an agent's first parameter, as its author writes it
from transport import Greenroom

HERE = Path(__file__).parent
app = Greenroom()


async def finish(number: int) -> int:
    """Return the number at once."""
    return number


@app.agent
async def hangs(run: Run, count: int) -> None:
    """Make ``count`` tool calls that never end."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(partial(run.call_tool, trio.sleep_forever))


@app.agent
async def waits_for(run: Run, pipe: str) -> str:
    """Wait until text is written into the pipe and the pipe is closed. Return the text."""
    return str(await run.call_tool(Path(pipe).read_text))


@app.agent
async def finishes(run: Run, count: int) -> None:
    """Make ``count`` tool calls, one after the other."""
    for number in range(count):
        await run.call_tool(finish, number=number)
