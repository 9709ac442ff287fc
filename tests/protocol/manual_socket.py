"""A WebSocket without a task of its own: it reads only when the test asks, so it can stall."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from websockets.http11 import Request, Response
    from websockets.protocol import Event


class ManualSocket:
    """A WebSocket client over a stream, made of the protocol object of ``websockets``."""

    def __init__(self, stream: trio.abc.Stream, url: str = "ws://memory/") -> None:
        self.stream = stream
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._messages: deque[str] = deque()
        self.never_answers = False
        """Whether nothing is written any more, not even the answer to a close frame."""

    async def open(self, headers: Mapping[str, str] | None = None) -> None:
        """Send the upgrade request, perhaps with more headers, and wait for the answer."""
        request = self._protocol.connect()
        request.headers.update(headers or {})
        self._protocol.send_request(request)
        await self._write()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            await self._read()
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    async def send(self, message: str) -> None:
        """Send a text message. Raise BrokenResourceError if the server has gone."""
        self._protocol.send_text(message.encode())
        await self._write()

    async def recv(self) -> str:
        """Return the next message. Read from the stream if none is left. Raise ConnectionClosed at the end."""
        while not self._messages:
            if self._protocol.state is State.CLOSED:
                raise self._protocol.close_exc
            await self._read()
        return self._messages.popleft()

    async def aclose(self) -> None:
        """Drop the connection."""
        await trio.aclose_forcefully(self.stream)

    async def _write(self) -> None:
        """Write the bytes that the protocol object wants to send."""
        for data in self._protocol.data_to_send():
            if data and not self.never_answers:
                await self.stream.send_all(data)

    async def _read(self) -> None:
        """Read once from the stream, and write the answers of the protocol."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if data:
            self._protocol.receive_data(bytes(data))
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            self._note(event)
        try:
            await self._write()
        except trio.BrokenResourceError:
            self._protocol.receive_eof()

    def _note(self, event: Event | Request | Response) -> None:
        """Keep the text of a message."""
        if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
            assert event.fin, "the server does not fragment"
            self._messages.append(bytes(event.data).decode())


@asynccontextmanager
async def open_manual_socket(stream: trio.abc.Stream) -> AsyncIterator[ManualSocket]:
    """Open a WebSocket over ``stream``, and drop it at the end of the block."""
    socket = ManualSocket(stream)
    try:
        await socket.open()
        yield socket
    finally:
        await socket.aclose()
