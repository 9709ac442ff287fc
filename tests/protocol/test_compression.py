"""Compression on a connection: which messages of a server are compressed, for which clients, and on which settings."""

from __future__ import annotations

import json
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _frame_schemas import check_frame
from protocol.agents import make_app
from protocol.raw import told
from protocol.wire import PATIENCE, client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server

OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
PLAIN, COMPRESSED = 0x81, 0xC1


class Reader:
    """A client that looks at the frames of the server as they are on the network."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""
        self.window = 15

    def _inflated(self, data: bytes) -> bytes:
        """Return the data after decompression. Like this zlib has no text but that in its window, and needs no more."""
        inflater, text = zlib.decompressobj(-self.window), b""
        while data and (part := inflater.decompress(data, 32)):
            text, data = text + part, inflater.unconsumed_tail
        return text

    async def _read(self, size: int) -> bytes:
        while len(self._unread) < size:
            data = await self.stream.receive_some()
            assert data
            self._unread += data
        part, self._unread = self._unread[:size], self._unread[size:]
        return part

    async def answer(self) -> str:
        """Return the head of the answer to the request."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._read(1)
        return head.decode().lower()

    async def frame(self, type_: str) -> tuple[int, dict[str, Any]]:
        """Return the next frame of this type: its first byte, and its contents after decompression."""
        while True:
            first, size = await self._read(2)
            if size >= 126:
                size = int.from_bytes(await self._read(2 if size == 126 else 8), "big")
            payload = await self._read(size)
            if first == COMPRESSED:
                payload = self._inflated(payload + b"\x00\x00\xff\xff")
            found: dict[str, Any] = json.loads(payload)
            check_frame(found)
            if found["type"] == type_:
                return first, found


@asynccontextmanager
async def reader(server: Server, offer: str = OFFER) -> AsyncIterator[tuple[Reader, str]]:
    """Connect a client with this line in its request, and say hello. Return the answer to the request, too."""
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            one = Reader(stream)
            head = (
                "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
            )
            await stream.send_all(head.encode())
            answer = await one.answer()
            await stream.send_all(told("hello", session="s1"))
            await one.frame("welcome")
            yield one, answer


async def emit(server: Server, size: int) -> None:
    """Commit one event of about this size."""
    handle = await server.sessions.get("anonymous", "s1")
    await handle.emit("note", "x" * size)


@pytest.mark.parametrize(("size", "first"), [(1800, PLAIN), (2000, COMPRESSED), (60_000, COMPRESSED), (70_000, PLAIN)])
async def test_messages_of_the_right_size_are_compressed(size: int, first: int) -> None:
    """Events and history are compressed from ``compress_bytes`` on, and up to the size of a batch."""
    async with make_app(compress_bytes=2000).running(port=0) as server, reader(server) as (one, answer):
        assert "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n" in answer
        await emit(server, size)
        got, frame = await one.frame("events")
        assert (got, frame["events"][0]["data"]["value"]) == (first, "x" * size)
        await one.stream.send_all(told("history", id="h", after=0, limit=1))
        got, frame = await one.frame("history")
        assert (got, frame["events"][0]["data"]["value"]) == (first, "x" * size)


@pytest.mark.parametrize(("least", "offer"), [(0, OFFER), (1024, ""), (1024, OFFER.replace("\r", "; x\r"))])
async def test_without_an_agreement_nothing_is_compressed(least: int, offer: str) -> None:
    """A server without the setting agrees on nothing. A client without a right offer is served as ever."""
    async with make_app(compress_bytes=least).running(port=0) as server, reader(server, offer) as (one, answer):
        assert "sec-websocket-extensions" not in answer
        await emit(server, 5000)
        assert (await one.frame("events"))[0] == PLAIN


async def test_smaller_window() -> None:
    """A client that asks for a smaller window gets messages that it can read."""
    offer = OFFER.replace("\r", "; server_max_window_bits=9\r")
    async with make_app(compress_bytes=1024).running(port=0) as server, reader(server, offer) as (one, answer):
        assert "server_max_window_bits=9\r\n" in answer
        handle = await server.sessions.get("anonymous", "s1")
        await handle.emit("note", " ".join(map(str, range(5000))))
        one.window = 9
        assert (await one.frame("events"))[0] == COMPRESSED


async def test_both_directions() -> None:
    """A client of another library compresses all that it sends, and gets all events of several tabs."""
    async with (
        make_app(compress_bytes=1024).running(port=0) as server,
        client(server, compression="deflate") as one,
        client(server, compression="deflate") as two,
        client(server) as plain,
    ):
        for each in (one, two, plain):
            await each.hello()
        text = "é€𝄞 " * 2000
        run_id = await one.start("1", "echo", text)
        for each in (one, two, plain):
            await each.completed(run_id)
            assert [event["data"]["text"] for event in each.events() if event["type"] == "agent_output"] == [text]
