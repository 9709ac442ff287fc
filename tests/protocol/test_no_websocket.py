"""Bytes that break the WebSocket protocol get a goodbye and a code; a close frame of the client gets no goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.manual_socket import open_manual_socket
from protocol.raw import TEXT, frame, raw_client, raw_client_in_memory
from protocol.wire import Ended, wait_for_connections
from trio.testing import lockstep_stream_pair

from transport.server._trio_wire import LINGER_SECONDS

if TYPE_CHECKING:
    from transport import Server

MASK = b"\0\0\0\0"
NO_FRAMES = {
    "text that is not UTF-8": (b"\x81\x82" + MASK + b"\xff\xff", 1007),
    "half a character at the end": (b"\x81\x81" + MASK + b"\xe2", 1007),
    "no mask": (b"\x81\x02{}", 1002),
    "a reserved bit": (b"\xc1\x82" + MASK + b"{}", 1002),
    "an opcode of nothing": (b"\x83\x82" + MASK + b"{}", 1002),
    "a continuation of nothing": (b"\x80\x82" + MASK + b"{}", 1002),
    "a ping in two fragments": (b"\x09\x80" + MASK, 1002),
    "a close code that nobody may send": (b"\x88\x82" + MASK + b"\x03\xed", 1002),
}


async def end_after(server: Server, data: bytes, *, greeted: bool) -> Ended:
    """Send bytes on the TCP stream, and return how the server ends the connection."""
    async with raw_client(server) as (one, stream):
        if greeted:
            await one.hello()
        await stream.send_all(data)
        return await one.ended()


@pytest.mark.parametrize("greeted", [False, True], ids=["before hello", "after hello"])
async def test_bytes_that_are_no_websocket(greeted: bool) -> None:
    """If a client sends bytes that break the WebSocket protocol, it gets a goodbye, and a close with 1002 or 1007."""
    async with make_app().running(port=0) as server:
        for name, (data, code) in NO_FRAMES.items():
            ended = await end_after(server, data, greeted=greeted)
            assert ended.code == code, name
            assert ended.goodbye == {"type": "goodbye", "code": code, "reason": ended.reason}, name
        await wait_for_connections(server)


async def test_close_of_the_client_is_echoed() -> None:
    """If a client sends a close frame, the server answers with the same code and reason, and sends no goodbye."""
    async with make_app().running(port=0) as server:
        for code in (1000, 1001, 1002, 1007, 1009, 4500):
            data = b"\x88\x84" + MASK + code.to_bytes(2, "big") + b"me"
            assert await end_after(server, data, greeted=True) == Ended(code, "me", None)
        await wait_for_connections(server)


async def test_reason_reaches_a_client_on_a_stream_without_a_socket(autojump_clock: trio.testing.MockClock) -> None:
    """The goodbye and the close frame also reach a client on a stream that takes bytes only in a task, such as TLS."""
    async with make_app().running(port=0) as server:
        for name, (data, code) in NO_FRAMES.items():
            async with raw_client_in_memory(server) as (one, stream):
                await one.hello()
                await stream.send_all(data)
                ended = await one.ended()
            assert ended.code == code, name
            assert ended.goodbye == {"type": "goodbye", "code": code, "reason": ended.reason}, name
        await wait_for_connections(server)


async def test_client_that_reads_no_reason(autojump_clock: trio.testing.MockClock) -> None:
    """A client that sends wrong bytes and reads nothing is dropped after a short time, in spite of the goodbye."""
    async with make_app().running(port=0) as server, trio.open_nursery() as nursery:
        ours, theirs = lockstep_stream_pair()
        nursery.start_soon(server.endpoint.serve, theirs)
        async with open_manual_socket(ours):
            await ours.send_all(frame(3))
            await trio.sleep(LINGER_SECONDS - 0.1)
            assert nursery.child_tasks
            await trio.sleep(0.2)
            assert not nursery.child_tasks


async def test_reason_of_a_large_message() -> None:
    """A close frame for a message that is too large has the same reason as the goodbye before it."""
    async with make_app(max_frame_bytes=1024).running(port=0) as server:
        ended = await end_after(server, frame(TEXT, b"x" * 1025), greeted=True)
        assert ended.code == 1009
        assert ended.goodbye == {"type": "goodbye", "code": 1009, "reason": ended.reason}
        assert "1024" in ended.reason
