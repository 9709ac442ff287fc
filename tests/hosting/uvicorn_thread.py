"""A web application under uvicorn in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn
import uvloop
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from websockets.sync.client import ClientConnection

PATIENCE = 60.0
"""Seconds that a test waits for something that should happen at once."""
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

T = TypeVar("T")


class _Server(uvicorn.Server):
    """Uvicorn, which tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.ready.set()


class UvicornThread:
    """Uvicorn in a thread, with the hand-over of sockets, inside the block of :meth:`running`."""

    def __init__(self, api: Any, loop: str = "asyncio", **options: Any) -> None:
        options = {"ws": "transport.hosting.handover:Protocol", "log_level": "warning", **options}
        options.setdefault("timeout_graceful_shutdown", 5)
        self._server = _Server(uvicorn.Config(api, port=0, **options))
        self._make_loop = LOOPS[loop]
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run)
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[UvicornThread]:
        """Run the web server in the block."""
        self._thread.start()
        try:
            assert self._server.ready.wait(PATIENCE)
            self.port = self._server.servers[0].sockets[0].getsockname()[1]
            yield self
        finally:
            self.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._make_loop) as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve())

    def stop(self) -> None:
        """Let uvicorn shut down, and wait for its end."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the loop."""

        async def work() -> T:
            return function()

        return self.run(work)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await an asyncio function in the loop."""

        async def work() -> T:
            return await function(*arguments)

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE)

    def counted(self) -> tuple[list[str], int]:
        """Return the classes of uvicorn's connections, and the number of its tasks."""
        state = self._server.server_state
        return self.call(lambda: (sorted(type(each).__name__ for each in state.connections), len(state.tasks)))

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            os.sched_yield()  # the loop is in another thread

    def until_idle(self) -> None:
        """Wait until uvicorn has neither connections nor tasks."""
        self.until(lambda: self.counted() == ([], 0))

    @contextmanager
    def client(self, path: str = "/ws", **options: Any) -> Iterator[ClientConnection]:
        """Connect a client."""
        options = {"compression": None, "open_timeout": None, "proxy": None, **options}
        with connect(f"ws://127.0.0.1:{self.port}{path}", **options) as client:
            yield client

    @contextmanager
    def greeted(self, **options: Any) -> Iterator[ClientConnection]:
        """Connect a client, and say hello."""
        with self.client(**options) as client:
            say(client, "hello", session="s1")
            assert hear(client)["type"] == "welcome"
            yield client

    @contextmanager
    def stream(self) -> Iterator[socket.socket]:
        """Open a connection for bytes."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as stream:
            yield stream


def say(client: ClientConnection, type_: str, **fields: object) -> None:
    """Send a frame."""
    client.send(json.dumps({"type": type_, **fields}))


def hear(client: ClientConnection, type_: str | None = None) -> dict[str, Any]:
    """Return the next frame of the type."""
    while True:
        frame: dict[str, Any] = json.loads(client.recv(PATIENCE))
        if type_ is None or frame["type"] == type_:
            return frame


def ended(client: ClientConnection) -> tuple[int, dict[str, Any] | None]:
    """Read to the end. Return the close code and the goodbye."""
    last: dict[str, Any] = {}
    try:
        while True:
            last = hear(client)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006, last if last.get("type") == "goodbye" else None


def trusting(certificate: Any) -> ssl.SSLContext:
    """Return a TLS context for clients that trust the authority ``certificate``."""
    context = ssl.create_default_context()
    certificate.configure_trust(context)
    return context
