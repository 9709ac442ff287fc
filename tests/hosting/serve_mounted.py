"""A program that serves an app mounted in a web application: ``python -m hosting.serve_mounted HOST app:app``."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import hypercorn.asyncio
import hypercorn.trio
import trio
import uvicorn
from hosting.everywhere import hypercorn_config, listening, port_of, uvicorn_config
from starlette.applications import Starlette

from transport.hosting import lifespan, mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def main(host: str, spec: str) -> None:
    """Serve the app until a signal."""
    sys.path.insert(0, "")
    module, _, name = spec.partition(":")
    app: Any = getattr(import_module(module), name)
    listener = listening()
    port = port_of(listener)

    @asynccontextmanager
    async def then(_: object) -> AsyncIterator[None]:
        print(f"mounted ws://127.0.0.1:{port}/", flush=True)  # noqa: T201 - as `greenroom serve` does
        yield

    api: Any = Starlette(lifespan=lifespan(app, then=then))
    mount(api, "/", app)
    if host == "hypercorn-trio":
        trio.run(until_sigterm, partial(hypercorn.trio.serve, api, hypercorn_config(listener)))
    elif host == "hypercorn-asyncio":
        asyncio.run(hypercorn.asyncio.serve(api, hypercorn_config(listener)))
    else:
        uvicorn.Server(uvicorn_config(api, host, timeout_graceful_shutdown=1)).run(sockets=[listener])


async def until_sigterm(serve: Any) -> None:
    """Serve until SIGTERM. On trio, Hypercorn leaves the signal to its parent process, which is not here."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await serve(shutdown_trigger=signals.__anext__)


if __name__ == "__main__":
    main(*sys.argv[1:])
