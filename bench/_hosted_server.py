"""Our own server inside uvicorn, for ``hosted.py``: its agents emit as many events as the client asks for.

``--place`` is the place of the endpoint: on a port of its own beside the loop (``own-port``), on uvicorn's port through
ASGI (``mount``), or there with the sockets handed over (``handover``). ``--agents`` is the library of the agents.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import time
from typing import Any

import _server
import trio
import uvicorn
import uvloop
from _server import Job
from fastapi import FastAPI

from transport import Greenroom
from transport.hosting import lifespan, mount

WEB_SERVERS = {"mount": "websockets-sansio", "handover": "transport.hosting.handover:Protocol"}
"""Uvicorn's setting ``ws`` for each place on its port."""
QUIET = {"access_log": False, "log_level": logging.ERROR, "timeout_graceful_shutdown": 1}
SETTINGS = {"http": "httptools", "ws_per_message_deflate": False, "ws_ping_interval": None}


async def load(run: Any, job: Job) -> None:
    """Emit the same events as :func:`_server.load`, on asyncio."""
    due = time.monotonic() + (random.random() / job.rate if job.rate else 0)  # noqa: S311 - a phase, not a secret
    for _ in range(job.events):
        if job.rate:
            await asyncio.sleep(due - time.monotonic())
            due += 1 / job.rate
        await run.output(f"{time.monotonic_ns()}{_server.TEXT}")


def on_own_port(app: Greenroom, port: int, loop: Any) -> None:
    """Run the app on a port of its own, with trio as a guest of asyncio."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = running.create_future()
        trio.lowlevel.start_guest_run(
            serve,
            run_sync_soon_threadsafe=running.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=running.call_soon,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        (await ended).unwrap()

    async def serve() -> None:
        async with app.running(port=port):
            await trio.sleep_forever()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def main() -> None:
    """Serve on the given port until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--place", choices=("own-port", "mount", "handover"), required=True)
    parser.add_argument("--agents", choices=("trio", "asyncio"), default="trio")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    options = parser.parse_args()
    app = Greenroom(log="memory:", auth=_server.who, settings=_server.UNLIMITED)
    if options.agents == "asyncio":
        app.agent(host="asyncio")(load)
    else:
        app.agent(_server.load)
    gc.collect()
    gc.freeze()
    gc.set_threshold(app.settings.gc_threshold)
    if options.place == "own-port":
        on_own_port(app, options.port, uvloop.new_event_loop if options.loop == "uvloop" else None)
        return
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/", app)
    web: Any = WEB_SERVERS[options.place]
    uvicorn.run(api, host="127.0.0.1", port=options.port, loop=options.loop, ws=web, **SETTINGS, **QUIET)  # type: ignore[arg-type]  # options by name


if __name__ == "__main__":
    main()
