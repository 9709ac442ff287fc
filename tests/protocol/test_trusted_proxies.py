"""Connections through trusted proxies: limits and credentials mean the clients that the proxies name."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from transport import Greenroom, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Credentials, Server

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
LIMITS = {"forwarded_allow": [PROXY], "max_connections_per_address": 2, "port": 0}
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


def request(*fields: str) -> bytes:
    """Return a request for a WebSocket with more header fields."""
    lines = ["GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Key: {KEY}", *fields, "", ""]).encode()


@asynccontextmanager
async def connected(server: Server, address: str = PROXY) -> AsyncIterator[trio.SocketStream]:
    """Connect from an address of this machine."""
    port = int(server.url.rstrip("/").rpartition(":")[2])
    sock = trio.socket.socket()
    await sock.bind((address, 0))
    await sock.connect(("127.0.0.1", port))
    async with trio.SocketStream(sock) as stream:
        yield stream


async def status(stream: trio.SocketStream, *fields: str) -> int:
    """Ask for a WebSocket and return the HTTP status of the answer."""
    await stream.send_all(request(*fields))
    answer = bytes(await stream.receive_some())
    return int(answer.split()[1])


async def test_clients_behind_a_proxy_have_limits_of_their_own() -> None:
    """Behind a trusted proxy, each client may have as many connections as an address may have, and no more."""
    async with Greenroom(log="memory:", settings=LIMITS).running() as server, AsyncExitStack() as stack:
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            field = f"X-Forwarded-For: 198.51.100.9, {client}"
            answers = [await status(await stack.enter_async_context(connected(server)), field) for _ in range(3)]
            assert answers == [101, 101, 503]
        assert server.endpoint.statistics().refused == 3


@pytest.mark.parametrize("fields", [[], ["X-Forwarded-For: unknown"], ["X-Forwarded-For: 127.0.0.1"]])
async def test_proxy_that_names_no_client(fields: list[str]) -> None:
    """If the header of a trusted proxy is missing or has no client, the connections count for the proxy's address.

    Connections for which it names a client are not affected.
    """
    async with Greenroom(log="memory:", settings=LIMITS).running() as server, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(server)) for _ in range(4)]
        answers = [await status(stream, *fields) for stream in streams[:3]]
        assert (answers, await status(streams[3], "X-Forwarded-For: 192.0.2.1")) == ([101, 101, 503], 101)


async def test_rate_of_a_proxy_that_names_no_client() -> None:
    """The connections for which a trusted proxy names no client have the rate of one address."""
    limits = {"forwarded_allow": [PROXY], "handshakes_per_address_per_second": 1, "port": 0}
    async with Greenroom(log="memory:", settings=limits).running() as server, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(server)) for _ in range(2)]
        assert [await status(stream) for stream in streams] == [101, 503]


async def test_ipv6_clients_behind_a_proxy() -> None:
    """The limits count the IPv6 clients of one network of 64 bits as one. Each keeps its own address."""
    async with Greenroom(log="memory:", settings=LIMITS).running() as server, AsyncExitStack() as stack:
        answers = []
        for client in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"):
            stream = await stack.enter_async_context(connected(server))
            answers.append(await status(stream, f"X-Forwarded-For: {client}"))
        assert answers == [101, 101, 503, 101]


async def test_rate_of_a_client_behind_a_proxy() -> None:
    """A client behind a trusted proxy that opens connections too fast gets 503. Other clients are served."""
    limits = {"forwarded_allow": [PROXY], "handshakes_per_address_per_second": 1, "port": 0}
    async with Greenroom(log="memory:", settings=limits).running() as server:
        answers = []
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            async with connected(server) as stream:
                answers.append(await status(stream, f"Forwarded: for={client}"))
        assert answers == [101, 503, 101]
        assert server.endpoint.statistics().too_fast == 1


async def test_headers_of_a_stranger_count_for_nothing() -> None:
    """The headers of a peer that is no trusted proxy are ignored: the peer's own address has its limit."""
    async with Greenroom(log="memory:", settings=LIMITS).running() as server, AsyncExitStack() as stack:
        answers = [
            await status(await stack.enter_async_context(connected(server, STRANGER)), f"X-Forwarded-For: 192.0.2.{n}")
            for n in range(3)
        ]
        assert answers == [101, 101, 503]


async def test_contradiction_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A request in which the two headers name different clients gets 400, and a line in the log."""
    async with Greenroom(log="memory:", settings=LIMITS).running() as server:
        async with connected(server) as stream:
            await stream.send_all(request("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2"))
            answer = b"".join([bytes(part) async for part in stream])
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"different clients" in answer
        async with connected(server) as stream:
            assert await status(stream, "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1") == 101
    assert any("different clients" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        (PROXY, ["X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
        (PROXY, ["X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: [2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ['Forwarded: for="[2001:db8::1]:4711";proto=https'], "2001:db8::1"),
        (PROXY, ["X-Forwarded-For: unknown"], PROXY),
        (PROXY, ["X-Forwarded-For: " + "192.0.2.9," * 1_000 + "192.0.2.1"], "192.0.2.1"),
        (PROXY, [], PROXY),
        (STRANGER, ["X-Forwarded-For: 192.0.2.1"], STRANGER),
    ],
)
async def test_address_of_credentials(peer: str, fields: list[str], address: str) -> None:
    """The auth function gets the address of the client, not that of the proxy."""
    seen: list[str] = []

    async def authenticate(credentials: Credentials) -> User:
        seen.append(credentials.address)
        return User("ann")

    async with Greenroom(log="memory:", auth=authenticate, settings=LIMITS).running() as server:
        async with connected(server, peer) as stream:
            assert await status(stream, *fields) == 101
            hello = json.dumps({"type": "hello", "session": "s1"}).encode()
            await stream.send_all(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)
            await stream.receive_some()
    assert seen == [address]
