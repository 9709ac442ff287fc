"""Peers that hold a server up: silent, in the middle of a step, with full buffers, or with a network that is gone."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from _scale import scaled
from protocol.raw import told

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from delivery.process import ServerProcess

STUCK = scaled(3, 50)
"""Number of peers of each kind that never read."""
SMALL_BUFFER = 4096
"""Size of the receive buffer of a peer that never reads, in bytes. A busy session fills it at once."""
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PATIENCE = 120.0
# Linux: a filter for the packets of a socket, in the language of BPF. This one returns 0 for each packet: drop it.
_SO_ATTACH_FILTER = 26
_DROP_EVERYTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


@asynccontextmanager
async def stuck_peers(server: ServerProcess, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Keep peers connected that never read: silent, in mid-request, before their hello, and in a busy session.

    With the ``context`` of TLS clients, some are also in the middle of their TLS handshake.
    """
    async with AsyncExitStack() as stack:

        async def one_of_each() -> None:
            await stack.enter_async_context(await server.open_stream())
            if context is not None:
                await (await stack.enter_async_context(await server.open_stream())).send_all(b"\x16\x03\x01")
            half = await stack.enter_async_context(await open_peer(server, context))
            await half.send_all(REQUEST[:-10])
            upgraded = await stack.enter_async_context(await open_peer(server, context))
            await upgrade(upgraded)
            await join(await stack.enter_async_context(await open_peer(server, context)), "user-0")

        # At once: a busy server takes seconds for each answer, and a soak has many peers.
        async with trio.open_nursery() as nursery:
            for _ in range(STUCK):
                nursery.start_soon(one_of_each)
        yield


async def open_peer(server: ServerProcess, context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a connection, over TLS if there is a context."""
    stream = await server.open_stream()
    if context is None:
        return stream
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)


async def upgrade(stream: trio.abc.Stream) -> None:
    """Ask for a WebSocket, and wait for the answer."""
    await stream.send_all(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")


async def join(stream: trio.abc.Stream, user: str) -> None:
    """Join the session of a user, and read nothing of it."""
    await upgrade(stream)
    await stream.send_all(told("hello", session="s1", token=user))


async def full_peer(server: ServerProcess, user: str) -> trio.SocketStream:
    """Join a busy session with a small receive buffer, which the server fills."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    await sock.connect(("127.0.0.1", server.port))
    stream = trio.SocketStream(sock)
    await join(stream, user)
    with trio.fail_after(_PATIENCE):
        while bytes_not_taken(sock.getsockname()[1]) <= 2 * SMALL_BUFFER:
            await trio.lowlevel.checkpoint()
    return stream


def bytes_not_taken(port: int) -> int:
    """Return how many bytes the sender to a local port keeps, because the receiver has not taken them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[2].endswith(f":{port:04X}"))


async def half_open_peer(server: ServerProcess, user: str) -> trio.SocketStream:
    """Join a session, get the welcome, and lose the network: the peer's kernel answers no packet any more."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    await join(stream, user)
    answer = b""
    while b'"welcome"' not in answer:
        answer += await stream.receive_some()
    instruction = ctypes.create_string_buffer(_DROP_EVERYTHING)
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    stream.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    return stream
