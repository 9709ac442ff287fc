"""A peer that is no server of this protocol, or that breaks it: the client tries again, or ends with one error."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from _both_loops import IN_VIRTUAL_TIME, client_of_this_loop, on_both_loops
from _raw_peers import RawStream, raw_peers
from _scale import scaled
from _scripted_server import Peer, scripted
from hypothesis import given, settings

from transport.client import Client, connect
from transport.errors import ConnectionClosedForGood, HandshakeRejected, ServerBrokeProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio.testing import MockClock

Answer: TypeAlias = "Callable[[bytes], Iterable[bytes]]"
"""A function that takes the client's upgrade request and returns the peer's answer, in parts."""


def upgrade_answer(request: bytes, *, subprotocol: bytes = b"greenroom.v1", extra: bytes = b"") -> bytes:
    """Return the answer that accepts an upgrade request."""
    key = request.lower().split(b"sec-websocket-key:")[0]
    value = request[len(key) :].split(b":", 1)[1].split(b"\r\n")[0].strip()
    accept = base64.b64encode(hashlib.sha1(value + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324  RFC 6455
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n%b\r\n" % (accept, subprotocol, extra)


def fixed_answer(data: bytes) -> Answer:
    """Return an answer that is always the same bytes, for any request."""
    return lambda _request: [data]


async def connect_to_peer(answer: Answer, *, stays: bool = False, seconds: float = 120.0, drip: float = 0.0) -> Client:
    """Run a client for ``seconds`` against a peer that always gives this answer, and return the client.

    Raises the exception that the client's block raises. With ``stays``, the peer keeps the connection open after its
    answer. With ``drip``, it waits so many seconds after each part.
    """

    async def peer(stream: RawStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        for part in answer(request):
            await stream.send_all(part)
            await anyio.sleep(drip)
        while stays and await stream.receive_some():
            pass

    failure: ConnectionClosedForGood | None = None
    async with raw_peers(peer) as options:
        with anyio.move_on_after(seconds):
            try:
                async with client_of_this_loop("ws://memory", "s1", **options) as client:
                    async for _ in client.events():
                        pass
            except ConnectionClosedForGood as error:
                failure = error
    if failure is not None:
        raise failure
    return client


WELCOME = (
    b'{"type":"welcome","session":"s","connection":"c","epoch":"e","oldest":1,"latest":0,"recovered":false,'
    b'"ping_ms":25000,"max_frame_bytes":65536,"runs":[],"typing":[]}'
)


def frame(payload: bytes, opcode: int = 0x81) -> bytes:
    """Return a WebSocket frame with this payload."""
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([opcode]) + size + payload


COMES_BACK: dict[str, Answer] = {
    "nothing": fixed_answer(b""),
    "another protocol": fixed_answer(b"SSH-2.0-OpenSSH_9.0\r\n"),
    "no HTTP": fixed_answer(b"\x00\x01\x02\xff" * 100),
    "a TLS alert": fixed_answer(b"\x15\x03\x01\x00\x02\x02\x46"),
    "a header of 200 KB": fixed_answer(b"HTTP/1.1 502 Bad\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"),
    "half an answer": fixed_answer(b"HTTP/1.1 101 Switching Pro"),
    "a body that was cut": fixed_answer(b"HTTP/1.1 404 Gone\r\nContent-Length: 500\r\n\r\nhel"),
    "a busy server": fixed_answer(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "a wrong accept": lambda request: [upgrade_answer(request).replace(b"Accept: ", b"Accept: x")],
    "a subprotocol not offered": lambda request: [upgrade_answer(request, subprotocol=b"other.v1")],
    "an extension": lambda request: [
        upgrade_answer(request, extra=b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    ],
    "a close at once": lambda request: [upgrade_answer(request)],
    "half a message": lambda request: [upgrade_answer(request), frame(WELCOME), b"\x81\x7e\x10\x00half"],
    "a goodbye of another server": lambda request: [
        upgrade_answer(request) + frame(WELCOME),
        frame(b'{"type":"goodbye","code":4005,"reason":"x","retry_ms":"soon"}') + b"\x88\x02\x0f\xa5",
    ],
}
ENDS: dict[str, Answer] = {
    "a page": fixed_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "a redirect": fixed_answer(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
    "a masked frame": lambda request: [upgrade_answer(request) + b"\x81\x82\x00\x00\x00\x00{}"],
    "reserved bits": lambda request: [upgrade_answer(request) + b"\xf1\x02{}"],
    "no UTF-8": lambda request: [upgrade_answer(request) + b"\x81\x02\xff\xff"],
    "a close code that is none": lambda request: [upgrade_answer(request) + frame(WELCOME) + b"\x88\x02\x03\xe7"],
    "no JSON": lambda request: [upgrade_answer(request) + frame(b"hello")],
    "a binary message": lambda request: [upgrade_answer(request) + frame(WELCOME) + frame(b"x", 0x82)],
}


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("name", COMES_BACK)
@on_both_loops
async def test_client_retries_after_a_temporary_answer(name: str, stays: bool) -> None:
    """After an answer that may be temporary, the client tries again, whether the peer then hangs up or stays silent."""
    client = await connect_to_peer(COMES_BACK[name], stays=stays)
    assert client.statistics().failures >= 2
    assert client.statistics().last_failure
    # The library answers some faults, which is another error: "can't handle event type Response when role=CLIENT".
    assert "LocalProtocolError" not in str(client.statistics().last_failure)


@pytest.mark.parametrize("name", ENDS)
@on_both_loops
async def test_client_ends_after_a_final_answer(name: str) -> None:
    """After an HTTP refusal or an invalid frame, the client ends with one ConnectionClosedForGood, not with a group."""
    with pytest.raises(ConnectionClosedForGood):
        await connect_to_peer(ENDS[name])


@on_both_loops
async def test_slow_answer_has_connect_seconds() -> None:
    """If a peer sends one byte a second, the client gives up the attempt after ``connect_seconds`` and tries again."""
    client = await connect_to_peer(lambda _: [b"H"] * 100, drip=1.0, seconds=100.0)
    assert 4 <= client.statistics().failures <= 12


@on_both_loops
async def test_endless_refusal_is_cut() -> None:
    """If the answer to an upgrade is larger than a mebibyte, the client closes the connection and reads no more."""
    taken = parts = 0

    def endless(_: bytes) -> Iterator[bytes]:
        nonlocal taken, parts
        taken += 1
        yield b"HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n"
        for _part in range(100):
            parts += 1
            yield b"x" * 65_536

    client = await connect_to_peer(endless, seconds=5.0, drip=0.001)
    # The test's time can end in the middle of the last attempt, which is then no failure yet.
    assert taken > 3
    assert client.statistics().failures in {taken - 1, taken}
    assert parts <= 20 * taken


ANSWERS = st.one_of(
    st.binary(max_size=300).map(lambda data: (b"", data)),
    st.tuples(st.just(b"accept"), st.binary(max_size=100)),
    st.tuples(st.just(b"welcome"), st.binary(max_size=100)),
    st.tuples(
        st.sampled_from(
            [b"HTTP/1.1 101 X\r\n", b"HTTP/1.1 200 X\r\n", b"HTTP/1.0 503 X\r\n", b"HTTP/1.1 100 X\r\n\r\n"]
        ),
        st.binary(max_size=100),
    ),
)


@pytest.mark.parametrize("loop", IN_VIRTUAL_TIME)
@given(answer=ANSWERS, cut=st.integers(0, 400), stays=st.booleans())
@settings(max_examples=scaled(80, 1_500), deadline=None)
def test_any_answer_is_a_retry_or_one_error(answer: tuple[bytes, bytes], cut: int, *, stays: bool, loop: str) -> None:
    """After any bytes from a peer, the client either tries again or ends with one ConnectionClosedForGood."""
    begin, rest = answer

    def made(request: bytes) -> list[bytes]:
        heads = {b"accept": upgrade_answer(request), b"welcome": upgrade_answer(request) + frame(WELCOME)}
        whole = heads.get(begin, begin) + rest
        return [part for part in (whole[:cut], whole[cut:]) if part]

    async def main() -> None:
        try:
            client = await connect_to_peer(made, stays=stays, seconds=50.0)
        except (HandshakeRejected, ServerBrokeProtocol, ConnectionClosedForGood):
            return
        assert client.statistics().failures >= 1

    IN_VIRTUAL_TIME[loop](main)


# --- what opens the stream --------------------------------------------------------------------------------------------


class Unshowable(Exception):
    """An exception that cannot be shown: ``str`` and ``repr`` raise."""

    def __str__(self) -> str:
        raise RuntimeError("not even that")


class IndivisibleGroup(ExceptionGroup[Exception]):
    """An exception group that cannot be split, since its method ``derive`` raises."""

    def derive(self, excs: object, /) -> Any:
        raise SystemExit(f"cannot be divided into {excs}")


def deep_group() -> Exception:
    """Return an exception in 2,000 nested groups."""
    error: Exception = ValueError("mine")
    for _ in range(2_000):
        error = ExceptionGroup("group", [error])
    return error


ERRORS = [
    OSError("no route"),
    ssl.SSLError("no TLS"),
    trio.BrokenResourceError(),
    ValueError("mine"),
    Unshowable(),
    ExceptionGroup("group", [OSError("no route"), ValueError("mine")]),
    IndivisibleGroup("whole", [OSError("no route"), ValueError("mine")]),
    deep_group(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_exception_of_open_stream(
    error: Exception, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """If ``open_stream`` raises, the client tries again. The exception is logged, unless it is a network error."""
    attempts = 0

    async def fails(*_: object) -> trio.abc.Stream:
        nonlocal attempts
        attempts += 1
        await trio.lowlevel.checkpoint()
        raise error

    raised = ""
    try:
        with trio.move_on_after(30):
            async with connect("ws://memory", "s1", open_stream=fails) as client:
                await anext(client.events())
    except BaseException as unexpected:  # noqa: BLE001  -- only its name is kept: pytest cannot show some of them
        raised = type(unexpected).__name__
    assert not raised
    assert attempts > 2
    assert client.statistics().failures == attempts
    assert bool(caplog.records) is not isinstance(error, (OSError, trio.BrokenResourceError))


async def test_open_stream_without_a_stream(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """If ``open_stream`` returns an object that is not a stream, the attempt fails, but the client continues."""

    async def nothing(*_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return object()

    with trio.move_on_after(5):
        async with connect("ws://memory", "s1", open_stream=nothing) as client:
            await anext(client.events())
    assert client.statistics().failures > 1
    assert "failed in code" in caplog.text


@pytest.mark.parametrize(
    "url",
    ["ws://a..b:1/", "ws://.a/", f"ws://{'a' * 70}.com/", "ws://[::1/", "ws://a:99999/", "ws://a:0/", "ws://ho st/",
     "ws:///x", "ws://a/b c", "ws://a/ü"],
)  # fmt: skip
async def test_unusable_url_raises(url: str) -> None:
    """``connect`` raises ValueError for a URL with a host that cannot exist, or with a path that HTTP forbids."""
    with pytest.raises(ValueError, match=r"URL|path"):
        async with connect(url, "s1"):
            pytest.fail("it was accepted")


async def test_server_without_tls() -> None:
    """If the TLS handshake fails, the attempt fails, and the client tries again."""

    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, listeners)
        async with connect(f"wss://127.0.0.1:{listeners[0].socket.getsockname()[1]}", "s1") as client:
            while client.statistics().failures < 2:
                await trio.lowlevel.checkpoint()
            assert "cannot connect" in client.statistics().last_failure
        nursery.cancel_scope.cancel()


# --- nothing of an old attempt ----------------------------------------------------------------------------------------


@on_both_loops
async def test_goodbye_counts_for_one_connection() -> None:
    """The ``retry_ms`` of a goodbye decides only the next delay. After that the client uses its own delays again."""

    async def parting(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("goodbye", code=1001, reason="drain", retry_ms=0)
        await peer.close(1001)

    async def back(peer: Peer) -> None:
        await peer.welcome(recovered=True)
        await peer.close(4506)

    refused = [ConnectionRefusedError("nobody there") for _ in range(8)]
    async with scripted(parting, *refused, back) as server, server.connect() as client:
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())
    assert server.connections[-1] - server.connections[1] > 1


@on_both_loops
async def test_goodbye_renews_the_token_once() -> None:
    """After a goodbye with "token expired", the client gets one new token.

    Later failures do not make it get another.
    """
    fetched = 0

    def fresh() -> str:
        nonlocal fetched
        fetched += 1
        return "t"

    async def expired(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("goodbye", code=4004, reason="token expired")
        await peer.abort()

    async def back(peer: Peer) -> None:
        await peer.welcome(recovered=True)
        await peer.close(4506)

    refused = [ConnectionRefusedError("nobody there") for _ in range(3)]
    async with scripted(expired, *refused, back) as server, server.connect(token=fresh) as client:
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())
    assert fetched == 2
