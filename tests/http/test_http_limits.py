"""The limits of the HTTP port: connections, time to send a request, time to read a response, turns of the loop."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _raw_http import BIG, GET, PATIENCE, RawClient, Site, TurnCounter, reply, request, running_site
from protocol.agents import make_app
from protocol.wire import greeted

from transport.http._stream import LINGER_SECONDS, WRITE_BYTES
from transport.http._turns import TURNS_PER_REQUEST, Turns
from transport.http.pages import pages
from transport.protocol.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trio.testing import MockClock

SECOND = "127.0.0.2"
"""Another address of this machine, from which a client can come."""


@pytest.fixture(autouse=True)
def no_failure_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of this file is a failure of the server: there is no traceback, and no error, in the log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


# Connections

LIMITS = [{"max_connections": 2}, {"max_connections_per_address": 2}]


@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_idle_connection_makes_room(limit: dict[str, int]) -> None:
    """If a limit on connections is reached, the connection that waits longest for a request is closed for a new one.

    It makes no difference whether a connection has never sent a request, or waits for its next one.
    """
    async with running_site(**limit) as site:
        first, second = await site.connect(), await site.connect()
        await site.wait_for_connections(2)
        assert (await first.ask(GET)).body == b"hello"  # so the other one waits longer
        third = await site.connect()
        assert (await third.ask(GET)).body == b"hello"
        assert await second.rest() == b""
        fourth = await site.connect()
        assert (await fourth.ask(GET)).body == b"hello"
        assert await first.rest() == b""
        statistics = site.server.statistics()
        assert (statistics.connections, statistics.silent_dropped, statistics.refused) == (2, 2, 0)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_no_room(limit: dict[str, int]) -> None:
    """If all connections up to a limit have responses in progress, a request on a new connection gets 503."""
    async with running_site(**limit) as site:
        busy = [await site.connect() for _ in range(2)]
        for client in busy:
            await client.send(request("/wait"))
        while site.calls < 2:
            await trio.lowlevel.checkpoint()
        late = await site.connect()
        answer = await late.ask(GET)
        assert (answer.status, answer.has(b"connection: close"), await late.rest()) == (503, True, b"")
        site.go_on.set()
        assert [(await client.answer()).body for client in busy] == [b"waited"] * 2
        assert (await site.ask(GET)).status == 200
        assert site.server.statistics().refused == 1


async def test_addresses_have_their_own_limits() -> None:
    """An address at its limit takes no room from another address."""
    async with running_site(max_connections_per_address=1) as site:
        await (await site.connect()).send(request("/wait"))
        await site.answering.wait()
        assert (await site.ask(GET)).status == 503
        other = await site.connect(SECOND)
        assert (await other.ask(GET)).status == 200


@pytest.mark.parametrize("limit", ["handshakes_per_second", "handshakes_per_address_per_second"])
async def test_connections_that_come_too_fast(limit: str) -> None:
    """If connections come faster than a limit allows, the connections beyond it are closed without an answer."""
    async with running_site(**{limit: 2.001}) as site:
        allowed = [await site.connect() for _ in range(2)]
        beyond = await site.connect()
        assert await beyond.rest() == b""
        assert [(await client.ask(GET)).status for client in allowed] == [200, 200]
        statistics = site.server.statistics()
        assert (statistics.accepted, statistics.too_fast) == (2, 1)
        other = await site.connect(SECOND)
        if limit == "handshakes_per_address_per_second":
            assert (await other.ask(GET)).status == 200
        else:
            assert await other.rest() == b""


# Time to send a request

BEGUN = {"head": GET[:-2], "body": request("/echo", b"Content-Length: 5", method="POST") + b"hel"}
REST = {"head": b"\r\n", "body": b"lo"}


@pytest.mark.parametrize("part", BEGUN)
async def test_slow_request(part: str, autojump_clock: MockClock) -> None:
    """A request that is not whole after ``hello_seconds`` gets 408, and its connection is closed.

    A request that is whole just before is answered.
    """
    async with running_site(hello_seconds=10) as site:
        in_time, late = await site.connect(), await site.connect()
        began = trio.current_time()
        for client in (in_time, late):
            await client.send(BEGUN[part])
        await trio.sleep(9.9)
        await in_time.send(REST[part])
        assert (await in_time.answer()).body == b"hello"
        assert (await late.answer()).status == 408
        assert trio.current_time() - began == pytest.approx(10)
        assert (site.calls, site.server.statistics().slow_requests) == (1, 1)
        assert await late.rest() == b""


async def test_request_byte_by_byte(autojump_clock: MockClock) -> None:
    """A client that sends a byte of its request now and then does not get more time."""
    async with running_site(hello_seconds=10) as site:
        client = await site.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_now_and_then, client)
            assert (await client.answer()).status == 408
            nursery.cancel_scope.cancel()


async def send_now_and_then(client: RawClient) -> None:
    """Send one byte each second."""
    while True:
        await client.send(b"G")
        await trio.sleep(1)


async def test_idle_connection(autojump_clock: MockClock) -> None:
    """A connection without a request is closed after ``hello_seconds``, without an answer.

    The time begins with the connection, and again after each response.
    """
    async with running_site(hello_seconds=10) as site:
        silent, used = await site.connect(), await site.connect()
        for _ in range(3):
            await trio.sleep(9.9)
            assert (await used.ask(GET)).body == b"hello"
        for client in (silent, used):
            assert await client.rest() == b""
        assert trio.current_time() == pytest.approx(3 * 9.9 + 10)
        assert site.server.statistics().slow_requests == 0
        await site.wait_for_connections(0)


async def test_client_that_never_stops(autojump_clock: MockClock) -> None:
    """After a refusal, a client that goes on sending is read for a short time only, then its connection is closed.

    Meanwhile the connection counts against no limit.
    """
    async with running_site() as site:
        client = await site.connect()
        assert (await client.ask(b"\0")).status == 400
        await site.wait_for_connections(0)
        began = trio.current_time()
        with suppress(trio.BrokenResourceError):
            while True:
                await client.send(b"x")
                await trio.sleep(0.1)
        assert trio.current_time() - began == pytest.approx(LINGER_SECONDS, abs=0.3)


async def test_client_that_sends_more_while_it_waits(autojump_clock: MockClock) -> None:
    """While the application waits for its client, the server reads a limited number of the client's bytes."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/left"))
        await site.answering.wait()
        with trio.move_on_after(1) as scope:
            await client.send(b"x" * 64 * 1024 * 1024)
        assert scope.cancelled_caught


# Time to read a response


async def test_client_that_does_not_read(autojump_clock: MockClock) -> None:
    """A client that reads nothing of its response is cut after ``slow_seconds``."""
    async with running_site(slow_seconds=10) as site:
        began = trio.current_time()
        client = await site.connect(receive_buffer=4096)
        await client.send(request("/big") * 20)
        await site.wait_for_ends()
        assert trio.current_time() - began == pytest.approx(10)
        assert (site.calls, site.server.statistics().slow_readers) == (1, 1)


async def test_client_that_reads_a_little(autojump_clock: MockClock) -> None:
    """A client that reads a few bytes now and then does not get more time."""
    async with running_site(slow_seconds=10) as site:
        client = await site.connect(receive_buffer=4096)
        await client.send(request("/big"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_now_and_then, client, 100)
            await site.wait_for_ends()
            nursery.cancel_scope.cancel()
        assert trio.current_time() < 25
        assert site.server.statistics().slow_readers == 1


async def read_now_and_then(client: RawClient, size: int) -> None:
    """Read some bytes each second."""
    while True:
        await client.stream.receive_some(size)
        await trio.sleep(1)


async def test_client_that_reads_slowly(autojump_clock: MockClock) -> None:
    """A client that takes a piece of the response within each ``slow_seconds`` gets the whole response."""
    async with running_site(slow_seconds=10) as site:
        client = await site.connect()
        await client.send(request("/big", b"Connection: close"))
        got = 0
        while data := await client.stream.receive_some(16 * WRITE_BYTES):
            got += len(data)
            await trio.sleep(9)
        assert got > BIG
        assert trio.current_time() > 10 * 10
        assert site.server.statistics().slow_readers == 0


async def test_files_of_clients_that_do_not_read(tmp_path: Path) -> None:
    """Clients that ask for a file and read nothing hold no file and no task after ``slow_seconds``."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "big").write_bytes(b"x" * BIG)
    app = pages(ws_url="ws://127.0.0.1:1/", agent="", health=Health, folder=folder)
    async with running_site(app, slow_seconds=0.5) as site:
        assert len((await site.ask(request("/big"))).body) == BIG  # what is made once is made now
        await site.wait_for_connections(0)
        before = open_files(), trio.lowlevel.current_statistics().tasks_living
        clients = [await site.connect(receive_buffer=4096) for _ in range(40)]
        for client in clients:
            await client.send(request("/big") * 10)
        with trio.fail_after(PATIENCE):
            await site.wait_for_ends(1 + len(clients))
        await site.wait_for_connections(0)
        assert site.server.statistics().slow_readers == len(clients)
        for client in clients:
            await trio.aclose_forcefully(client.stream)
        assert (open_files(), trio.lowlevel.current_statistics().tasks_living) == before


def open_files() -> int:
    """Return the number of files that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# Turns of the loop


@pytest.fixture
async def turns() -> AsyncIterator[TurnCounter]:
    """Count the turns of the event loop."""
    counter = TurnCounter()
    trio.lowlevel.add_instrument(counter)
    yield counter
    trio.lowlevel.remove_instrument(counter)


async def test_turns_of_a_request(turns: TurnCounter) -> None:
    """In ``TURNS_PER_REQUEST`` turns of the event loop, at most one of the waiting requests begins, in their order."""
    queue, begun = Turns(), list[tuple[int, int]]()

    async def begin(each: int) -> None:
        await queue.next()
        begun.append((turns.turn, each))

    async with trio.open_nursery() as nursery:
        for each in range(50):
            nursery.start_soon(begin, each)
            await trio.lowlevel.checkpoint()
    assert [each for _, each in begun] == list(range(50))
    assert min(after - before for (before, _), (after, _) in pairwise(begun)) >= TURNS_PER_REQUEST


async def test_neighbour_of_a_flood(turns: TurnCounter) -> None:
    """While many clients send requests without a pause, a client of the WebSocket port is served as usual.

    The requests are handed to the application one by one, with turns of the event loop between them.
    """
    calls = Counter[int]()

    async def count(scope: Any, receive: Any, send: Any) -> None:
        calls[turns.turn] += 1
        await reply(send, b"hello")

    async with make_app().running(port=0) as server, greeted(server) as neighbour, running_site(count) as site:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(flood, site)
            while not calls:
                await trio.lowlevel.checkpoint()
            for number in range(20):
                await neighbour.say(str(number))
            nursery.cancel_scope.cancel()
    assert len(calls) > 20
    assert max(calls.values()) == 1
    assert min(after - before for before, after in pairwise(calls)) >= TURNS_PER_REQUEST


async def flood(site: Site) -> None:
    """Send requests without a pause, and read the responses."""
    client = await site.connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, client)
        while True:
            await client.send(GET * 100)


async def read_all(client: RawClient) -> None:
    """Read what comes, and forget it."""
    while await client.stream.receive_some():
        pass


def files_and_tasks() -> tuple[int, int]:
    """Return the numbers of open files and of living tasks."""
    return open_files(), trio.lowlevel.current_statistics().tasks_living


async def test_reset_in_the_middle(autojump_clock: MockClock) -> None:
    """Clients that reset their connections at any point leave nothing behind."""
    async with running_site() as site:
        assert (await site.ask(GET)).status == 200
        await site.wait_for_connections(0)
        before = files_and_tasks()
        for data in (b"", GET[:5], GET, BEGUN["body"], request("/big"), request("/left"), GET * 50, b"\0"):
            client = await site.connect()
            if data:
                await client.send(data)
            await trio.lowlevel.checkpoint()
            client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await trio.aclose_forcefully(client.stream)
        # The server may not have accepted the last connection yet. The time limit of the test ends this.
        while site.server.statistics().connections or files_and_tasks() != before:
            await trio.lowlevel.checkpoint()
