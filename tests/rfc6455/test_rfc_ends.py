"""RFC 6455, section 7: connections that end without a close frame, at any byte, and requests that take too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.threaded import PATIENCE
from rfc6455.frames import CONTINUATION, PING, TEXT, close, frame, message, question
from rfc6455.peer import HELLO, UPGRADE

from transport.server import _trio_wire
from transport.server._connection import UPGRADE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.mark import ParameterSet
    from rfc6455.peer import Peer
    from rfc6455.target import Target
    from trio.testing import MockClock

FRAMES = {
    "a command": frame(TEXT, question()),
    "a ping": frame(PING, b"ping"),
    "a close frame": close(1000, b"bye"),
    "fragments": message(question(), 5),
    "a long length": frame(TEXT, question(size=70_000))[:100],
}

REFUSED = {
    "an opcode without a meaning": frame(3),
    "no UTF-8": frame(TEXT, b"\xff"),
    "too many bytes": frame(TEXT, b"x" * 65_537),
    "too many fragments": message(b"", *[0] * 1024),
}
"""Frames after which the server reads no more frames."""
MORE = frame(TEXT, question()) * 20_000
"""More than the server has read when it refuses a frame, and less than it discards."""


def parts() -> Iterator[ParameterSet]:
    """Return beginnings of what a client sends: of its request, of its hello, and of frames after its welcome."""
    for size in (0, 1, 10, len(UPGRADE) - 1):
        yield pytest.param(UPGRADE[:size], 0, id=f"{size} bytes of the request")
    for size in range(0, len(HELLO), 5):
        yield pytest.param(HELLO[:size], 1, id=f"{size} bytes of the hello")
    for name, data in FRAMES.items():
        for size in (*range(9), len(data) - 1):
            yield pytest.param(data[:size], 2, id=f"{size} bytes of {name}")
    yield pytest.param(frame(TEXT, b"{", fin=False), 2, id="the first fragment")
    yield pytest.param(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False), 2, id="two empty fragments")
    yield pytest.param(frame(TEXT, question()), 2, id="a whole command")


def begin(peer: Peer, steps: int) -> None:
    """Do the first steps of a connection: the upgrade, and the hello."""
    if steps:
        peer.upgrade()
    if steps > 1:
        peer.hello()


@pytest.mark.parametrize(("data", "steps"), list(parts()))
def test_end_without_a_close(data: bytes, steps: int, target: Target) -> None:
    """If a client ends its side of the TCP connection at any byte, the server ends the other side.

    It sends nothing, or the reply to a command that was complete.
    """
    with target.connect() as peer:
        begin(peer, steps)
        peer.send(data)
        peer.end_sending()
        if steps:
            assert peer.hear_all() in ([], [("reply", "q")])
        else:
            assert peer.answer()[0] == 0
        target.check_no_connection_is_left()
    target.check_neighbour()


@pytest.mark.parametrize(("data", "steps"), list(parts()))
def test_reset(data: bytes, steps: int, target: Target) -> None:
    """If a client resets the TCP connection at any byte, nothing of it stays."""
    with target.connect() as peer:
        begin(peer, steps)
        peer.send(data)
        peer.reset()
        target.check_no_connection_is_left()
    target.check_neighbour()


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_client_that_goes_on_sending(data: bytes, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a client's frames are refused, it sees the end of the stream behind the close frame, without a wait.

    It may have sent more, and may still send: its connection is not reset, so that it can read why it was refused.
    """
    monkeypatch.setattr(_trio_wire, "LINGER_SECONDS", 3 * PATIENCE)
    with target.connect() as peer:
        begin(peer, 2)
        peer.socket.sendall(data + MORE)
        assert [peer.hear()[0] for _ in range(2)] == ["goodbye", "close"]
        assert peer.socket.recv(1) == b""
        peer.socket.sendall(MORE)
        peer.end_sending()
        target.check_no_connection_is_left()
    target.check_neighbour()


@pytest.mark.parametrize("seconds", [UPGRADE_SECONDS * 0.9, UPGRADE_SECONDS * 1.1], ids=["in time", "too late"])
async def test_slow_request(seconds: float, autojump_clock: MockClock) -> None:
    """A request whose last byte comes within ``UPGRADE_SECONDS`` is answered, however slowly it comes.

    A slower one gets no answer: its connection is closed when the time is over.
    """
    async with make_app().running(port=0) as server, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(server.endpoint.serve, theirs)
        answer = b""
        try:
            for byte in UPGRADE:
                await trio.sleep(seconds / len(UPGRADE))
                await ours.send_all(bytes([byte]))
            answer = bytes(await ours.receive_some())
        except trio.BrokenResourceError:
            assert trio.current_time() < UPGRADE_SECONDS + 0.1
        assert answer.startswith(b"HTTP/1.1 101") == (seconds < UPGRADE_SECONDS)
        await ours.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.endpoint.statistics().connections == 0
