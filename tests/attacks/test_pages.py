"""Attacks on the HTTP port of the pages, and what a client of the endpoint in the same process sees of them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio
from _scale import scaled
from attacks.arena import ATTACKERS, FEW, arena
from attacks.attacker import Attacker, Got

if TYPE_CHECKING:
    from trio.testing import MockClock


def get(path: bytes, *headers: bytes) -> bytes:
    """Return a request for a page."""
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""))


POST = b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
SLOW = {"nothing": (b"", 0), "half a head": (get(b"/")[:20], 408), "half a body": (POST + b"x", 408)}


async def test_request_that_does_not_end(patient_clock: MockClock) -> None:
    """A request must be whole after ``hello_seconds``. A byte now and then does not help."""
    slow = list(SLOW.values())

    async def attack(one: Attacker) -> None:
        began = trio.current_time()
        sent, status = slow[one.number]
        await one.send(sent)
        for _ in range(20 if sent else 0):
            if not await one.send(b"x"):
                break
            await trio.sleep(1)
        await one.read()
        assert trio.current_time() - began < 20
        assert Got.read(one.received) == Got(status)

    async with arena(of_pages=True) as here:
        await here.endure_each(attack, SLOW)


async def test_flood_of_requests(patient_clock: MockClock) -> None:
    """A client that sends many requests at once gets its answers, and its neighbour at the endpoint waits no longer."""

    async def attack(one: Attacker) -> None:
        await one.send(get(b"/config") * 30 + get(b"/nothing", b"Connection: close"))
        await one.read()
        assert one.received.count(b"HTTP/1.1 200") == 30

    async with arena(of_pages=True) as here:
        assert await here.endure(attack) == [Got(200)] * ATTACKERS


async def test_peer_that_does_not_read(patient_clock: MockClock) -> None:
    """A client that asks for files and reads nothing is let go after ``slow_seconds``. No file stays open for it."""

    async def attack(one: Attacker) -> None:
        one.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await one.send(get(b"/greenroom.js") * 60)
        await trio.sleep(20)
        assert here.site is not None
        assert here.site.statistics().connections == 0
        one.reset()

    async with arena(of_pages=True) as here:
        assert await here.endure(attack) == [Got()] * ATTACKERS


WRONG = {
    "length and chunks": POST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST[:-2] + b"Content-Length: 4\r\n\r\n" + b"x" * 4 + get(b"/smuggled"),
    "a folded header": get(b"/", b"X: a", b" b"),
    "a line end of one byte": get(b"/", b"X: a\nHost: evil.example"),
    "a byte of zero": get(b"/", b"X: a\0b"),
    "a space before the colon": get(b"/", b"Content-Length : 3") + get(b"/smuggled"),
    "two hosts": get(b"/", b"Host: evil.example"),
    "a long head": get(b"/", b"X: " + b"x" * 20_000),
    "many headers": get(b"/", *[b"X: y"] * 3_000),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"x" * 500,
}


async def test_wrong_request(patient_clock: MockClock) -> None:
    """A wrong or ambiguous request gets 400, and nothing behind it is read as a request. HTTP/2 is not served."""
    wrong = list(WRONG.values())

    async def attack(one: Attacker) -> None:
        await one.send(wrong[one.number])
        await one.read()
        assert one.received.count(b"HTTP/1.1 400") == one.received.count(b"\r\n\r\n") == 1

    async with arena(of_pages=True) as here:
        assert await here.endure_each(attack, WRONG) == dict.fromkeys(WRONG, Got(400))


PATHS = [
    b"/../serving.py",
    b"/%2e%2e/serving.py",
    b"/..%2fserving.py",
    b"/%2e%2e%2f%2e%2e%2fserving.py",
    b"/..%5cserving.py",
    b"/..\\serving.py",
    b"/....//serving.py",
    b"/.%00./serving.py",
    b"//etc/passwd",
    b"/%252e%252e/serving.py",
    b"/greenroom.js/../../serving.py",
    b"/greenroom.js%00.html",
    b"file:///etc/passwd",
    b"http://evil.example/../serving.py",
    b"/" + b"../" * 200 + b"etc/passwd",
    b"/" + b"a" * 5_000,
]


async def test_path_out_of_the_folder(patient_clock: MockClock) -> None:
    """A path that leads out of the pages' folder gets 404 or 400, in every spelling."""

    async def attack(one: Attacker) -> None:
        await one.send(get(PATHS[one.number], b"Connection: close"))
        await one.read()
        assert b"import" not in one.received
        assert b"root:" not in one.received

    async with arena(of_pages=True) as here:
        got = await here.endure(attack, len(PATHS), len(PATHS))
        assert {each.status for each in got} <= {400, 404}


CONNECTIONS = scaled(100, 10_000)
PARTS = [b"", get(b"/")[:9], get(b"/config"), POST, get(b"/greenroom.js") * 3]


async def test_connections_that_come_and_go(patient_clock: MockClock) -> None:
    """Ten thousand connections that are opened and dropped at once, in the middle of anything, leave nothing behind."""

    async def attack(one: Attacker) -> None:
        for number in range(CONNECTIONS // 10):
            async with (another := await here.connect()).stream:
                await another.send(PARTS[number % len(PARTS)])
                if number % 2:
                    another.reset()
        await one.leave()

    async with arena(of_pages=True, handshakes_per_second=1e9, max_connections_per_address=FEW) as here:
        assert await here.endure(attack, 10, 10) == [Got()] * 10
