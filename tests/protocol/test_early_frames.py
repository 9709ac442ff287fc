"""Frames that arrive directly after the answer to the upgrade, before it has returned, are frames like all others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio
import trio.testing
from protocol.agents import make_app
from protocol.raw import TEXT, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class EagerClient(trio.abc.Stream):
    """A stream of a client that sends frames as soon as it has the answer, while the server still waits in its write.

    *A client on TLS did this now and then.*
    """

    def __init__(self, early: bytes, later: bytes) -> None:
        self._early, self._later = early, later
        self._answered = trio.Event()
        self._pieces = self._all_pieces()
        self.answer = b""
        """All bytes that the server has written."""

    async def _all_pieces(self) -> AsyncIterator[bytes]:
        yield HEAD
        await self._answered.wait()
        yield self._early
        await trio.testing.wait_all_tasks_blocked()
        yield self._later

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        async for piece in self._pieces:
            if piece:
                return piece
        await trio.sleep_forever()
        raise AssertionError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.answer += bytes(data)
        self._answered.set()
        for _ in range(20):
            await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def answer_to(early: bytes, later: bytes = b"") -> bytes:
    """Return what the server writes on one connection until it waits for more."""
    async with make_app().running(port=0) as server, trio.open_nursery() as nursery:
        client = EagerClient(early, later)
        nursery.start_soon(server.endpoint.serve, client)
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
        return client.answer


async def test_half_of_a_frame() -> None:
    """The counter of frames is not confused by a frame of which one half arrives before the end of the upgrade."""
    # Read as headers, the second half of this text would be hundreds of pings.
    hello = json.dumps({"type": "hello", "session": "s1", "client": "y " * 10_000}).encode()
    data = frame(TEXT, hello)
    assert b'"welcome"' in await answer_to(data[:100], data[100:])


async def test_wrong_bytes_get_their_reason() -> None:
    """Bytes that are not a frame get a goodbye and a close frame, even if they arrive before the end of the upgrade."""
    answer = await answer_to(frame(3))
    assert b'"goodbye","code":1002' in answer
    assert b"\x03\xea" in answer
