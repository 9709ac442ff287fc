"""The rules of a connection on a memory wire: without a socket and without a WebSocket library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.memory_wire import serve_on_memory_wire, serve_welcomed

from actors.spi import MAX_SIGNALS
from transport.protocol.handshake import Reject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from transport import Server


async def emit(server: Server, count: int) -> None:
    """Commit ``count`` events, one by one."""
    handle = await server.sessions.get("anonymous", "s1")
    for number in range(count):
        await handle.emit("note", number)
        await trio.testing.wait_all_tasks_blocked()


async def test_blocked_wire_gets_no_events() -> None:
    """While the network of a client is blocked, its events are not written. Afterwards they are sent in one message."""
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        await emit(server, 1)
        wire.blocked = True
        await emit(server, 3)
        assert wire.seqs() == [1]
        await wire.drain()
        assert [len(frame["events"]) for frame in wire.of_type("events")] == [1, 3]
        assert wire.seqs() == [1, 2, 3, 4]


async def test_stuck_wire_ends_with_4001() -> None:
    """If a client's network is stuck, its connection is closed with 4001 (slow consumer).

    The goodbye before the close tells the client when to come back.
    """
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        wire.blocked = True
        assert wire.owner is not None
        wire.owner.on_stuck()
        await trio.testing.wait_all_tasks_blocked()
        goodbye = wire.frames[-1]
        assert (goodbye["type"], goodbye["code"], "retry_ms" in goodbye) == ("goodbye", 4001, True)
        assert (wire.closed, wire.aborted) == ((4001, goodbye["reason"]), True)


async def test_signals_of_blocked_wire_are_bounded() -> None:
    """While a client's network is blocked, at most ``MAX_SIGNALS`` signals are kept for it.

    Dropped signals are counted.
    """
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire, serve_welcomed(server) as other:
        wire.blocked = True
        for number in range(MAX_SIGNALS + 5):
            await other.say("typing", active=number % 2 == 0)
        await wire.drain()
        assert 1 <= len(wire.of_type("signal")) <= MAX_SIGNALS
        sent = len(wire.of_type("signal")) + server.endpoint.statistics().signals_dropped
        assert sent == len(other.of_type("signal"))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(b"binary", 1003, id="binary"),
        pytest.param("no JSON", 4500, id="no-json"),
        pytest.param(json.dumps({"type": "hello", "session": "s1"}), 4500, id="second-hello"),
        pytest.param(json.dumps({"type": "pong", "padding": "é" * 600}), 1009, id="too-many-bytes"),
    ],
)
async def test_wrong_message_ends_with_its_code(message: str | bytes, code: int) -> None:
    """Each kind of wrong message ends the connection with its own close code.

    The goodbye before it has the same code.
    """
    async with make_app(max_frame_bytes=1024).running(port=0) as server, serve_welcomed(server) as wire:
        await wire.message(message)
        assert wire.closed is not None
        assert (wire.frames[-1]["type"], wire.frames[-1]["code"], wire.closed[0]) == ("goodbye", code, code)


async def test_close_by_wire_has_no_second_goodbye() -> None:
    """If the wire (the WebSocket layer) closes with 1009, the connection writes no goodbye and no second close.

    The connection waits until the client has closed its side.
    """
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        assert wire.owner is not None
        assert wire.owner.on_too_big(1009, "a message may have 1024 bytes")
        wire.refused = True
        wire.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert (wire.of_type("goodbye"), wire.closed) == ([], None)
        assert (wire.lingered, wire.aborted) == (True, True)


async def test_close_by_wire_yields_to_earlier_close() -> None:
    """If a connection is already being closed and then a message is too big, the first close code stays.

    The wire (the WebSocket layer) is told not to write a goodbye for the too big message.
    """
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        owner = wire.owner
        assert owner is not None
        owner.on_stuck()
        assert not owner.on_too_big(1009, "a message may have 1024 bytes")
        await trio.testing.wait_all_tasks_blocked()
        assert wire.closed is not None
        assert wire.closed[0] == 4001


async def test_flood_ends_with_4505() -> None:
    """Commands over the rate limit are refused.

    After a hundred refusals the connection is closed with 4505 (flooding).
    """
    async with make_app(commands_burst=1, commands_per_second=0.001).running(port=0) as server:
        async with serve_welcomed(server) as wire:
            for number in range(101):
                await wire.say("command", id=str(number), name="message.send", args={"text": "x"})
            refused = [frame for frame in wire.of_type("reply") if not frame["ok"]]
            assert {frame["error"]["code"] for frame in refused} == {"rate_limited"}
            assert wire.closed is not None
            assert wire.closed[0] == 4505


async def test_drain_sends_last_events_before_goodbye() -> None:
    """When the server shuts down, a client first gets all committed events, then the goodbye, then the close 1001."""
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        handle = await server.sessions.get("anonymous", "s1")
        await handle.emit("note", "last words")
        await server.sessions.committed()
        await server.endpoint.say_goodbye()
        assert [frame["type"] for frame in wire.frames] == ["welcome", "events", "goodbye"]
        assert wire.closed is not None
        assert (wire.closed[0], len(wire.posted)) == (1001, 0)


async def test_upgrade_is_refused_while_the_server_goes_away() -> None:
    """If a client connects while the server shuts down, its upgrade request is answered with 503 and nothing else."""
    async with make_app().running(port=0) as server:
        await server.endpoint.say_goodbye()
        async with serve_on_memory_wire(server) as wire:
            assert isinstance(wire.answer, Reject)
            assert (wire.answer.status, wire.frames, wire.closed, wire.aborted) == (503, [], None, True)


async def test_missing_hello_ends_with_4503(autojump_clock: MockClock) -> None:
    """If a client sends no hello within ``hello_seconds``, its connection is closed with 4503 (no hello in time)."""
    async with make_app(hello_seconds=3).running(port=0) as server, serve_on_memory_wire(server) as wire:
        await trio.sleep(2.9)
        assert wire.closed is None
        await trio.sleep(0.2)
        assert wire.closed is not None
        assert wire.closed[0] == 4503


async def test_silent_client_ends_with_4002(autojump_clock: MockClock) -> None:
    """A client that sends nothing is pinged after ``ping_seconds``.

    If it does not answer within ``pong_seconds``, it is closed with 4002 (heartbeat lost).
    """
    async with make_app(ping_seconds=10, pong_seconds=5).running(port=0) as server, serve_welcomed(server) as wire:
        await trio.sleep(14.9)
        assert (len(wire.of_type("ping")), wire.closed) == (1, None)
        await trio.sleep(0.2)
        assert wire.closed is not None
        assert wire.closed[0] == 4002


@pytest.mark.parametrize("blocked", [False, True])
async def test_connection_of_a_client_that_left_is_freed(*, blocked: bool) -> None:
    """If a client has left, the server writes no goodbye to it.

    The server drops the network connection, and the memory of the connection can be freed.
    """
    async with make_app().running(port=0) as server:
        async with serve_welcomed(server) as wire:
            wire.blocked = blocked
            wire.leave()
            await trio.testing.wait_all_tasks_blocked()
            assert (wire.of_type("goodbye"), wire.closed, wire.lingered) == ([], None, False)
            assert (wire.aborted, wire.owner) == (True, None)
            assert server.endpoint.statistics().connections == 0


async def test_client_that_leaves_while_it_catches_up_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """If a client leaves while it gets old events from the log, its connection ends, and no error is logged."""
    async with make_app(ring_events=1, ring_bytes=0).running(port=0) as server, serve_welcomed(server) as wire:
        wire.blocked = True
        await emit(server, 3)
        send_events = wire.send_events

        def block_after(lines: Sequence[bytes]) -> None:
            send_events(lines)
            wire.blocked = True

        wire.send_events = block_after  # type: ignore[method-assign]  # the network takes one message
        await emit(server, 600)
        await wire.drain()
        assert 1 <= len(wire.seqs()) < 600
        wire.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert server.endpoint.statistics().connections == 0
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_only_advancing_ack_is_progress() -> None:
    """An ack counts as progress of the client if its seq is higher than in the earlier acks.

    A repeated ack, or an ack beyond the last event, does not count.
    """
    async with make_app().running(port=0) as server, serve_welcomed(server) as wire:
        await emit(server, 2)
        for seq, progress in ((1, 1), (1, 1), (900, 1), (2, 2)):
            await wire.say("ack", seq=seq)
            assert wire.progress == progress
