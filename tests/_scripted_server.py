"""A server that follows a script for each connection.

It uses the ``websockets`` library, an independent implementation.

In memory the server needs no socket, so a test can run in virtual time. Over sockets, a client meets it as it meets any
server.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import trio
import trio.testing
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from transport.client import Client, connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from websockets.http11 import Request, Response


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

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
        await self.connection.aclose(code, reason)

    async def abort(self) -> None:
        """Cut the connection without a close frame."""
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


class ScriptedServer:
    """A server that follows the next script for each new connection."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self.scripts = list(scripts)
        self.connections: list[float] = []
        """Times of all connection attempts."""
        self.failures: list[BaseException] = []
        self.listener: _MemoryListener | None = None
        self.url = "ws://memory"
        self._served: Script | None = None

    def connect(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """Connect the client under test to this server."""
        if self.listener is not None:
            options["open_stream"] = self.open_stream
        return connect(self.url, options.pop("session", "s1"), **options)

    async def open_stream(self, _host: str, _port: int, _tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """Open a memory stream to this server. If the next script is an error, raise it instead."""
        await trio.lowlevel.checkpoint()
        assert self.listener is not None
        if self.scripts and isinstance(self.scripts[0], OSError):
            self.connections.append(trio.current_time())
            raise self.scripts.pop(0)  # type: ignore[misc]  # it was just looked at
        ours, theirs = trio.testing.memory_stream_pair()
        self.listener.put.send_nowait(theirs)
        return ours

    async def upgrade(self, connection: ServerConnection, _: Request) -> Response | None:
        """Answer an upgrade request according to the next script."""
        await trio.lowlevel.checkpoint()
        self.connections.append(trio.current_time())
        script = self.scripts.pop(0) if self.scripts else HTTPStatus.GONE
        if isinstance(script, HTTPStatus):
            return connection.respond(script, f"the script says {script.value}")
        connection.handler_kwargs = {"script": script}
        return None

    async def run_script(self, connection: ServerConnection) -> None:
        """Run the script of a connection, and record the failure if it fails."""
        try:
            await connection.handler_kwargs["script"](Peer(connection))
        except (Exception, trio.Cancelled) as error:
            if not isinstance(error, trio.Cancelled):
                self.failures.append(error)
            raise


@asynccontextmanager
async def scripted(*scripts: Script, sockets: bool = False) -> AsyncGenerator[ScriptedServer]:
    """Serve ``scripts`` during the block. After the block, raise the first failure of a script.

    If scripts are left that no connection has used, that is a failure too.
    """
    server = ScriptedServer(scripts)
    listeners: list[Any] = await trio.open_tcp_listeners(0, host="127.0.0.1") if sockets else [_MemoryListener()]
    if sockets:
        server.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    else:
        server.listener = listeners[0]
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve,
                server.run_script,
                listeners=listeners,
                subprotocols=[Subprotocol("greenroom.v1")],
                process_request=server.upgrade,
                compression=None,
                ping_interval=None,
                max_size=None,
            )
        )
        yield server
        nursery.cancel_scope.cancel()
    if server.failures:
        raise server.failures[0]
    assert not server.scripts, f"{len(server.scripts)} scripts were not used"
