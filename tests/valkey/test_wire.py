"""The wire to a Valkey server: bytes in pieces, full sockets, pushes between answers, and the steps of one call."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import _tls
import _valkey
import pytest
import trio

from actors.valkey._wire import Wire, connected
from actors.valkey.address import Address, parse_address
from actors.valkey.link import Link
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SECONDS = 30
"""Time limit of each test."""


@asynccontextmanager
async def running(stream: trio.abc.Stream, pushes: list[Any] | None = None) -> AsyncGenerator[Wire]:
    """Run a wire over a stream inside the block."""
    wire = Wire(stream, None if pushes is None else pushes.append)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.run)
            yield wire
            nursery.cancel_scope.cancel()


async def test_answers_in_pieces() -> None:
    """Answers that arrive byte by byte, with pushes between them, are those of their commands, in order."""
    ours, theirs = trio.testing.memory_stream_pair()
    pushes: list[Any] = []
    async with running(ours, pushes) as wire:
        first, second = wire.ask([(b"GET", "a"), (b"GET", "b")]), wire.ask([("INCR", "n")])
        for byte in b"$1\r\nA\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n\r\n\r\n$-1\r\n:7\r\n":
            await theirs.send_all(bytes([byte]))
        await second.over.wait()
    assert (first.answers, second.answers) == ([b"A", None], [7])
    assert pushes == [[b"message", b"c", b"\r\n"]]


async def test_full_socket_keeps_the_order() -> None:
    """Commands that a full socket does not take wait, later commands wait behind them, and nothing is sent twice."""
    left, right = socket.socketpair()
    peer = trio.SocketStream(trio.socket.from_stdlib_socket(right))
    async with running(trio.SocketStream(trio.socket.from_stdlib_socket(left))) as wire, peer:
        sent = [b"%d-" % number + bytes(300_000) for number in range(10)]
        for each in sent:
            wire.send([(b"SET", each)])
        got = bytearray()
        while len(got) < sum(map(len, map(packed, sent))):
            got += await peer.receive_some()
            if len(sent) < 20:  # there is room in the socket now, but other bytes wait for it
                sent.append(b"%d-" % len(sent))
                wire.send([(b"SET", sent[-1])])
    assert got == b"".join(map(packed, sent))


def packed(value: bytes) -> bytes:
    """Return the bytes of a command with a value."""
    return b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(value), value)


@pytest.mark.parametrize("end", [b"", b"nonsense\r\n"])
async def test_end_of_the_connection(end: bytes) -> None:
    """If the stream ends, or something else than an answer comes, commands without an answer are told so."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with running(ours) as wire:
        answered, lost = wire.ask([(b"PING",)]), wire.ask([(b"PING",)])
        await theirs.send_all(b"+PONG\r\n" + end)
        if not end:
            await theirs.send_eof()
        await lost.over.wait()
        assert (answered.is_answered, lost.is_answered, wire.ended) == (True, False, True)
        with pytest.raises(trio.BrokenResourceError):
            wire.ask([(b"PING",)])


class Steps(trio.abc.Instrument):
    """A counter of the scheduler's steps."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step."""
        self.count += 1


async def test_steps_of_one_call() -> None:
    """A call takes two steps of the scheduler: one reads the answer, and one goes on with it."""
    with trio.fail_after(SECONDS), _valkey.Server() as server:
        async with Valkey(parse_address(server.url), seconds=SECONDS) as valkey:
            await valkey.reads.call(b"PING")
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            for _ in range(100):
                await valkey.reads.call(b"PING")
            trio.lowlevel.remove_instrument(steps)
    assert steps.count <= 220


async def pong(stream: trio.abc.Stream) -> None:
    """Answer each command with PONG until the client leaves."""
    try:
        while await stream.receive_some():
            await stream.send_all(b"+PONG\r\n")
    except trio.BrokenResourceError:
        pass  # the client did not like the certificate


@asynccontextmanager
async def tls_server(authority: _tls.Authority) -> AsyncGenerator[Address]:
    """Run a server with TLS that answers PONG."""
    files = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["tls_cert"], files["tls_key"])
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, pong, 0, context, host="127.0.0.1", https_compatible=True)
            listeners = await nursery.start(serve)
            yield Address("127.0.0.1", listeners[0].transport_listener.socket.getsockname()[1], tls=True)
            nursery.cancel_scope.cancel()


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, commands and answers go over the encrypted stream."""
    authority = _tls.Authority(tmp_path)
    monkeypatch.setattr(ssl, "create_default_context", authority.trusting)
    async with tls_server(authority) as address, trio.open_nursery() as nursery:
        wire = await connected(address, None)
        nursery.start_soon(wire.run)
        assert await wire.answers([(b"PING",)]) == [b"PONG"]
        nursery.cancel_scope.cancel()


async def test_refused_certificate(tmp_path: Path) -> None:
    """If the server's certificate is not trusted, the link says so as the reason of its failure."""
    async with tls_server(_tls.Authority(tmp_path)) as address, trio.open_nursery() as nursery:

        async def prepare(_: object) -> str:
            raise AssertionError

        link = Link(address, SECONDS, prepare=prepare)
        nursery.start_soon(link.run)
        await link.changed()
        assert "its certificate is refused: unable to get local issuer certificate" in str(link.failure)
        nursery.cancel_scope.cancel()
