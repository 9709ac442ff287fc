"""Attacks before a WebSocket is open: slow and wrong requests, foreign pages, and too many connections."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
from attacks.arena import ATTACKERS, arena
from attacks.attacker import HEAD, Attacker, Got

if TYPE_CHECKING:
    from trio.testing import MockClock

SLOW = {"nothing": b"", "half a line": b"GET / HT", "all but the end": HEAD}


async def test_request_that_does_not_end(patient_clock: MockClock) -> None:
    """A connection whose request is not complete after 5 s is closed without an answer."""
    slow = list(SLOW.values())

    async def attack(one: Attacker) -> None:
        began = trio.current_time()
        await one.send(slow[one.number])
        await one.read()
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)

    async with arena() as here:
        assert await here.endure_each(attack, SLOW) == dict.fromkeys(SLOW, Got())


async def test_request_that_comes_byte_by_byte(patient_clock: MockClock) -> None:
    """A byte now and then does not extend the 5 s that a request may take."""

    async def attack(one: Attacker) -> None:
        for byte in HEAD:
            if not await one.send(bytes([byte])):
                break
            await trio.sleep(1)
        assert trio.current_time() < 60

    async with arena() as here:
        assert await here.endure(attack) == [Got()] * ATTACKERS


def request(*headers: bytes, first: bytes = b"GET / HTTP/1.1\r\n") -> bytes:
    """Return a request for a WebSocket with more headers."""
    return first + HEAD.partition(b"\r\n")[2] + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


SMUGGLED = request() + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
WRONG = {
    "length and chunks": request(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two lengths": request(b"Content-Length: 0", b"Content-Length: 40") + SMUGGLED,
    "chunks in disguise": request(b"Transfer-Encoding : chunked") + b"0\r\n\r\n" + SMUGGLED,
    "a body": request(b"Content-Length: 40") + b"x" * 40,
    "a body that does not come": request(b"Content-Length: 40"),
    "a second request": SMUGGLED,
    "a folded header": request(b"X: a", b" Host: evil.example"),
    "two hosts": request(b"Host: evil.example"),
    "a line end of one byte": request(b"X: a\nHost: evil.example"),
    "a byte of zero": request(b"X: a\0b"),
    "a header without a name": request(b": x"),
    "a space before the colon": request(b"Host : evil.example"),
    "two keys": request(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "a long head": request(b"X: " + b"x" * 20_000),
    "many headers": request(*[b"X: y"] * 3_000),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "HTTP/2 by upgrade": request(b"HTTP2-Settings: AAM").replace(b"websocket", b"h2c"),
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"x" * 500,
    "another method": request(first=b"POST / HTTP/1.1\r\n"),
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
}


async def test_wrong_request(patient_clock: MockClock) -> None:
    """A wrong or ambiguous request gets one answer, 400, and then the end: nothing behind it is read as a request."""
    wrong = list(WRONG.values())

    async def attack(one: Attacker) -> None:
        await one.send(wrong[one.number])
        await one.read()
        assert one.received.count(b"HTTP/1.1 400") == one.received.count(b"\r\n\r\n") == 1

    async with arena() as here:
        assert await here.endure_each(attack, WRONG) == dict.fromkeys(WRONG, Got(400))


FOREIGN = {
    "another site": (b"localhost:8766", b"https://evil.example"),
    "a name that begins like ours": (b"localhost:8766", b"https://app.example.evil.example"),
    "a name that ends like ours": (b"localhost:8766", b"https://evilapp.example"),
    "another scheme": (b"app.example", b"http://app.example"),
    "another port": (b"app.example", b"https://app.example:8443"),
    "a local file": (b"localhost:8766", b"null"),
    "a name that leads to this machine": (b"rebound.example:8765", b"http://rebound.example:8766"),
    "another port of an address": (b"127.0.0.1:8765", b"http://127.0.0.1:9000"),
    "another address": (b"127.0.0.1:8765", b"http://127.0.0.2:8766"),
    "a name in the form of an address": (b"127.0.0.1.evil.example:8765", b"http://127.0.0.1.evil.example:8766"),
}


async def test_foreign_page(patient_clock: MockClock) -> None:
    """A page of a foreign origin gets 403, also if its name leads to this machine and is the host of the request.

    This also holds for a server that listens at every address, and allows its own pages at each of them.
    *A foreign name that is made to lead to 127.0.0.1 (DNS rebinding) has the same host and origin.*
    """
    foreign = list(FOREIGN.values())

    async def attack(one: Attacker) -> None:
        host, origin = foreign[one.number]
        await one.send(HEAD.replace(b"Host: localhost", b"Host: " + host) + b"Origin: " + origin + b"\r\n\r\n")

    async with arena(allowed_origins=["https://app.example"], origins=("http://0.0.0.0:8766",)) as here:
        assert await here.endure_each(attack, FOREIGN) == dict.fromkeys(FOREIGN, Got(403))


async def test_handshakes_of_one_address(patient_clock: MockClock) -> None:
    """Connections beyond ``handshakes_per_address_per_second`` are closed at once. Other addresses are served."""

    async def attack(one: Attacker) -> None:
        await one.send(HEAD + b"\r\n")

    async with arena(handshakes_per_address_per_second=4) as here:
        await here.endure(attack, times=40, earlier=10)
        assert here.server.endpoint.statistics().too_fast >= 42
        assert here.cost < 1000


async def test_connections_at_once(patient_clock: MockClock) -> None:
    """Hundreds of connections that come in the same moment are accepted in several turns of the event loop."""

    async def attack(one: Attacker) -> None:
        address = one.stream.socket.getpeername()
        for sock in [socket.create_connection(address) for _ in range(300)]:
            sock.close()
        await one.leave()

    async with arena(max_connections_per_address=1000) as here:
        assert await here.endure(attack, 1, 1) == [Got()]


async def test_address_in_a_header(patient_clock: MockClock) -> None:
    """A header with another address does not help against ``max_connections_per_address``."""

    async def attack(one: Attacker) -> None:
        await one.upgrade(b"X-Forwarded-For: 10.0.0.1")
        for header, status in ((b"Forwarded: for=10.0.0.2", b"101"), (b"X-Real-IP: 10.0.0.3", b"503")):
            another = await here.connect()
            held.append(another.stream)
            await another.upgrade(header)
            assert another.received.startswith(b"HTTP/1.1 " + status)
        for stream in held:
            await stream.aclose()

    held: list[trio.SocketStream] = []
    async with arena(max_connections_per_address=2) as here:
        assert await here.endure(attack, 1, 1) == [Got(101, 4503)]
