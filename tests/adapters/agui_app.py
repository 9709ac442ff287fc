"""Agents for AG-UI clients: an app for ``greenroom serve``. As a program, it serves them in FastAPI under uvicorn."""

from __future__ import annotations

import socket
from typing import Any

import trio
import uvicorn
from fastapi import FastAPI

from actors import Run, ToolTimeout
from transport import Greenroom
from transport.adapters.agui import FrontendToolFailed, call_frontend_tool
from transport.hosting import lifespan, mount_agui

app = Greenroom(log="memory:", settings={"drain_seconds": 0, "commands_burst": 1_000})
api = FastAPI(lifespan=lifespan(app))
mount_agui(api, "/agui", app)


async def search(query: str) -> list[Any]:
    return [query, 1]


async def broken() -> None:
    raise ValueError("no luck")


@app.agent
async def everything(run: Run, prompt: str) -> dict[str, bool]:
    """Do everything that a run can do, but ask."""
    await run.thinking("hm ")
    await run.thinking("mm")
    await run.output("Hello ")
    await run.output(prompt)
    await run.call_tool(search, query=prompt)
    for tool, seconds in ((trio.sleep_forever, 0.001), (broken, None)):
        try:
            await run.call_tool(tool, timeout=seconds)
        except (ToolTimeout, ValueError):
            await run.output("")
    await run.custom("agui.state_snapshot", {"a": 1})
    await run.custom("agui.state_delta", [{"op": "replace", "path": "/a", "value": 2}])
    await run.custom("agui.activity", {"messageId": "act", "activityType": "PLAN", "content": {"steps": [1]}})
    await run.custom("note", {"x": 1})
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(_part, run, number)
    run.usage = {"input_tokens": 10, "output_tokens": 5, "model": "m"}
    await run.output(" done")
    return {"ok": True}


async def _part(run: Run, number: int) -> None:
    try:
        async with run.subrun(f"part {number}", number) as child:
            await child.thinking("t")
            await child.output(f"part {number} ")
            await child.call_tool(search, query=str(number))
            async with child.subrun("deep") as deep:
                await deep.output("deep")
            child.result = await _result(number)
    except RuntimeError:
        pass


async def _result(number: int) -> int:
    if number == 2:
        raise RuntimeError("this part failed")
    return number


@app.agent
async def fails(run: Run, prompt: str) -> None:
    """Fail inside a tool call of a sub-agent."""
    async with run.subrun("child") as child:
        await child.output("x")
        async with child.tool("t"):
            raise ValueError("boom")


@app.agent(timeout=0.05)
async def slow(run: Run, prompt: str) -> None:
    """Take too long."""
    await run.output("x")
    async with run.subrun("child") as child:
        await child.output("y")
        await trio.sleep_forever()


@app.agent
async def waits(run: Run, prompt: str) -> None:
    """Call a tool that never ends."""
    async with run.subrun("child") as child:
        await child.output("x")
        await child.call_tool(trio.sleep_forever)


@app.agent
async def counts(run: Run, prompt: str) -> str:
    """Say 40 pieces, in which a client can be cut."""
    for number in range(40):
        await run.output(f"{number} ")
        await trio.lowlevel.checkpoint()
    return "end"


@app.agent
async def asks(run: Run, prompt: str) -> str:
    """Ask twice: in a sub-agent, and by itself."""
    await run.output("Before. ")
    async with run.subrun("asker") as child:
        answer = await child.ask_user("Sure?", schema={"type": "object"})
        await child.output(f"got {answer}")
    second = await run.ask_user("Really?")
    await run.output(f"after {second}")
    return "ok"


@app.agent
async def paints(run: Run, prompt: str) -> str:
    """Call three tools of the page, two of them at once."""
    await run.output("Which? ")
    colour = await call_frontend_tool(run, "pick", {"of": prompt})
    results: list[str] = []

    async def paint(wall: int) -> None:
        async with run.subrun(f"painter {wall}") as child:
            try:
                results.append(await call_frontend_tool(child, "paint", {"wall": wall, "colour": colour}))
            except FrontendToolFailed as failed:
                results.append(f"failed: {failed}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(paint, 1)
        nursery.start_soon(paint, 2)
    return ", ".join(sorted(results))


if __name__ == "__main__":
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(f"ready - http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - for the test
        uvicorn.Server(uvicorn.Config(api, log_level="warning")).run(sockets=[listener])
