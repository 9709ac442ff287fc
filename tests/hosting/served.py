"""The web application of the tests with real processes: its agents note their begin and end in the pipe ``notes``."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from transport import Greenroom
from transport.hosting import lifespan, mount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.requests import Request

    from actors import Run

NOTES = os.open(os.environ["NOTES"], os.O_WRONLY)


def note(text: str) -> None:
    """Write a line to the test."""
    os.write(NOTES, f"{text}\n".encode())


app = Greenroom(
    log=os.environ.get("LOG", "sqlite:log.db"), settings={"drain_seconds": float(os.environ.get("DRAIN", "0.05"))}
)


@app.agent
async def endless(run: Run) -> None:
    """Run until cancelled."""
    note("run began")
    try:
        await trio.sleep_forever()
    finally:
        note("run ended")


@app.agent
async def process(run: Run) -> None:
    """Output the number of the process that runs this."""
    await run.output(str(os.getpid()))


@app.agent
async def released(run: Run) -> None:
    """Run until the test writes to the pipe ``release``."""
    note("run began")
    try:
        async with await trio.open_file(os.environ["RELEASE"]) as release:
            await release.read()
        note("run completed")
    finally:
        note("run ended")


async def on_trio(function: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
    """Await a trio function from the web server's library."""
    host = app.server.host.asyncio
    return await (function(*arguments) if host is None else host.run(function, *arguments))


@asynccontextmanager
async def own(_: Starlette) -> AsyncGenerator[None]:
    """Be the web application's own lifespan, which waits for the pipe ``release`` if the test says so."""
    note("own began")
    try:
        if os.environ.get("SLOW_START"):
            with open(os.environ["RELEASE"]) as release:  # noqa: ASYNC230, PTH123 - the loop is to stand still
                release.read()
        yield
    finally:
        note("own ended")


async def start(request: Request) -> Response:
    """Start a run."""

    async def begin() -> str:
        return await (await app.sessions.get("ann", "s1")).start(request.path_params["agent"])

    return Response(await on_trio(begin))


async def wear_out(_: Request) -> Response:
    """Kill a part of the app more often than its supervisor may restart it."""
    system = app.server.system

    async def kill() -> None:
        # Until the app ends, and this task with it. A kill while the part still starts or ends does not always count.
        for _ in range(500):
            ref = system.find("/greenroom/event-log")
            if ref is not None:
                ref.kill()
            await trio.testing.wait_all_tasks_blocked(0.01)

    host = app.server.host
    if host.asyncio is None:
        host.nursery.start_soon(kill)
    else:
        host.asyncio.soon(kill)
    return Response()


api = Starlette(
    routes=[Route("/start/{agent}", start, methods=["POST"]), Route("/break", wear_out, methods=["POST"])],
    lifespan=lifespan(app, then=own),
)
mount(api, "/ws", app)
