"""Attackers: clients on real sockets of this machine that send any bytes, and what they get from the server."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio
from protocol.raw import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 600.0
"""Virtual time in seconds after which an attacker counts as connected for ever."""
HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
"""The head of a request for a WebSocket, without the empty line at its end."""


@attrs.frozen
class Got:
    """Everything that an attacker got from the server, until the server ended the connection."""

    status: int = 0
    """Status of the HTTP answer. 0 if there was none."""
    code: int = 0
    """Code of the close frame. 0 if there was none."""
    frames: tuple[dict[str, Any], ...] = attrs.field(default=(), eq=False)
    body: bytes = attrs.field(default=b"", eq=False)
    """Bytes after the head of the HTTP answer."""

    @classmethod
    def read(cls, data: bytes) -> Got:
        """Read the bytes. A frame that breaks off must be the last one, and nothing may follow a close frame."""
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head else 0
        frames: list[dict[str, Any]] = []
        body, code = rest, 0
        while status == 101 and len(rest) >= 2:
            assert not code, "a frame follows the close frame"
            size, start = rest[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(rest[2:start], "big")
            if len(rest) < start + size:
                break
            opcode, payload, rest = rest[0] & 15, rest[start : start + size], rest[start + size :]
            if opcode == 1:
                frames.append(json.loads(payload))
            elif opcode == 8:
                code = int.from_bytes(payload[:2], "big")
        return cls(status, code, tuple(frames), b"" if status == 101 else body)


class Attacker:
    """A client that sends any bytes, on a real socket."""

    def __init__(self, stream: trio.SocketStream, number: int) -> None:
        self.stream = stream
        self.number = number
        """Number of this attacker among those that attack together, from 0."""
        self.received = b""
        self.left = False

    async def send(self, data: bytes) -> bool:
        """Send bytes. Return False if the server has ended the connection."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)
            return True
        return False

    async def read(self, until: bytes = b"\0no such bytes\0") -> None:
        """Read until these bytes have come, or until the server ends the connection."""
        with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
            while until not in self.received and (data := await self.stream.receive_some()):
                self.received += data

    async def upgrade(self, *headers: bytes) -> None:
        """Open the WebSocket."""
        await self.send(HEAD + b"".join(header + b"\r\n" for header in headers) + b"\r\n")
        await self.read(b"\r\n\r\n")

    async def hello(self, session: str = "attacked", **fields: Any) -> None:
        """Open the WebSocket, say hello, and wait for the welcome."""
        await self.upgrade()
        await self.tell("hello", session=session, **fields)
        await self.read(b'"type":"welcome"')

    async def tell(self, type_: str, **fields: Any) -> bool:
        """Send a frame of the protocol."""
        return await self.send(told(type_, **fields))

    def reset(self) -> None:
        """Leave with RST: the kernel sends no more bytes, and no FIN."""
        self.left = True
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.stream.socket.close()

    async def leave(self) -> None:
        """Leave with FIN, without a close frame."""
        self.left = True
        await self.stream.aclose()


Attack: TypeAlias = "Callable[[Attacker], Awaitable[object]]"
"""What one attacker does. Afterwards it reads until the server ends the connection, unless it has left."""
