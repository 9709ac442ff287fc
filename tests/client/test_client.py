"""The Python client connects, reconnects and ends: against a scripted server in memory, in virtual time."""

from __future__ import annotations

from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing
import wsproto
import wsproto.events
from _both_loops import client_of_this_loop, jump, on_both_loops, settle
from _raw_peers import RawStream, raw_peers
from _scripted_server import Peer, scripted
from client.scripts import stay_connected, take_items, until_back

from actors import Position
from transport.client import connect
from transport.errors import ConnectionClosedForGood, HandshakeRejected, PositionLost

if TYPE_CHECKING:
    from trio.testing import MockClock


@on_both_loops
async def test_hello_has_the_arguments_of_connect() -> None:
    """The client's hello contains the session, token, position and options that were given to ``connect``."""
    hellos: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        hellos.append(await peer.welcome())
        await peer.closed_by_client()

    async with scripted(script, script) as server:
        async with server.connect(session="a:b", token="t", from_="latest", client="me") as client:
            await settle()
            assert client.state == "live"
        async with server.connect(resume=Position("e1", 7), strict=True):
            await settle()
    first = {"type": "hello", "session": "a:b", "token": "t", "from": "latest", "strict": False, "client": "me"}
    assert hellos[0] == first
    assert hellos[1]["resume"] == {"epoch": "e1", "seq": 7}
    assert hellos[1]["strict"] is True
    assert "token" not in hellos[1]


@pytest.mark.parametrize(
    ("session", "options"),
    [
        ("", {}),
        ("a b", {}),
        ("x" * 129, {}),
        ("s1\n", {}),
        ("s1", {"resume": Position("e", -1)}),
        ("s1", {"resume": Position("e", 2**53)}),
        ("s1", {"from_": "newest"}),
    ],
)
@on_both_loops
async def test_bad_arguments_raise(session: str, options: dict[str, Any]) -> None:
    """``connect`` raises ValueError for a session, position or starting point that no server accepts."""
    with pytest.raises(ValueError, match=r"session|resume|from_"):
        async with connect("ws://127.0.0.1:9", session, **options):
            pytest.fail("it was accepted")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ws://", "127.0.0.1:9"])
@on_both_loops
async def test_bad_url_raises(url: str) -> None:
    """``connect`` raises ValueError for a URL that does not begin with ws: or wss:, or that has no host."""
    with pytest.raises(ValueError, match="URL"):
        async with connect(url, "s1"):
            pytest.fail("it was accepted")


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4001, 4002, 4003, 4005, 4006, 4499])
@on_both_loops
async def test_client_resumes_after_a_temporary_code(code: int) -> None:
    """After a close code of a temporary failure, the client reconnects, sends its position and misses no event."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=2)
        await peer.events(1, 2)
        await peer.close(code, "for now")

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(latest=3)
        assert hello["resume"] == {"epoch": "e1", "seq": 2}
        await peer.events(3)
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect() as client:
        assert await take_items(client.events(), 3) == [1, 2, 3]
        assert client.position == Position("e1", 3)
        assert client.statistics().last_failure == f"{code}: for now"


@on_both_loops
async def test_client_resumes_after_network_failures() -> None:
    """After a cut connection, a refused connection or HTTP 503, the client reconnects and misses no event."""

    async def cut(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await peer.events(1)
        await peer.abort()

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(latest=2))["resume"]["seq"] == 1
        await peer.events(2)
        await peer.closed_by_client()

    refused = ConnectionRefusedError("nobody there")
    scripts = (refused, cut, refused, HTTPStatus.SERVICE_UNAVAILABLE, second)
    async with scripted(*scripts) as server, server.connect() as client:
        assert await take_items(client.events(), 2) == [1, 2]
        assert client.statistics().failures == 4


@pytest.mark.parametrize("code", [1000, 1003, 1008, 1009, 4500, 4501, 4502, 4503, 4504, 4505, 4506, 4999])
@on_both_loops
async def test_client_ends_after_a_final_code(code: int) -> None:
    """After a final close code, the iterator first returns the events that had arrived, and then raises.

    A command that waits for its reply, and every later command, raises the same exception.
    """

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=2)
        await peer.events(1, 2)
        await peer.send("goodbye", code=code, reason="never again")
        await peer.close(code, "never again")

    async with scripted(script) as server, server.connect() as client:
        with pytest.raises(ConnectionClosedForGood) as refused:
            await client.send("a command that waits for its reply hears of it")
        assert refused.value.code == code
        events = client.events()
        assert await take_items(events, 2) == [1, 2]
        for _ in range(2):
            with pytest.raises(ConnectionClosedForGood, match="never again") as ended:
                await anext(events)
            assert (ended.value.code, ended.value.reason) == (code, "never again")
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.signals())
        with pytest.raises(ConnectionClosedForGood):
            await client.start("a", None)
        assert client.state == "closed"


@on_both_loops
async def test_goodbye_replaces_a_lost_close_frame() -> None:
    """If the connection ends after a goodbye but without a close frame, the goodbye decides whether to reconnect."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("goodbye", code=4506, reason="closed")
        await peer.abort()

    async with scripted(script) as server, server.connect() as client:
        with pytest.raises(ConnectionClosedForGood) as ended:
            await anext(client.events())
        assert ended.value.code == 4506


@pytest.mark.parametrize("status", [HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND])
@on_both_loops
async def test_rejected_upgrade_ends_the_client(status: HTTPStatus) -> None:
    """If the server refuses the upgrade with HTTP 400, 403 or 404, the client ends with HandshakeRejected."""
    async with scripted(status) as server, server.connect() as client:
        with pytest.raises(HandshakeRejected, match="the script says") as ended:
            await anext(client.events())
        assert ended.value.code == status


@on_both_loops
async def test_reconnect_delays() -> None:
    """The delays between attempts are random between zero and a bound. The bound doubles up to 20 s."""
    attempts = 14
    refused = [ConnectionRefusedError("nobody there") for _ in range(attempts)]
    async with scripted(*refused, stay_connected) as server, server.connect(rng=Random(3)) as client:
        await until_back(client)
        waits = [after - before for before, after in zip(server.connections, server.connections[1:], strict=False)]
    expected = Random(3)
    drawn = [expected.uniform(0, min(20.0, 0.2 * 2**attempt)) for attempt in range(attempts)]
    assert waits == pytest.approx(drawn)


@on_both_loops
async def test_reconnect_ends_the_delay() -> None:
    """``reconnect`` ends the delay before the next attempt, even a delay that the server has set, and returns True.

    If the client is not in such a delay, ``reconnect`` does nothing and returns False.
    """

    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("goodbye", code=1001, reason="drain", retry_ms=45_000)
        await peer.close(1001, "drain")

    async with scripted(first, stay_connected) as server, server.connect() as client:
        await settle()
        assert client.reconnect()
        await until_back(client)
        assert server.connections[1] - server.connections[0] < 1.0
        assert not client.reconnect()


@on_both_loops
async def test_retry_ms_replaces_the_delay() -> None:
    """After a goodbye with ``retry_ms``, the client waits exactly that time before it reconnects."""

    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("goodbye", code=1001, reason="drain", retry_ms=45_000)
        await peer.close(1001, "drain")

    async with scripted(first, stay_connected) as server, server.connect() as client:
        await settle()
        assert client.state == "waiting"
        await until_back(client)
        assert server.connections[1] - server.connections[0] == pytest.approx(45.0)


@on_both_loops
async def test_strict_client_ends_with_position_lost() -> None:
    """After close code 4410 (position lost), a strict client ends with PositionLost, and keeps its position."""

    async def script(peer: Peer) -> None:
        await peer.expect("hello")
        await peer.close(4410, "trimmed")

    async with scripted(script) as server, server.connect(strict=True, resume=Position("e1", 3)) as client:
        with pytest.raises(PositionLost, match="trimmed"):
            await anext(client.events())
        assert client.position == Position("e1", 3)


@on_both_loops
async def test_silent_server_is_dropped() -> None:
    """The client reconnects if the server sends nothing for ``ping_ms`` plus 10 s."""

    async def silent(peer: Peer) -> None:
        await peer.welcome(ping_ms=5_000)
        await peer.closed_by_client()

    async with scripted(silent, stay_connected) as server, server.connect() as client:
        await anyio.sleep(14.9)
        assert client.statistics().failures == 0
        await anyio.sleep(1)
        assert client.state == "live"
        assert client.statistics().connections == 2


@pytest.mark.parametrize(("late", "connections"), [(0.5, 2), (1.5, 1)])
@on_both_loops
async def test_stalled_loop_does_not_drop_the_server(late: float, connections: int) -> None:
    """If the event loop was blocked, the client first reads waiting messages before it gives up a silent server."""

    async def silent(peer: Peer) -> None:
        await peer.welcome(ping_ms=5_000)
        await peer.closed_by_client()

    async with scripted(silent, stay_connected) as server, server.connect() as client:
        await settle()
        jump(15 + late)
        await settle()
        jump(10)
        await settle()
        assert client.statistics().connections == connections
        await anyio.sleep(60)
        assert client.statistics().connections == 2


@on_both_loops
async def test_connect_seconds() -> None:
    """The client ends an attempt to connect if the server does not answer within ``connect_seconds``."""

    async def silent(_: RawStream) -> None:
        await anyio.sleep_forever()

    async with raw_peers(silent) as options:
        async with client_of_this_loop("ws://memory", "s1", connect_seconds=3, rng=Random(1), **options) as client:
            await anyio.sleep(2.9)
            assert client.statistics().failures == 0
            await anyio.sleep(0.11)
            assert client.state == "waiting"
            assert client.statistics().last_failure == "1006: no answer to the upgrade"


@pytest.mark.parametrize("send_too", [True, False])
async def test_hang_up_during_the_upgrade(
    autojump_clock: MockClock,
    *,
    send_too: bool,
) -> None:
    """If the server closes the stream during the upgrade, the client notices it at once and tries again."""
    ends: list[Any] = []

    async def open_stream(*_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        if not send_too:
            await theirs.send_stream.aclose()
            ends.append(theirs)
        else:
            await theirs.aclose()
        return ours

    async with connect("ws://memory", "s1", open_stream=open_stream) as client:
        await trio.sleep(1)
        assert client.statistics().failures >= 2


async def upgrade(stream: RawStream) -> None:
    """Accept the client's upgrade, and do nothing else."""
    protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    protocol.receive_data(await stream.receive_some())
    await stream.send_all(protocol.send(wsproto.events.AcceptConnection()))
    await anyio.sleep_forever()


@on_both_loops
async def test_unanswered_close() -> None:
    """If the server does not answer the client's close frame, the client's block ends after 2 s."""
    async with raw_peers(upgrade) as options:
        async with client_of_this_loop("ws://memory", "s1", **options):
            await settle()
            start = anyio.current_time()
        assert anyio.current_time() == start + 2


@on_both_loops
async def test_close_without_hanging_up() -> None:
    """The code of a close frame counts, even if the server keeps the network connection open."""

    async def close(stream: RawStream) -> None:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        protocol.receive_data(await stream.receive_some())
        await stream.send_all(protocol.send(wsproto.events.AcceptConnection()))
        assert await stream.receive_some()  # the hello
        await stream.send_all(protocol.send(wsproto.events.CloseConnection(4501, "a token is required")))
        await anyio.sleep_forever()

    async with raw_peers(close) as options, client_of_this_loop("ws://memory", "s1", **options) as client:
        with anyio.fail_after(60), pytest.raises(ConnectionClosedForGood) as ended:
            await anext(client.events())
        assert (ended.value.code, ended.value.reason) == (4501, "a token is required")
