"""The Python client sends a fresh token before its token expires, so that its connection goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing
from _both_loops import on_both_loops
from _scripted_server import Peer, scripted
from client.scripts import stay_connected, until_back
from protocol.agents import make_app
from protocol.grants import grant, granted

from transport.client import connect
from transport.errors import ConnectionClosedForGood, TokenUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio.testing import MockClock

    from transport import Client, Server


class Tokens:
    """A token callable that returns ``token 0``, ``token 1`` and so on, or does what the test wants."""

    def __init__(self, odd: dict[int, Callable[[], Any]] | None = None) -> None:
        self.times: list[float] = []
        """Times of the calls."""
        self._odd = odd or {}

    def __call__(self) -> Any:
        self.times.append(anyio.current_time())
        number = len(self.times) - 1
        return self._odd.get(number, lambda: f"token {number}")()


async def fail() -> str:
    raise ValueError("the login page is away")


async def hang() -> str:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(
    ("expires_ms", "after"), [(3_600_000, 3510), (180_000, 90), (100_000, 50), (2_000, 1), (10, 1), (0, 1)]
)
@on_both_loops
async def test_fresh_token_is_sent_in_time(expires_ms: int, after: float) -> None:
    """A client with a token callable sends a fresh token 90 s before the expiry, or after half of the time to it.

    It does so again for each fresh token. A reconnect uses the newest token.
    """
    tokens, back = Tokens(), anyio.Event()

    async def first(peer: Peer) -> None:
        hello = await peer.welcome(expires_ms=expires_ms, ping_ms=10**9)
        assert hello["token"] == "token 0"
        assert await peer.receive() == {"type": "token", "token": "token 1"}
        assert anyio.current_time() == pytest.approx(after)
        await peer.send("token", expires_ms=50_000)
        assert await peer.receive() == {"type": "token", "token": "token 2"}
        assert anyio.current_time() == pytest.approx(after + 25)
        await peer.abort()

    async def second(peer: Peer) -> None:
        assert (await peer.expect("hello"))["token"] == "token 2"
        back.set()
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(token=tokens):
        await back.wait()
    assert tokens.times == pytest.approx([0, after, after + 25])


@on_both_loops
async def test_token_without_an_end() -> None:
    """If the server does not say when the token expires, the client sends no fresh token.

    The same holds after a fresh token without an end.
    """
    tokens = Tokens()

    async def script(peer: Peer) -> None:
        await peer.welcome(expires_ms=100_000, ping_ms=10**9)
        assert await peer.receive() == {"type": "token", "token": "token 1"}
        await peer.send("token")
        await peer.closed_by_client()

    async with scripted(stay_connected, script) as server:
        async with server.connect(token=tokens):
            await anyio.sleep(30)
            assert len(tokens.times) == 1
        async with server.connect(token=Tokens()):
            await anyio.sleep(10**6)


@on_both_loops
async def test_fixed_token_is_not_renewed() -> None:
    """A client with one fixed token sends no fresh token. It ends when the token has expired."""

    async def script(peer: Peer) -> None:
        await peer.welcome(expires_ms=100_000, ping_ms=10**9)
        with anyio.move_on_after(100):
            pytest.fail(f"got {await peer.receive()}")
        await peer.close(4004, "the token has expired")

    async with scripted(script) as server, server.connect(token="fixed") as client:
        with pytest.raises(ConnectionClosedForGood, match="one fixed token"):
            await anext(client.events())


@pytest.mark.parametrize("odd", [fail, hang, lambda: 7])
@on_both_loops
async def test_failed_renewal_keeps_the_connection(odd: Callable[[], Any]) -> None:
    """If the token callable fails or hangs before the expiry, the connection goes on until the token expires.

    Then the callable is called again, and the client reconnects.
    """
    tokens = Tokens({1: odd})

    async def first(peer: Peer) -> None:
        await peer.welcome(expires_ms=100_000, ping_ms=10**9)
        with anyio.move_on_after(100):
            pytest.fail(f"got {await peer.receive()}")
        await peer.close(4004, "the token has expired")

    async def second(peer: Peer) -> None:
        assert (await peer.welcome())["token"] == "token 2"
        await peer.send("signal", name="here", data={})
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(token=tokens) as client:
        await until_back(client)
    assert tokens.times[:2] == pytest.approx([0, 50])


@on_both_loops
async def test_failed_first_token_still_ends_the_client() -> None:
    """If the token callable fails when there is no token, the client ends with TokenUnavailable."""
    async with scripted() as server, server.connect(token=Tokens({0: fail})) as client:
        with pytest.raises(TokenUnavailable):
            await anext(client.events())


@asynccontextmanager
async def connected_in_memory(server: Server, **options: Any) -> AsyncIterator[Client]:
    """Connect the client under test to a server, without sockets."""
    async with trio.open_nursery() as nursery:

        async def open_stream(*_: object) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.endpoint.serve, theirs)
            return ours

        async with connect("ws://memory", "s1", open_stream=open_stream, **options) as client:
            yield client
        nursery.cancel_scope.cancel()


async def test_one_connection_over_many_tokens(autojump_clock: MockClock) -> None:
    """With a callable that returns fresh tokens, one connection lives longer than any of its tokens."""
    async with make_app(auth=granted).running(port=0) as server:
        async with connected_in_memory(server, token=lambda: grant("ann", seconds=60)) as client:
            await client.send("early")
            await trio.sleep(600)
            await client.send("late")
            assert client.statistics().connections == 1
