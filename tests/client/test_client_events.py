"""The events and signals that the Python client reads, from a scripted server in memory, in virtual time."""

from __future__ import annotations

import anyio
import pytest
from _both_loops import on_both_loops, settle
from _scripted_server import Peer, scripted
from client.scripts import take_items, until_back

from actors import Position
from transport.client import Reset
from transport.errors import ServerBrokeProtocol


@on_both_loops
async def test_duplicates_and_gaps() -> None:
    """The client drops a duplicate event. After a gap it reconnects and resumes, and so gets the missing events."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=6)
        await peer.events(1, 2)
        await peer.events(2, 3)
        await peer.events(4, 6)
        assert (await peer.closed_by_client())[0] == 1000

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(latest=6))["resume"] == {"epoch": "e1", "seq": 4}
        await peer.events(5, 6)
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect() as client:
        assert await take_items(client.events(), 6) == [1, 2, 3, 4, 5, 6]
        assert client.statistics().duplicates == 1
        assert client.statistics().last_failure == "1006: gap: 6 came after 4"


@pytest.mark.parametrize("reason", ["epoch_changed", "trimmed", "ahead"])
@on_both_loops
async def test_reset_is_between_old_and_new_events(reason: str) -> None:
    """If the position is lost, the iterator returns the old events, then a Reset, and then the new events."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=2)
        await peer.events(1, 2)
        await peer.close(4003)

    async def second(peer: Peer) -> None:
        await peer.welcome(epoch="e2", oldest=5, latest=6, recovered=False, reset=reason)
        await peer.events(5, 6)
        await peer.send("signal", name="here", data={})
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(from_="latest", resume=Position("e1", 0)) as client:
        events = client.events()
        await until_back(client)
        assert await take_items(events, 2) == [1, 2]
        assert client.position == Position("e1", 2)
        assert await take_items(events, 1) == [Reset(reason)]
        assert client.position == Position("e2", 4)
        assert await take_items(events, 2) == [5, 6]


@on_both_loops
async def test_from_latest_has_a_position_at_once() -> None:
    """A client that begins at the latest event has a position from its welcome on, and can resume from there."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=9)
        await peer.abort()

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(latest=10))["resume"] == {"epoch": "e1", "seq": 9}
        await peer.events(10)
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(from_="latest") as client:
        assert await take_items(client.events(), 1) == [10]


@on_both_loops
async def test_pings_are_answered_with_a_full_buffer() -> None:
    """The client answers pings even while its buffer is full because the application takes no events."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=100)
        await peer.events(*range(1, 51))
        for _ in range(5):
            await peer.events(*range(51, 101))
            await peer.send("ping")
            await peer.expect("pong")
            await anyio.sleep(25)
        await peer.close(4506)

    async with scripted(script) as server, server.connect(buffer_events=10) as client:
        await anyio.sleep(200)
        assert client.state == "closed"
        assert client.statistics().pings == 5


@on_both_loops
async def test_slow_application_stops_the_reader() -> None:
    """While the application is slow and the buffer is full, the client stops reading, and no event is lost."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=40)
        for first in range(1, 41, 5):
            await peer.events(*range(first, first + 5))
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect(buffer_events=10) as client:
        await anyio.sleep(4)  # less than its patience
        assert client.statistics().waiting == 10
        assert await take_items(client.events(), 40) == list(range(1, 41))
        assert client.statistics().skipped == 0
        assert client.statistics().connections == 1


@on_both_loops
async def test_skipped_events_are_resumed() -> None:
    """If the application is very slow, the client skips events, and later gets them by a reconnect and resume."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=20)
        for seq in range(1, 21):
            await peer.events(seq)
        assert (await peer.closed_by_client())[0] == 1000

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(latest=20))["resume"] == {"epoch": "e1", "seq": 10}
        await peer.events(*range(11, 21))
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(buffer_events=10) as client:
        events = client.events()
        await anyio.sleep(30)
        assert client.statistics().skipped == 10
        assert await take_items(events, 4) == [1, 2, 3, 4]
        await settle()
        assert client.statistics().catch_ups == 0
        assert await take_items(events, 16) == list(range(5, 21))
        assert client.statistics().catch_ups == 1
        assert server.connections[1] == server.connections[0] + 30  # at once, without a delay


@pytest.mark.parametrize("before", [0, 1])
@on_both_loops
async def test_reply_arrives_with_a_full_buffer(before: int) -> None:
    """A command gets its reply at once even while the buffer of events is full."""

    async def first(peer: Peer) -> None:
        await peer.welcome(latest=20)
        for seq in range(1, 21):
            await peer.events(seq)
        command = await peer.expect("command")
        await peer.send("reply", id=command["id"], ok=True, result={"run_id": "r1"})
        await peer.closed_by_client()

    async def second(peer: Peer) -> None:
        await peer.welcome(latest=20)
        await peer.events(*range(11, 21))
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect(buffer_events=10) as client:
        start = anyio.current_time()
        await anyio.sleep(before)  # within the reader's patience
        assert await client.start("a") == "r1"
        assert anyio.current_time() == start + before
        assert await take_items(client.events(), 20) == list(range(1, 21))


@on_both_loops
async def test_oldest_signals_are_dropped() -> None:
    """If the application takes no signals, the client drops the oldest signals and counts them."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for n in range(5):
            await peer.send("signal", name="typing", data={"n": n})
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect(signals=2) as client:
        await settle()
        signals = client.signals()
        assert [(await anext(signals)).data["n"] for _ in range(2)] == [3, 4]
        assert client.statistics().signals_dropped == 3


@on_both_loops
async def test_typing_is_newest_and_not_queued() -> None:
    """The client sends only the newest state of typing, and no typing that was set while it was offline."""
    said: list[bool] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send("signal", name="here", data={})
        said.append((await peer.expect("typing"))["active"])
        await peer.closed_by_client()

    async with scripted(ConnectionRefusedError("nobody there"), script) as server, server.connect() as client:
        await client.typing(active=True)
        await until_back(client)
        await client.typing(False)  # noqa: FBT003 - as in a page
        await settle()
    assert said == [False]


@on_both_loops
async def test_unknown_fields_and_frames_are_ignored() -> None:
    """The client ignores unknown fields and frame types, which a newer server may send."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1, colour="red")
        await peer.send("weather", outlook="fine")
        await peer.events(1)
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        assert await take_items(client.events(), 1) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"no": "type"}',
        '{"type": "events", "events": {}}',
        '{"type": "events", "events": [7]}',
        '{"type": "events", "events": [{"seq": "1", "ts": 1, "type": "user_message", "data": {"text": "x"}}]}',
        '{"type": "signal", "name": 5}',
        '{"type": "welcome"}',
        '{"type": "goodbye"}',
    ],
)
@on_both_loops
async def test_broken_protocol_ends_the_client(text: str) -> None:
    """If the server sends a message that is not allowed, the client ends with an error that names the fault."""
    closed: list[tuple[int | None, str | None]] = []

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await peer.send_text(text)
        closed.append(await peer.closed_by_client())

    async with scripted(script) as server, server.connect() as client:
        with pytest.raises(ServerBrokeProtocol) as ended:
            await anext(client.events())
        await settle()
        ((code, reason),) = closed
        assert code == 1002
        assert reason
        assert ended.value.reason.startswith(reason.removesuffix("…"))
