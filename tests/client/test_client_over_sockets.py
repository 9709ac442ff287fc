"""The Python client over real sockets, against a server that uses another WebSocket library."""

from __future__ import annotations

import orjson
import pytest
import trio
from _both_loops import on_asyncio, on_both_over_sockets
from _scripted_server import Peer, event, scripted

from actors import Event, UserMessage
from transport.errors import ConnectionClosedForGood, HandshakeRejected


@on_both_over_sockets
async def test_cut_in_the_middle_of_a_message() -> None:
    """If the connection is cut in the middle of a message, the client reconnects, resumes and loses no event."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=4)
        await peer.events(1, 2)
        half = b"\x81\x7e\x10\x00half of a message"
        if on_asyncio():
            peer.connection.transport.write(half)
        else:
            await peer.connection.stream.send_all(half)
        await peer.abort()

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(latest=4))["resume"]["seq"] == 2
        await peer.events(3, 4)
        await peer.closed_by_client()

    async with scripted(first, second, sockets=True) as server, server.connect() as client:
        events = client.events()
        seen = [await anext(events) for _ in range(4)]
        assert [event.seq for event in seen if isinstance(event, Event)] == [1, 2, 3, 4]


@on_both_over_sockets
async def test_event_of_a_mebibyte() -> None:
    """The client receives an event of 1 MiB."""
    text = "ü" * 2**19

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await peer.send("events", events=[{**event(1), "data": {"text": text}}])
        await peer.closed_by_client()

    async with scripted(script, sockets=True) as server, server.connect() as client:
        arrived = await anext(client.events())
        assert isinstance(arrived, UserMessage)
        assert arrived.text == text


@on_both_over_sockets
async def test_too_large_message_ends_the_client() -> None:
    """If the server sends a message larger than ``max_message_size``, the client ends with 1009."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await peer.send("events", events=[{**event(1), "data": {"text": "x" * 5000}}])
        assert (await peer.closed_by_client())[0] == 1009

    async with scripted(script, sockets=True) as server, server.connect(max_message_size=4096) as client:
        with pytest.raises(ConnectionClosedForGood) as ended:
            await anext(client.events())
        assert ended.value.code == 1009


@on_both_over_sockets
async def test_binary_message_ends_the_client() -> None:
    """If the server sends a binary message, which the protocol does not have, the client ends."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.connection.send(orjson.dumps({"type": "ping"}))
        await peer.closed_by_client()

    async with scripted(script, sockets=True) as server, server.connect() as client:
        with pytest.raises(ConnectionClosedForGood, match="binary"):
            await anext(client.events())


@on_both_over_sockets
async def test_upgrade_request() -> None:
    """The client's upgrade request offers the subprotocol, and has the path and the query of the URL."""
    upgrades: list[tuple[str, str]] = []

    async def script(peer: Peer) -> None:
        request = peer.connection.request
        assert request is not None
        upgrades.append((request.path, request.headers["Sec-WebSocket-Protocol"]))
        await peer.close(4506)

    async with scripted(script, sockets=True) as server:
        server.url += "/deep?x=1"
        async with server.connect() as client:
            with pytest.raises(ConnectionClosedForGood):
                await anext(client.events())
    assert upgrades == [("/deep?x=1", "greenroom.v1")]


async def test_leaving_a_stalled_server() -> None:
    """If the server reads nothing, the client's block still ends, since the close handshake has a time limit."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    accepted: list[trio.SocketStream] = []

    async def mute(stream: trio.SocketStream) -> None:
        accepted.append(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, mute, listeners)
        async with scripted(sockets=True) as server:
            server.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            with trio.fail_after(60):
                async with server.connect():
                    while not accepted:
                        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_no_server(own_port: int) -> None:
    """If no server listens, the client waits for its next attempt, and says why it is not connected."""
    async with scripted(sockets=True) as server:
        server.url = f"ws://127.0.0.1:{own_port}"
        async with server.connect() as client:
            while client.state != "waiting":
                await trio.lowlevel.checkpoint()
            assert client.last_failure.startswith("1006: cannot connect: ")
            assert client.last_failure.endswith("Connection refused")
            assert client.statistics().last_failure == client.last_failure


async def test_plain_http_server() -> None:
    """If a plain HTTP server answers the upgrade, the client ends."""

    async def page(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, page, listeners)
        async with scripted(sockets=True) as server:
            server.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            async with server.connect() as client:
                with pytest.raises(HandshakeRejected) as ended:
                    await anext(client.events())
                assert (ended.value.code, ended.value.reason) == (200, "hi")
        nursery.cancel_scope.cancel()
