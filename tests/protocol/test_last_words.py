"""The last words of a connection: a refused client can read why, and holds its connection for a short time only."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.manual_socket import ManualSocket
from protocol.raw import PING, TEXT, frame
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from transport.server._connection import CLOSE_SECONDS
from transport.server._counted_frames import LINGER_BYTES
from transport.server._trio_wire import LINGER_SECONDS
from transport.server.admission import MAX_LINGERING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from transport import Server

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WRONG = frame(3)
"""A frame with an opcode that means nothing: the server answers with 1002 and reads no more frames."""
REFUSED = {
    1002: WRONG,
    1007: frame(TEXT, b"\xff"),
    1009: frame(TEXT, b"x" * 1025),
    4505: frame(PING) * 101,
}
"""Messages after which the server discards everything, by the code that it closes with."""


class Refused:
    """A client in memory, and the task that serves it."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self.stream, theirs = memory_stream_pair()
        self.ended = trio.Event()
        """Set when the server has closed the connection."""
        nursery.start_soon(self._serve, server, theirs)

    async def _serve(self, server: Server, stream: trio.abc.Stream) -> None:
        await server.endpoint.serve(stream)
        self.ended.set()

    async def open(self, *, greeted: bool = True) -> None:
        """Open the WebSocket, and say hello."""
        socket = ManualSocket(self.stream)
        await socket.open()
        if greeted:
            await socket.send('{"type":"hello","session":"s1"}')
            await socket.recv()

    async def words_after(self, data: bytes) -> bytes:
        """Send ``data``. Return everything that the server sends then, up to its end of the stream."""
        await self.stream.send_all(data)
        words = b""
        while more := await self.stream.receive_some():
            words += more
        await wait_all_tasks_blocked()
        return words


@asynccontextmanager
async def refused(server: Server, data: bytes = WRONG) -> AsyncIterator[Refused]:
    """Connect a client, send ``data``, and read everything to the server's end of the stream."""
    async with trio.open_nursery() as nursery:
        client = Refused(server, nursery)
        async with client.stream:
            await client.open()
            await client.words_after(data)
            yield client


@pytest.mark.parametrize("code", REFUSED)
async def test_reason_comes_at_once(code: int, autojump_clock: MockClock) -> None:
    """A refused client gets the close frame and the end of the stream at once, whatever it still sends.

    The server waits for the client's end then, and closes the connection as soon as it comes.
    """
    async with make_app(max_frame_bytes=1024).running(port=0) as server, trio.open_nursery() as nursery:
        client = Refused(server, nursery)
        await client.open()
        began = trio.current_time()
        words = await client.words_after(REFUSED[code] + WRONG * 1000)
        assert words.count(b"\x88") == 1
        assert code.to_bytes(2, "big") == words[words.index(b"\x88") + 2 :][:2]
        await client.stream.send_all(WRONG * 1000)
        await wait_all_tasks_blocked()
        assert not client.ended.is_set()
        await client.stream.aclose()
        await client.ended.wait()
        assert trio.current_time() == began


async def test_time_limit(autojump_clock: MockClock) -> None:
    """A refused client that does not close its side holds its connection for ``LINGER_SECONDS``, and no longer."""
    async with make_app().running(port=0) as server, refused(server) as client:
        await trio.sleep(LINGER_SECONDS - 0.1)
        assert not client.ended.is_set()
        await trio.sleep(0.2)
        assert client.ended.is_set()


async def test_limit_of_bytes(autojump_clock: MockClock) -> None:
    """A refused client can send ``LINGER_BYTES`` before the server closes the connection. They are discarded."""
    async with make_app().running(port=0) as server, refused(server) as client:
        # No byte of a wrong frame is handed on again: the wrong frame itself does not count.
        await client.stream.send_all(bytes(LINGER_BYTES - 1))
        await wait_all_tasks_blocked()
        assert not client.ended.is_set()
        await client.stream.send_all(b"x")
        await wait_all_tasks_blocked()
        assert client.ended.is_set()


async def test_time_of_a_flood_during_the_close(autojump_clock: MockClock) -> None:
    """A client that floods the server instead of closing is gone after ``CLOSE_SECONDS`` and ``LINGER_SECONDS``."""
    async with make_app(hello_seconds=1).running(port=0) as server, trio.open_nursery() as nursery:
        client = Refused(server, nursery)
        await client.open(greeted=False)
        await trio.sleep(1.5)  # the close frame has come: no hello was sent
        await client.stream.send_all(frame(PING) * 1000)
        with trio.fail_after(CLOSE_SECONDS + LINGER_SECONDS):
            await client.ended.wait()


async def test_last_words_count_against_no_limit(autojump_clock: MockClock) -> None:
    """A refused client takes no place, while the server waits for its end: another client can connect."""
    one: dict[str, Any] = {"max_connections": 1, "max_connections_per_address": 1, "max_connections_per_user": 1}
    async with make_app(**one).running(port=0) as server, refused(server) as first:
        statistics = server.endpoint.statistics()
        assert (statistics.connections, statistics.users) == (0, 0)
        async with refused(server):
            assert not first.ended.is_set()


async def test_number_of_last_words(autojump_clock: MockClock) -> None:
    """The server waits for the ends of ``MAX_LINGERING`` refused clients. One more, and the first one is closed."""
    async with make_app(max_connections=4).running(port=0) as server, trio.open_nursery() as nursery:
        clients: list[Refused] = []
        for _ in range(MAX_LINGERING + 1):
            assert not any(each.ended.is_set() for each in clients)
            client = Refused(server, nursery)
            clients.append(client)
            await client.open()
            await client.words_after(WRONG)
        assert [each.ended.is_set() for each in clients] == [True] + [False] * MAX_LINGERING
        for each in clients:
            await each.stream.aclose()


async def test_server_that_ends_waits_for_no_last_words(autojump_clock: MockClock) -> None:
    """A server that ends closes the connections of refused clients at once."""
    async with trio.open_nursery() as nursery:
        async with make_app().running(port=0) as server:
            client = Refused(server, nursery)
            await client.open()
            await client.words_after(WRONG)
            assert not client.ended.is_set()
            began = trio.current_time()
        assert client.ended.is_set()
        assert trio.current_time() == began


async def test_early_flood_gets_no_words(autojump_clock: MockClock) -> None:
    """A stranger that floods the server before its welcome is cut off at once, without a word."""
    async with make_app().running(port=0) as server, trio.open_nursery() as nursery:
        client = Refused(server, nursery)
        await client.open(greeted=False)
        assert b"\x88" not in await client.words_after(frame(PING) * 1000)
        assert client.ended.is_set()


async def test_frame_behind_a_refused_one(autojump_clock: MockClock) -> None:
    """A ping in the same read as a message that is too large does not cut the last words short."""
    async with (
        make_app(max_frame_bytes=1024).running(port=0) as server,
        refused(server, frame(TEXT, b"x" * 1025) + frame(PING)) as client,
    ):
        assert not client.ended.is_set()


REQUESTS = {
    "another version of HTTP": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "another path": UPGRADE.replace(b"/", b"/nothing", 1),
    "no WebSocket": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_refused_request(request_: bytes, autojump_clock: MockClock) -> None:
    """A client whose request is refused has the same time to read the answer as one whose frames are refused."""
    async with make_app().running(port=0) as server, trio.open_nursery() as nursery:
        client = Refused(server, nursery)
        began = trio.current_time()
        assert (await client.words_after(request_)).startswith(b"HTTP/1.1 4")
        assert trio.current_time() == began
        await client.stream.send_all(WRONG)
        await trio.sleep(LINGER_SECONDS - 0.1)
        assert (client.ended.is_set(), server.endpoint.statistics().connections) == (False, 0)
        await trio.sleep(0.2)
        assert client.ended.is_set()
