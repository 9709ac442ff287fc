"""A server in a thread of its own, for clients that block or that have an event loop of another kind."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from transport import Greenroom, Server
    from transport.server.endpoint import EndpointStatistics

PATIENCE = 60.0
"""Seconds that a test waits for something that should happen at once."""

T = TypeVar("T")


class ThreadedServer:
    """A server whose event loop runs in another thread, inside the block of :meth:`running`."""

    def __init__(self, app: Greenroom) -> None:
        self._app = app
        self._ready = Event()
        self._server: Server
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken
        self.port = 0

    @contextmanager
    def running(self) -> Generator[None]:
        """Run the server in the block."""
        thread = Thread(target=trio.run, args=(self._serve,))
        thread.start()
        try:
            assert self._ready.wait(PATIENCE), "the server did not start"
            yield
        finally:
            if self._ready.is_set():
                self.call(self._nursery.cancel_scope.cancel)
            thread.join(PATIENCE)
            assert not thread.is_alive()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with self._app.running(port=0) as self._server, trio.open_nursery() as self._nursery:
            self.port = int(self._server.url.rstrip("/").rpartition(":")[2])
            self._ready.set()
            await trio.sleep_forever()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the server's thread."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def start(self, work: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Start a task in the server's thread. It ends with the server."""
        self.call(lambda: self._nursery.start_soon(work, *arguments))

    def serve(self, stream: trio.abc.Stream, sock: Any) -> None:
        """Serve a connection that the test has accepted. Only for calls in the server's thread."""
        self._nursery.start_soon(self._server.endpoint.serve, stream, sock, "127.0.0.1")

    def emit(self, session: str, *values: object) -> None:
        """Emit one event for each of the values, and return when they are committed."""

        async def work() -> None:
            handle = await self._server.sessions.get("anonymous", session)
            for value in values:
                await handle.emit("note", value)

        trio.from_thread.run(work, trio_token=self._token)

    def statistics(self) -> EndpointStatistics:
        """Return the statistics of the endpoint."""
        return self.call(self._server.endpoint.statistics)

    def wait_for_connections(self, number: int) -> None:
        """Wait until the server has this number of connections: it drops one shortly after the client saw the end."""
        until = time.monotonic() + PATIENCE
        while (statistics := self.statistics()).connections != number:
            assert time.monotonic() < until, statistics
