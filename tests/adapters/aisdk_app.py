"""Agents for pages with Vercel AI SDK: ``greenroom serve`` serves them, or uvicorn, if this is the program."""

from __future__ import annotations

import socket
from typing import Any

import trio
import uvicorn
from fastapi import FastAPI

from actors import Run, ToolTimeout
from transport import Greenroom
from transport.hosting import lifespan, mount_aisdk

app = Greenroom(log="memory:", settings={"drain_seconds": 0, "commands_burst": 1_000})
api = FastAPI(lifespan=lifespan(app))
mount_aisdk(api, "/aisdk", app)


async def search(query: str) -> list[Any]:
    return [query, 1]


@app.agent
async def everything(run: Run, prompt: str) -> dict[str, bool]:
    """Do everything that a run can do, but ask."""
    await run.thinking("hm")
    await run.output("Hello ")
    await run.output(prompt)
    await run.call_tool(search, query=prompt)
    try:
        await run.call_tool(trio.sleep_forever, timeout=0.001)
    except ToolTimeout:
        await run.output("slow")
    async with run.subrun("helper") as child:
        await child.output("one ")
        await child.call_tool(search, query="x")
        await child.output("two")
        child.result = 2
    await run.custom("chart", {"bars": [1, 2]})
    run.usage = {"input_tokens": 10, "output_tokens": 5}
    return {"ok": True}


@app.agent
async def fails(run: Run, prompt: str) -> None:
    """Fail after some text."""
    await run.output("x")
    raise ValueError("boom")


@app.agent
async def waits(run: Run, prompt: str) -> None:
    """Wait until it is cancelled."""
    await run.output("x")
    await trio.sleep_forever()


@app.agent
async def asks(run: Run, prompt: str) -> str:
    """Ask for a number, in the middle of text of its own and of a sub-agent."""
    async with run.subrun("asker") as child:
        await child.output("thinking ")
        await run.output(f"You said {prompt}. ")
        number = await run.ask_user("How many?", into=int)
        await child.output("done")
    await run.output(f"So {number}.")
    return prompt


@app.agent
async def adds(run: Run, numbers: list[int]) -> int:
    """Take an input that is no text."""
    return sum(numbers)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"ready - http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the test reads it
        config = uvicorn.Config(api, log_level="error", timeout_graceful_shutdown=0)
        uvicorn.Server(config).run([listener])
