"""A server that follows a script for each connection.

It uses the ``websockets`` library, an independent implementation. It runs on the event loop of the test.

In memory the server needs no socket of the network, so a test can run in virtual time. Over sockets, a client meets it
as it meets any server.
"""

from __future__ import annotations

import asyncio
import math
import socket
import tempfile
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.lowlevel
import orjson
import trio
import trio.testing
from _both_loops import client_of_this_loop, on_asyncio
from websockets.asyncio.server import unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import serve
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from websockets.http11 import Request, Response

    from transport.client import Client


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection  # a connection of websockets, on the event loop of the test

    async def receive(self) -> dict[str, Any]:
        """Return the next frame that the client sends."""
        frame: dict[str, Any] = orjson.loads(await self.connection.recv())
        return frame

    async def expect(self, kind: str) -> dict[str, Any]:
        """Return the next frame that the client sends. Its type must be ``kind``."""
        frame = await self.receive()
        assert frame["type"] == kind, frame
        return frame

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame to the client."""
        await self.send_text(orjson.dumps({"type": kind, **fields}).decode())

    async def send_text(self, text: str) -> None:
        """Send a message to the client without any change."""
        await self.connection.send(text)

    async def welcome(self, **fields: Any) -> dict[str, Any]:
        """Wait for the client's hello, answer it with a welcome, and return the hello."""
        hello = await self.expect("hello")
        await self.send("welcome", **welcome(**{"recovered": "resume" in hello, **fields}))
        return hello

    async def events(self, *seqs: int) -> None:
        """Send events with these seqs to the client, in one frame."""
        await self.send("events", events=[event(seq) for seq in seqs])

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection with a close frame."""
        await (self.connection.close if on_asyncio() else self.connection.aclose)(code, reason)

    async def abort(self) -> None:
        """Cut the connection without a close frame."""
        if on_asyncio():
            self.connection.transport.abort()
        else:
            await trio.aclose_forcefully(self.connection.stream)

    async def closed_by_client(self) -> tuple[int | None, str | None]:
        """Wait until the client closes the connection. Return the close code and the reason."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed:
            return self.connection.close_code, self.connection.close_reason


Script: TypeAlias = "Callable[[Peer], Awaitable[None]] | HTTPStatus | OSError"
"""Answer to one connection attempt: a conversation, an HTTP status, or (only in memory) an error."""


def welcome(**fields: Any) -> dict[str, Any]:
    return {
        "session": "s1",
        "connection": "c1",
        "epoch": "e1",
        "oldest": 1,
        "latest": 0,
        "recovered": False,
        "ping_ms": 25_000,
        "max_frame_bytes": 65_536,
        "runs": [],
        "typing": [],
        **fields,
    }


def event(seq: int) -> dict[str, Any]:
    """Return a ``user_message`` event with this seq."""
    return {"seq": seq, "ts": 1_700_000_000_000 + seq, "type": "user_message", "data": {"text": f"event {seq}"}}


class _MemoryListener(trio.abc.Listener[trio.StapledStream[Any, Any]]):
    """A listener that accepts the memory streams that are put into it."""

    def __init__(self) -> None:
        self.put, self._accepted = trio.open_memory_channel[Any](math.inf)
        self.socket = trio.socket.socket()  # the library asks a listener where it listens; nothing goes through it

    async def accept(self) -> Any:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        self.put.close()
        self.socket.close()


class ScriptedServer(ABC):
    """A server that follows the next script for each new connection."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self.scripts = list(scripts)
        self.connections: list[float] = []
        """Times of all connection attempts."""
        self.failures: list[BaseException] = []
        self.url = "ws://memory"
        self._served: dict[Any, Callable[[Peer], Awaitable[None]]] = {}

    def connect(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """Connect the client under test to this server."""
        return client_of_this_loop(self.url, options.pop("session", "s1"), **options, **self.options())

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the options with which a client finds this server."""

    async def fail_if_scripted(self) -> None:
        """If the next script is an error, raise it."""
        await anyio.lowlevel.checkpoint()
        if self.scripts and isinstance(self.scripts[0], OSError):
            self.connections.append(anyio.current_time())
            raise self.scripts.pop(0)  # type: ignore[misc]  # it was just looked at

    async def upgrade(self, connection: Any, _: Request) -> Response | None:
        """Answer an upgrade request according to the next script."""
        await anyio.lowlevel.checkpoint()
        self.connections.append(anyio.current_time())
        script = self.scripts.pop(0) if self.scripts else HTTPStatus.GONE
        if isinstance(script, HTTPStatus):
            answer: Response = connection.respond(script, f"the script says {script.value}")
            return answer
        assert not isinstance(script, OSError)
        self._served[connection] = script
        return None

    async def run_script(self, connection: Any) -> None:
        """Run the script of a connection, and record the failure if it fails."""
        try:
            await self._served.pop(connection)(Peer(connection))
        except Exception as error:
            self.failures.append(error)
            raise


class _TrioServer(ScriptedServer):
    """A scripted server on trio, with streams in memory or with sockets."""

    def __init__(self, scripts: tuple[Script, ...], listener: _MemoryListener | None) -> None:
        super().__init__(scripts)
        self.listener = listener

    def options(self) -> dict[str, Any]:
        return {} if self.listener is None else {"open_stream": self.open_stream}

    async def open_stream(self, _host: str, _port: int, _tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """Open a memory stream to this server. If the next script is an error, raise it instead."""
        await self.fail_if_scripted()
        assert self.listener is not None
        ours, theirs = trio.testing.memory_stream_pair()
        self.listener.put.send_nowait(theirs)
        return ours


class _AsyncioServer(ScriptedServer):
    """A scripted server on asyncio, at a socket in the file system: what is written can be read at once."""

    def __init__(self, scripts: tuple[Script, ...], path: str) -> None:
        super().__init__(scripts)
        self.path = path
        self.tasks: set[asyncio.Task[Any]] = set()

    def options(self) -> dict[str, Any]:
        return {"open_socket": self.open_socket}

    async def open_socket(self, _host: str, _port: int) -> socket.socket:
        """Open a socket to this server. If the next script is an error, raise it instead."""
        await self.fail_if_scripted()
        ours = socket.socket(socket.AF_UNIX)
        ours.setblocking(False)  # noqa: FBT003 - the standard library's own call
        await asyncio.get_running_loop().sock_connect(ours, self.path)
        return ours

    async def run_script(self, connection: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        await super().run_script(connection)


@asynccontextmanager
async def scripted(*scripts: Script, sockets: bool = False) -> AsyncGenerator[ScriptedServer]:
    """Serve ``scripts`` during the block. After the block, raise the first failure of a script.

    If scripts are left that no connection has used, that is a failure too. ``sockets`` is for trio only.
    """
    async with _on_asyncio(scripts) if on_asyncio() else _on_trio(scripts, sockets=sockets) as server:
        yield server
    if server.failures:
        raise server.failures[0]
    assert not server.scripts, f"{len(server.scripts)} scripts were not used"


@asynccontextmanager
async def _on_trio(scripts: tuple[Script, ...], *, sockets: bool) -> AsyncGenerator[ScriptedServer]:
    listeners: list[Any] = await trio.open_tcp_listeners(0, host="127.0.0.1") if sockets else [_MemoryListener()]
    server = _TrioServer(scripts, None if sockets else listeners[0])
    if sockets:
        server.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, server.run_script, listeners=listeners, **_serving(server)))
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _on_asyncio(scripts: tuple[Script, ...]) -> AsyncGenerator[ScriptedServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = _AsyncioServer(scripts, str(Path(folder) / "socket"))
        async with unix_serve(server.run_script, server.path, **_serving(server)):
            yield server
            for task in server.tasks:
                task.cancel()


def _serving(server: ScriptedServer) -> dict[str, Any]:
    """Return the arguments of the library's servers."""
    return {
        "subprotocols": [Subprotocol("greenroom.v1")],
        "process_request": server.upgrade,
        "compression": None,
        "ping_interval": None,
        "max_size": None,
    }
