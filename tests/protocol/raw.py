"""A client that writes bytes of its own making on a socket: frames of any kind, whole or cut anywhere."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
from protocol.manual_socket import open_manual_socket
from protocol.wire import VIRTUAL_PATIENCE, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server

TEXT, CONTINUATION, PING, PONG = 1, 0, 9, 10
_MASK = b"\0\0\0\0"
_TWO_BYTES = 126


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return one frame of a client. Its mask is zero, so that the payload stays readable."""
    size = len(payload)
    head = bytes([final << 7 | opcode, 0x80 | min(size, _TWO_BYTES)])
    return head + (size.to_bytes(2, "big") if size >= _TWO_BYTES else b"") + _MASK + payload


def announced(size: int) -> bytes:
    """Return the head of a text frame of 64 KB or more. Its mask is zero."""
    return b"\x81\xff" + size.to_bytes(8, "big") + _MASK


def fragmented(payload: bytes, fragments: int) -> bytes:
    """Return a text message as ``fragments`` frames; all but the last are empty."""
    first = frame(TEXT, final=False)
    return first + frame(CONTINUATION, final=False) * (fragments - 2) + frame(CONTINUATION, payload)


def told(type_: str, **fields: object) -> bytes:
    """Return a frame of ``greenroom.v1`` as bytes."""
    return frame(TEXT, json.dumps({"type": type_, **fields}).encode())


@asynccontextmanager
async def raw_client(server: Server) -> AsyncIterator[tuple[Client, trio.abc.Stream]]:
    """Open a WebSocket. Return a client on it, and the TCP stream under it."""
    port = int(server.url.rstrip("/").rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, open_manual_socket(stream) as manual:
        yield Client(manual), stream


@asynccontextmanager
async def raw_client_in_memory(server: Server) -> AsyncIterator[tuple[Client, trio.abc.Stream]]:
    """Open a WebSocket without a socket, for virtual time. Return a client on it, and its end of the stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve, theirs)
        async with open_manual_socket(ours) as manual:
            yield Client(manual, patience=VIRTUAL_PATIENCE), ours


@asynccontextmanager
async def raw_client_on_a_pair(server: Server) -> AsyncIterator[tuple[Client, trio.abc.Stream]]:
    """Open a WebSocket on a pair of connected sockets, for virtual time. The kernel takes the server's bytes at once.

    Return a client on it, and its end of the stream.
    """
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    accepted = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve, accepted, theirs)
        async with open_manual_socket(stream) as manual:
            yield Client(manual, patience=VIRTUAL_PATIENCE), stream
