"""Connections that begin with a header of the PROXY protocol, on the WebSocket port, also before TLS."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from _tls import Authority
from protocol.test_trusted_proxies import PROXY, STRANGER, connected, request

from actors import ConfigError
from transport import Greenroom

if TYPE_CHECKING:
    from pathlib import Path

    from transport import Server

V1 = b"PROXY TCP4 192.0.2.%d 10.0.0.1 4711 443\r\n"
V6 = b"PROXY TCP6 2001:db8::%d ::1 4711 443\r\n"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
SETTINGS = {"proxy_protocol": True, "forwarded_allow": [PROXY], "max_connections_per_address": 2, "port": 0}


async def answer(stream: trio.abc.Stream, data: bytes) -> bytes:
    """Send bytes and return what comes back first; b"" if the connection was closed."""
    with trio.fail_after(60):
        try:
            await stream.send_all(data)
            return bytes(await stream.receive_some())
        except trio.BrokenResourceError:
            return b""


async def statuses(server: Server, stack: AsyncExitStack, heads: list[bytes], address: str = PROXY) -> list[bytes]:
    """Open a connection for each head, with a request after it. Return the statuses of the answers."""
    found: list[bytes] = []
    for head in heads:
        stream = await stack.enter_async_context(connected(server, address))
        found.append((await answer(stream, head + request()))[9:12])
    return found


async def test_client_of_the_header_counts() -> None:
    """The limits per address mean the client that the header names, or the proxy itself (LOCAL).

    IPv6 clients count by their network of 64 bits.
    """
    async with Greenroom(log="memory:", settings=SETTINGS).running() as server, AsyncExitStack() as stack:
        assert await statuses(server, stack, [V1 % 1] * 3) == [b"101", b"101", b"503"]
        assert await statuses(server, stack, [V1 % 2] * 2) == [b"101", b"101"]
        assert await statuses(server, stack, [LOCAL] * 3) == [b"101", b"101", b"503"]
        assert await statuses(server, stack, [V6 % number for number in range(3)]) == [b"101", b"101", b"503"]


async def test_header_in_pieces() -> None:
    """A header that arrives byte by byte is read, and the bytes after it belong to the request."""
    async with Greenroom(log="memory:", settings=SETTINGS).running() as server, connected(server) as stream:
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        for byte in V1 % 1:
            await stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await answer(stream, request())).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "data", [request(), b"PROXY TCP4 x y 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x41\x11\x00\x00", b"\0"]
)
async def test_wrong_header_closes_the_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A connection from a proxy without a correct header is closed without an answer. A line in the log says so."""
    async with Greenroom(log="memory:", settings=SETTINGS).running() as server, connected(server) as stream:
        assert await answer(stream, data) == b""
    assert [record.exc_info for record in caplog.records] == [None]
    assert "proxy_protocol" in caplog.text


async def test_stranger_is_never_asked_for_a_header() -> None:
    """A connection from another address begins with its request. A header that it sends is a wrong request."""
    async with Greenroom(log="memory:", settings=SETTINGS).running() as server, AsyncExitStack() as stack:
        assert await statuses(server, stack, [b"", V1 % 1], STRANGER) == [b"101", b"400"]


async def test_header_then_proxy_headers() -> None:
    """If the header names another trusted proxy, the headers of that proxy count. Those of a client do not."""
    settings = {**SETTINGS, "forwarded_allow": [PROXY, "192.0.2.1"], "max_connections_per_address": 1}
    async with Greenroom(log="memory:", settings=settings).running() as server, AsyncExitStack() as stack:
        for header, expected in ((V1 % 1, [b"101", b"101"]), (V1 % 2, [b"101", b"503"])):
            found: list[bytes] = []
            for number in range(2):
                stream = await stack.enter_async_context(connected(server))
                data = header + request(f"X-Forwarded-For: 198.51.100.{number}")
                found.append((await answer(stream, data))[9:12])
            assert found == expected


async def test_clients_that_come_too_fast() -> None:
    """A client that the header names is held to the rate of its address: its connection is closed."""
    settings = {**SETTINGS, "handshakes_per_address_per_second": 1}
    async with Greenroom(log="memory:", settings=settings).running() as server, AsyncExitStack() as stack:
        assert await statuses(server, stack, [V1 % 1, V1 % 1, V1 % 2]) == [b"101", b"", b"101"]
        assert server.endpoint.statistics().too_fast == 1


async def test_header_before_tls(tmp_path: Path) -> None:
    """The header comes before the TLS handshake."""
    authority = Authority(tmp_path)
    settings = {**SETTINGS, **authority.issue()}
    async with Greenroom(log="memory:", settings=settings).running() as server, AsyncExitStack() as stack:
        found: list[bytes] = []
        for _ in range(3):
            stream = await stack.enter_async_context(connected(server))
            await stream.send_all(V1 % 1)
            secure: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
                stream, authority.trusting(), server_hostname="127.0.0.1", https_compatible=True
            )
            found.append((await answer(secure, request()))[9:12])
        assert found == [b"101", b"101", b"503"]
        async with connected(server) as stream:
            assert not (await answer(stream, ssl_hello())).startswith(b"HTTP")


def ssl_hello() -> bytes:
    """Return the first bytes of a client's TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def test_no_proxy_is_trusted() -> None:
    """``proxy_protocol`` without ``forwarded_allow`` is an error at the start."""
    with pytest.raises(ConfigError, match="proxy_protocol needs forwarded_allow"):
        async with Greenroom(log="memory:", settings={"proxy_protocol": True, "port": 0}).running():
            pass
