"""A cheap client, for tests with many clients in which the cost of the clients must not count.

It has a few lines of RFC 6455, enough for a server that sends short, whole text messages. Its mask is zero, which is
valid, so that sending needs no work. It shares no code with the server.
"""

from __future__ import annotations

import json
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from _frame_schemas import check_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from protocol.wire import Frame

    from transport import Server

PATIENCE = 60.0
"""Timeout in seconds. It is long because a thousand clients share two cores with the server."""
_UPGRADE = (
    "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_FIN_TEXT, _FIN_CLOSE, _MASKED = 0x81, 0x88, 0x80
_SHORT, _LENGTH_16, _LENGTH_64 = 126, 126, 127


class LightClient:
    """A client that sends and receives frames over one stream. It keeps no messages."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def upgrade(self, host: str) -> None:
        """Send the upgrade request and wait for the 101 response."""
        await self._stream.send_all(_UPGRADE.format(host).encode())
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        assert self._buffer.startswith(b"HTTP/1.1 101 "), bytes(self._buffer)
        del self._buffer[: end + 4]

    async def send(self, type_: str, **fields: object) -> None:
        """Send one frame."""
        payload = json.dumps({"type": type_, **fields}).encode()
        length = (
            bytes([_MASKED | len(payload)])
            if len(payload) < _SHORT
            else bytes([_MASKED | _LENGTH_16]) + struct.pack("!H", len(payload))
        )
        await self._stream.send_all(bytes([_FIN_TEXT]) + length + bytes(4) + payload)

    async def receive(self) -> Frame:
        """Return the next frame."""
        with trio.fail_after(PATIENCE):
            while (payload := self._message()) is None:
                await self._more()
        frame: dict[str, Any] = json.loads(payload)
        check_frame(frame)
        return frame

    def _message(self) -> bytes | None:
        """Return the next whole message of the received bytes, or None."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        start, length = 2, buffer[1]
        if length == _LENGTH_16:
            start, length = 4, int.from_bytes(buffer[2:4])
        elif length == _LENGTH_64:
            start, length = 10, int.from_bytes(buffer[2:10])
        if len(buffer) < start or len(buffer) < start + length:
            return None
        assert buffer[0] == _FIN_TEXT, f"the server sent something else: {bytes(buffer[:200])!r}"
        payload = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return payload

    async def _more(self) -> None:
        """Receive more bytes."""
        data = await self._stream.receive_some(65_536)
        assert data, "the server has gone"
        self._buffer += data


@asynccontextmanager
async def light_client(server: Server, session: str = "s1", **hello: object) -> AsyncIterator[LightClient]:
    """Open a client on a real socket and send its hello. At the end drop the connection without a close."""
    host, port = server.url.removeprefix("ws://").rstrip("/").rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        one = LightClient(stream)
        await one.upgrade(f"{host}:{port}")
        await one.send("hello", session=session, **hello)
        yield one
