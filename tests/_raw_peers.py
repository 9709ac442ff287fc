"""Peers of a client that send bytes of the test's choice, in memory, on the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.lowlevel
import trio
import trio.testing
from _both_loops import on_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""Exceptions of a stream whose other end is closed."""


class RawStream(Protocol):
    """The peer's end of one connection."""

    async def receive_some(self) -> bytes:
        """Return the next bytes, or b"" if the client has closed its end."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send bytes to the client."""
        ...

    async def aclose(self) -> None:
        """Close this end."""
        ...


class _Socket:
    """A socket as a stream, on asyncio."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def receive_some(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sock, 65_536)

    async def send_all(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def aclose(self) -> None:
        self._sock.close()


@asynccontextmanager
async def raw_peers(peer: Callable[[RawStream], Awaitable[None]]) -> AsyncGenerator[dict[str, Any]]:
    """Run ``peer`` for each connection of a client. The block gets the arguments for ``connect``.

    At the end of the block the peers are cancelled, and their streams are closed.
    """

    async def run(stream: RawStream) -> None:
        try:
            await peer(stream)
        except GONE:  # the client has closed its end
            pass
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async with anyio.create_task_group() as peers:

        async def open_stream(*_: object) -> Any:
            await anyio.lowlevel.checkpoint()
            ours: Any
            theirs: Any
            if on_asyncio():
                ours, sock = socket.socketpair()
                ours.setblocking(False)  # noqa: FBT003 - the standard library's own call
                sock.setblocking(False)  # noqa: FBT003 - as above
                theirs = _Socket(sock)
            else:
                ours, theirs = trio.testing.memory_stream_pair()
            peers.start_soon(run, theirs)
            return ours

        yield {"open_socket" if on_asyncio() else "open_stream": open_stream}
        peers.cancel_scope.cancel()
