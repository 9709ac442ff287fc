"""Failures behind the pages, and the end of their server: each is logged once, and no client waits for ever."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from _raw_http import GET, HOST, PATIENCE, request, running_site

from transport.http._server import SHUTDOWN_SECONDS
from transport.server.listening import listen

if TYPE_CHECKING:
    from trio.testing import MockClock


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the failures in the log."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("path", ["/raise", "/nothing", "/start", "/long"])
async def test_no_response(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """If the application fails before any part of its response was sent, the client gets 500 with a reference.

    The failure is in the log once, with this reference. Its text is not in the response.
    """
    async with running_site() as site:
        client = await site.connect()
        answer = await client.ask(request(path))
        assert (answer.status, answer.has(b"connection: close"), await client.rest()) == (500, True, b"")
        assert b"secret" not in answer.body
        reference = answer.body.decode().split()[-1]
        assert [reference in line for line in failures(caplog)] == [True]
        assert (await site.ask(GET)).status == 200


async def test_half_a_response(caplog: pytest.LogCaptureFixture) -> None:
    """If the application fails in the middle of its response, the connection is closed, so that the client notices.

    A request that is waiting behind it is not answered.
    """
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/half") + GET)
        assert (await client.rest()).endswith(b"\r\n\r\nhalf")
        assert (len(failures(caplog)), site.calls) == (1, 1)


async def test_failure_after_the_response(caplog: pytest.LogCaptureFixture) -> None:
    """If the application fails after its response, the response is whole, and the connection can be used again."""
    async with running_site() as site:
        client = await site.connect()
        assert (await client.ask(request("/late"))).body == b"whole"
        assert (await client.ask(GET)).body == b"hello"
        assert len(failures(caplog)) == 1


async def test_client_that_leaves_in_a_response(caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves in the middle of a response is no failure."""
    async with running_site() as site:
        client = await site.connect(receive_buffer=4096)
        await client.send(request("/big"))
        await client.stream.receive_some(1)
        await trio.aclose_forcefully(client.stream)
        await site.wait_for_connections(0)
        assert failures(caplog) == []


async def test_stop_with_idle_clients(autojump_clock: MockClock) -> None:
    """A server that stops closes the connections that wait for a request, at once, and frees its port."""
    async with running_site() as site:
        clients = [await site.connect() for _ in range(3)]
        await clients[0].ask(GET)
        await clients[1].send(b"GET / HT")
        await site.wait_for_connections(3)
        began = trio.current_time()
        site.stop()
        assert [await client.rest() for client in clients] == [b""] * 3
        await site.stopped.wait()
        assert trio.current_time() == began
        for listener in listen(HOST, site.port):
            listener.close()


async def test_stop_with_a_response_in_progress(autojump_clock: MockClock) -> None:
    """A server that stops lets a response in progress end, and closes its connection after it.

    Meanwhile the system refuses new connections.
    """
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/wait") + GET)
        await site.answering.wait()
        site.stop()
        await trio.sleep(SHUTDOWN_SECONDS / 2)
        with pytest.raises(ConnectionRefusedError):
            await site.connect()
        site.go_on.set()
        answer = await client.answer()
        assert (answer.body, answer.has(b"connection: close"), await client.rest()) == (b"waited", True, b"")
        await site.stopped.wait()


@pytest.mark.parametrize("drain_seconds", [0, SHUTDOWN_SECONDS / 2, SHUTDOWN_SECONDS + 1])
@pytest.mark.parametrize("path", ["/wait", "/big"])
async def test_stop_with_a_response_that_does_not_end(
    path: str, drain_seconds: float, autojump_clock: MockClock
) -> None:
    """A server that stops waits ``SHUTDOWN_SECONDS`` at most: for its application, and for a client that does not read.

    If ``drain_seconds`` is less, that counts. Then the connection is closed.
    """
    async with running_site(drain_seconds=drain_seconds) as site:
        client = await site.connect(receive_buffer=4096)
        await client.send(request(path))
        while not site.calls:
            await trio.lowlevel.checkpoint()
        began = trio.current_time()
        site.stop()
        await site.stopped.wait()
        assert trio.current_time() - began == min(SHUTDOWN_SECONDS, drain_seconds)
        with trio.fail_after(PATIENCE):
            await client.rest()
