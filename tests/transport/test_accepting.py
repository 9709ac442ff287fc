"""The accept stage of a port: it goes on after every error of the system, and leaves other tasks their turns."""

from __future__ import annotations

import errno
import logging
import socket
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from _raw_http import TurnCounter

from actors.loop.clock import LoopTime
from transport import Settings
from transport.server._heartbeat import Heartbeat
from transport.server._refusals import RefusalLog
from transport.server.accepting import ACCEPTS_PER_TURN, AcceptStage
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio.testing import MockClock


class Listener(socket.socket):
    """A listening socket. Its next accepts raise the errors in ``errors``."""

    def __init__(self) -> None:
        super().__init__(fileno=listen("127.0.0.1", 0)[0].detach())
        self.errors: list[int] = []

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection, unless an error is left."""
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, "it went wrong")
        return super().accept()


class Port:
    """A port that accepts with an accept stage, and records the addresses of the connections."""

    def __init__(self, listener: Listener, stack: ExitStack, settings: Settings) -> None:
        self.listener = listener
        self.served: list[str] = []
        self.stage = AcceptStage(settings, LoopTime(), RefusalLog(settings, Heartbeat()))
        self._stack = stack

    def connect(self) -> None:
        """Connect to the port."""
        self._stack.enter_context(socket.create_connection(self.listener.getsockname()))

    def begin(self, stream: trio.SocketStream, sock: socket.socket, address: str) -> Callable[[], Awaitable[None]]:
        """Return a task that records a connection and closes it."""

        async def serve() -> None:
            self.served.append(address)
            await stream.aclose()

        return serve


@pytest.fixture
def port() -> Iterator[Port]:
    """A port without rate limits that matter."""
    settings = Settings(handshakes_per_address_per_second=1000)
    with Listener() as listener, ExitStack() as stack:
        yield Port(listener, stack, settings)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED])
async def test_error_of_accept(error: int, port: Port, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a connection cannot be accepted, the port accepts it later, and all others too."""
    port.listener.errors = [error] * 3
    port.connect()
    port.connect()
    nursery.start_soon(port.stage.run, port.listener, port.begin, nursery)
    await trio.sleep(1)
    assert port.served == ["127.0.0.1"] * 2
    nursery.cancel_scope.cancel()


async def test_ipv4_client_of_an_ipv6_socket(port: Port, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """An IPv4 client has its IPv4 address, also on a socket that accepts both: it may be a trusted proxy."""
    mapped = port.listener.accept
    port.connect()

    def accept() -> tuple[socket.socket, tuple[str, int]]:
        sock, (host, number) = mapped()
        return sock, (f"::ffff:{host}", number)

    port.listener.accept = accept  # type: ignore[method-assign]  # a socket for both families, as its kernel says it
    nursery.start_soon(port.stage.run, port.listener, port.begin, nursery)
    await trio.sleep(1)
    assert port.served == ["127.0.0.1"]
    nursery.cancel_scope.cancel()


async def test_error_that_stays(
    port: Port, nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """While there are no free files, the port tries ten times a second, and one line in the log says so."""
    port.listener.errors = [errno.EMFILE] * 1000
    port.connect()
    nursery.start_soon(port.stage.run, port.listener, port.begin, nursery)
    await trio.sleep(10)
    assert len(port.listener.errors) in range(895, 905)
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(line.exc_info, "it went wrong" in line.getMessage()) for line in lines] == [(None, True)]
    nursery.cancel_scope.cancel()


async def test_turns_of_others(port: Port, nursery: trio.Nursery) -> None:
    """In one turn of the loop a port accepts ``ACCEPTS_PER_TURN`` connections at most, so that other tasks can run."""
    for _ in range(2 * ACCEPTS_PER_TURN):
        port.connect()
    begun: Counter[int] = Counter()
    turns = TurnCounter()

    def begin(stream: trio.SocketStream, sock: socket.socket, address: str) -> Callable[[], Awaitable[None]]:
        begun[turns.turn] += 1
        return port.begin(stream, sock, address)

    trio.lowlevel.add_instrument(turns)
    nursery.start_soon(port.stage.run, port.listener, begin, nursery)
    while begun.total() < 2 * ACCEPTS_PER_TURN:
        await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(turns)
    assert max(begun.values()) == ACCEPTS_PER_TURN
    nursery.cancel_scope.cancel()
