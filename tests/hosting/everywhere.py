"""A pytest plugin that serves every app of a test through a web server. See ``tests/_below.py``."""

from __future__ import annotations

import asyncio
import inspect
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import hypercorn
import hypercorn.asyncio
import hypercorn.trio
import pytest
import trio
import uvicorn
import uvloop
from _below import HOST
from starlette.applications import Starlette

from actors.loop.asyncio_host import AsyncioHost
from transport import Greenroom
from transport._running import Host
from transport.hosting import mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from transport import Server

HANDOVER = "transport.hosting.handover:Protocol"
own_run, own_running = trio.run, Greenroom.running


def listening(port: int = 0) -> socket.socket:
    """Return a socket that listens on a port of this machine, a free one if none is given."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    listener.settimeout(0)
    return listener


def port_of(listener: socket.socket) -> int:
    """Return the port of a listening socket."""
    port: int = listener.getsockname()[1]
    return port


def uvicorn_config(api: Any, host: str = HOST, **options: Any) -> uvicorn.Config:
    """Return the configuration of uvicorn as one of the hosts."""
    options = {"ws": HANDOVER if host.startswith("handover") else "auto", "log_level": "error", **options}
    return uvicorn.Config(api, loop="uvloop" if "uvloop" in host else "asyncio", **options)


def hypercorn_config(listener: socket.socket) -> hypercorn.Config:
    """Return the configuration of Hypercorn on a listening socket."""
    config = hypercorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 0.2
    return config


def run_as_guest(
    function: Callable[..., Awaitable[Any]], *arguments: Any, clock: Any = None, instruments: Any = (), **_: Any
) -> Any:
    """Run a trio function as ``trio.run`` does, but as a guest of asyncio."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            function,
            *arguments,
            clock=clock,
            instruments=instruments,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return (await ended).unwrap()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if "uvloop" in HOST else None) as runner:
        return runner.run(main())


@asynccontextmanager
async def running(
    self: Greenroom, *, host: str | None = None, port: int | None = None, log: Any = None, origins: tuple[str, ...] = ()
) -> AsyncIterator[Server]:
    """Do as :meth:`Greenroom.running`, with a web server around the app."""
    if asyncio._get_running_loop() is None and HOST != "hypercorn-trio":  # noqa: SLF001 - None outside of loops
        async with own_running(self, host=host, port=port, log=log, origins=origins) as server:
            yield server
        return
    api = Starlette()
    mount(api, "/", self)
    async with serving(api, port or 0) as bound, self.running_in(_make_host, log=log) as server:
        yield attrs.evolve(server, url=f"ws://127.0.0.1:{bound}/")


def _make_host(nursery: trio.Nursery) -> Host:
    if HOST == "hypercorn-trio":
        return Host("trio", nursery)
    return Host("asyncio", nursery, AsyncioHost(asyncio.get_running_loop(), nursery, 5))


@asynccontextmanager
async def serving(api: Any, port: int = 0) -> AsyncIterator[int]:
    """Serve a web application in the present event loop, inside the block. Yield the port."""
    with listening(port) as listener:
        port = port_of(listener)
        if HOST == "hypercorn-trio":
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(hypercorn.trio.serve, api, hypercorn_config(listener)))
                yield port
                nursery.cancel_scope.cancel()
            return
        loop = asyncio.get_running_loop()
        async with trio.open_nursery() as nursery:
            loops = AsyncioHost(loop, nursery, 5)
            if HOST == "hypercorn-asyncio":
                stop = asyncio.Event()
                serve = hypercorn.asyncio.serve(api, hypercorn_config(listener), shutdown_trigger=stop.wait)
                task = loop.create_task(serve)
                yield port
                stop.set()
                with trio.CancelScope(shield=True):
                    await loops.await_asyncio(asyncio.wait, [task])
                return
            server = uvicorn.Server(uvicorn_config(api, lifespan="off"))
            server.config.load()
            server.lifespan = server.config.lifespan_class(server.config)
            await loops.await_asyncio(partial(server.startup, sockets=[listener]))
            try:
                yield port
            finally:
                for each in server.servers:
                    each.close()
                for connection in list(server.server_state.connections):
                    connection.shutdown()
                for task in server.server_state.tasks:
                    task.cancel()


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the web server below each test."""
    monkeypatch.setattr(Greenroom, "running", running)
    if HOST != "hypercorn-trio":
        monkeypatch.setattr(trio, "run", run_as_guest)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let async tests run in the loop of the web server."""
    if HOST != "hypercorn-trio":
        for item in items:
            if inspect.iscoroutinefunction(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.trio(run=run_as_guest), append=False)
