"""Delivery of events, signals and history: the size of messages, and how slow clients are served."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.manual_socket import open_manual_socket
from protocol.wire import VIRTUAL_PATIENCE, Client, greeted, greeted_in_memory, wait_for_connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from transport import Server

KIB = 1024


def sizes(messages: list[str]) -> list[tuple[int, int]]:
    """Return the number of events and of bytes in each message."""
    return [(len(json.loads(message)["events"]), len(message.encode())) for message in messages]


async def replayed(server: Server, latest: int, **hello: Any) -> list[str]:
    """Return the messages that a new client gets until it has all events up to ``latest``."""
    async with greeted(server, **hello) as one:
        messages = []
        while not one.events() or one.events()[-1]["seq"] < latest:
            messages.append(await one.receive_text())
        return messages


async def test_seq_is_contiguous_from_1() -> None:
    """The events of all runs and messages of a session are numbered together, from 1 without a gap."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        run_id = await one.start("1", "parent", "hi")
        await one.completed(run_id)
        await one.say("after")
        events = await one.events_until(6)
        assert [event["seq"] for event in events] == list(range(1, 7))
        assert [event["type"] for event in events] == [
            "agent_started",
            "agent_started",
            "agent_output",
            "agent_completed",
            "agent_completed",
            "user_message",
        ]


async def test_events_message_has_at_most_256_events(tmp_path: Path) -> None:
    """When old events are sent to a client, from memory or from the log, each message has at most 256 of them."""
    for ring in (1024, 16):
        app = make_app(f"sqlite:{tmp_path / f'{ring}.db'}", ring_events=ring)
        async with app.running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
            await one.completed(await one.start("1", "emit", {"count": 700, "size": 1}))
            counts = [count for count, _ in sizes(await replayed(server, 702))]
            assert (sum(counts), max(counts)) == (702, 256), ring


async def test_events_message_has_at_most_64_kib(tmp_path: Path) -> None:
    """When old events are sent to a client, each message has at most 64 KiB, and as many events as fit into that.

    An event that is larger than 64 KiB is sent alone.
    """
    for ring in (1024, 16):
        app = make_app(f"sqlite:{tmp_path / f'{ring}.db'}", ring_events=ring)
        async with app.running(port=0) as server, greeted(server) as one:
            seq = 0
            for number, size in enumerate((1, 600, 5_000, 32_500, 65_000, 65_408, 65_420, 70_000, 300_000)):
                await one.completed(await one.start(f"{number}", "emit", {"count": 9, "size": size}))
                seq += 11
            messages = await replayed(server, seq)
            assert max(size for _, size in sizes(messages)) > 300_000
            assert all(size <= 64 * KIB or count == 1 for count, size in sizes(messages)), ring
            full = [size for count, size in sizes(messages) if count > 1]
            assert max(full) > 60 * KIB


async def test_replay_joins_live_events() -> None:
    """A client that connects while an agent emits gets every event once and in order, old events and new ones.

    This holds for each position from which the client can begin.
    """
    async with make_app(ring_events=64).running(port=0) as server, greeted(server) as starter:
        run_id = await starter.start("1", "emit", {"count": 5_000, "size": 100})
        seen: list[list[int]] = []

        async def join(number: int) -> None:
            resume = {"epoch": starter.welcome["epoch"], "seq": 0}
            choices: list[dict[str, Any]] = [{}, {"from": "latest"}, {"resume": resume}]
            async with greeted(server, **choices[number % 3]) as one:
                await one.completed(run_id)
                first = one.welcome["latest"] + 1 if number % 3 == 1 else 1
                assert [event["seq"] for event in one.events()] == list(range(first, 5_003))
                seen.append([first])

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(join, number)
            await starter.completed(run_id)
        assert len(seen) == 9
        assert [event["seq"] for event in starter.events()] == list(range(1, 5_003))


async def test_replay_equals_live(tmp_path: Path) -> None:
    """An event that is read from the log after a restart is equal to the event that was sent live.

    This also holds for events with unusual characters.
    """
    log = f"sqlite:{tmp_path / 'log.db'}"
    text = '\0 \u2028 \U0001f600 é " \\ </script>'
    async with make_app(log).running(port=0) as server, greeted(server) as one:
        await one.completed(await one.start("1", "echo", text))
        live = one.events()
    assert live[1]["data"] == {"text": text}
    async with make_app(log).running(port=0) as server, greeted(server) as one:
        assert await one.events_until(3) == live


async def test_typing_ends_after_5_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A user is shown as typing until 5 seconds after the last ``typing`` frame of the client.

    The typing ends earlier if the client switches it off, or if the client's connection ends.
    """
    async with make_app().running(port=0) as server, greeted_in_memory(server) as watcher:
        async with greeted_in_memory(server) as typist:
            who = typist.welcome["connection"]

            async def change() -> tuple[bool, float]:
                signal = await watcher.receive("signal")
                assert signal == {
                    "type": "signal",
                    "name": "typing",
                    "data": {"by": "user", "id": who, "active": signal["data"]["active"]},
                }
                return signal["data"]["active"], round(trio.current_time() - began, 3)

            began = trio.current_time()
            await typist.send("typing", active=True)
            assert await change() == (True, 0)
            async with greeted_in_memory(server) as late:
                assert late.welcome["typing"] == [{"by": "user", "id": who}]
            await trio.sleep(3)
            await typist.send("typing", active=True)
            assert await change() == (False, 8)
            async with greeted_in_memory(server) as late:
                assert late.welcome["typing"] == []
            await typist.send("typing", active=True)
            assert await change() == (True, 8)
            await typist.send("typing", active=False)
            assert await change() == (False, 8)
            await typist.send("typing", active=True)
            assert await change() == (True, 8)
            await typist.socket.aclose()
            assert await change() == (False, 8)


async def test_agent_typing_ends_with_its_run() -> None:
    """If an agent is shown as typing when its run ends, clients are told that it has stopped typing."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        run_id = await one.start("1", "typist")
        on = await one.receive("signal")
        assert on["data"] == {"by": "agent", "id": run_id, "active": True}
        await one.events_until(2)
        async with greeted(server) as two:
            assert two.welcome["typing"] == [{"by": "agent", "id": run_id}]
        await one.command("2", "run.cancel", run_id=run_id)
        off = await one.receive("signal")
        assert off["data"] == {"by": "agent", "id": run_id, "active": False}


async def history(one: Client, id_: str, after: int, limit: int) -> tuple[list[int], bool]:
    """Ask for history. Return the seqs in the answer, and whether there are more."""
    await one.send("history", id=id_, after=after, limit=limit)
    answer = await one.receive("history")
    assert set(answer) == {"type", "id", "events", "more"}
    assert answer["id"] == id_
    return [event["seq"] for event in answer["events"]], answer["more"]


async def test_history_is_above_after() -> None:
    """A ``history`` answer has at most ``limit`` stored events with a seq above ``after``.

    It also says whether there are more.
    """
    async with make_app(retain_events=6).running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
        assert await history(one, "h", 0, 10) == ([], False)
        await one.say(*"abcdefgh")
        assert await history(one, "h", 0, 500) == ([3, 4, 5, 6, 7, 8], False)
        assert await history(one, "i" * 128, 4, 2) == ([5, 6], True)
        assert await history(one, "é\n", 6, 2) == ([7, 8], False)
        assert await history(one, "h", 8, 5) == ([], False)
        assert await history(one, "h", 2**53 - 1, 5) == ([], False)


@pytest.mark.parametrize(("after", "limit"), [(-1, 5), (2**53, 5), (0, 0), (0, 501), (0, -1), (10**30, 1), (0, 10**30)])
async def test_history_out_of_bounds_is_refused(after: int, limit: int) -> None:
    """If a number in a ``history`` request is out of bounds, the request is refused. The connection stays open."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.send("history", id="h", after=after, limit=limit)
        error = await one.receive("error", "history")
        assert (error["code"], set(error)) == ("bad_history", {"type", "code", "message"})
        await one.say("alive")


async def test_history_has_bounds_of_events() -> None:
    """A ``history`` message has at most 256 events and 64 KiB, as an ``events`` message has."""
    app = make_app(commands_burst=10_000)
    async with app.running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
        await one.completed(await one.start("1", "emit", {"count": 600, "size": 1}))
        assert len((await history(one, "h", 0, 500))[0]) == 256
        for count, size in ((300, 60), (300, 110), (300, 150), (20, 4_000), (2, 33_000), (2, 80_000)):
            latest = one.events()[-1]["seq"]
            run_id = await one.start(f"{count}-{size}", "emit", {"count": count, "size": size})
            await one.completed(run_id)
            for id_ in ("h", "h" * 128, "\x01" * 128, "\U0001f600" * 128):
                after = latest + 1
                while after < latest + count + 2:
                    await one.send("history", id=id_, after=after, limit=500)
                    while '"type":"history"' not in (message := await one.receive_text())[:20]:
                        pass
                    ((events, bytes_),) = sizes([message])
                    assert bytes_ <= 64 * KIB or events == 1, (count, size)
                    after += events


async def test_position_behind_the_log_ends_with_4001(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a client is so slow that its next event was deleted from the log, it is closed with 4001 (slow consumer).

    When it resumes, it gets a reset: it must drop its state and start with the oldest event.
    """
    app = make_app(ring_events=8, retain_events=16, slow_seconds=1_000)
    async with app.running(port=0) as server, greeted_in_memory(server) as other, stalled(server) as slow:
        for number in range(40):
            await other.completed(await other.start(f"{number}", "emit", {"count": 5, "size": 20_000}))
        async with greeted_in_memory(server) as third:
            oldest = third.welcome["oldest"]
        ended = await slow.ended()
        assert (ended.code, "fell behind" in ended.reason) == (4001, True)
        last = slow.events()[-1]["seq"]
        assert [event["seq"] for event in slow.events()] == list(range(1, last + 1))
        assert last < oldest - 1
        async with greeted_in_memory(server, resume={"epoch": slow.welcome["epoch"], "seq": last}) as again:
            assert again.welcome["reset"] == "trimmed"


async def test_stalled_client_ends_with_4001(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A client that reads nothing for ``slow_seconds`` is closed with 4001 (slow consumer).

    It is told when to come back.
    """
    async with make_app().running(port=0) as server, greeted_in_memory(server) as other, stalled(server) as slow:
        await other.completed(await other.start("1", "emit", {"count": 40, "size": 10_000}))
        await trio.sleep(9.9)
        assert server.endpoint.statistics().connections == 2
        await trio.sleep(0.2)
        ended = await slow.ended()
        assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4001, True)


async def test_stalled_client_is_freed(autojump_clock: trio.testing.MockClock) -> None:
    """If a client stops reading and never reads again, the memory of its connection is freed nevertheless."""
    async with make_app().running(port=0) as server, greeted_in_memory(server) as other, stalled(server):
        await other.completed(await other.start("1", "emit", {"count": 40, "size": 10_000}))
        await trio.sleep(12.1)
        assert server.endpoint.statistics().connections == 1
        await other.say("undisturbed")


@pytest.mark.parametrize(
    ("acks", "stays"), [((1, 2, 3, 4, 5), True), ((1, 1, 1, 1, 1), False), ((900, 901, 902, 903, 904), False)]
)
async def test_advancing_acks_are_progress(
    acks: tuple[int, ...], stays: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """If a slow client sends acks with rising seqs, it stays connected.

    If it repeats an ack, or sends an ack above its position, it is closed as slow.
    """
    async with make_app().running(port=0) as server, greeted_in_memory(server) as other:
        await other.completed(await other.start("1", "emit", {"count": 40, "size": 10_000}))
        async with stalled(server) as slow:
            for seq in acks:
                await trio.sleep(4)
                with suppress(trio.BrokenResourceError):
                    await slow.send("ack", seq=seq)
            assert server.endpoint.statistics().connections == 1 + stays


async def test_stalled_socket_harms_no_other() -> None:
    """If one client stops reading, other clients get their events without delay.

    The slow client misses no event when it resumes.
    """
    app = make_app(slow_seconds=0.3)
    async with app.running(port=0) as server, greeted(server) as other:
        async with stalled_socket(server) as slow:
            await other.completed(await other.start("1", "emit", {"count": 200, "size": 20_000}))
            await wait_for_connections(server, 1)
            await other.say("undisturbed")
            await slow.ended()
            seen = slow.events()
        last = seen[-1]["seq"] if seen else 0
        assert last < 200
        async with greeted(server, resume={"epoch": slow.welcome["epoch"], "seq": last}, strict=True) as again:
            assert [event["seq"] for event in await again.events_until(203)] == list(range(last + 1, 204))


@asynccontextmanager
async def stalled_socket(server: Server) -> AsyncIterator[Client]:
    """Return a welcomed client on a real socket that takes very little unless the test reads from it."""
    host, port = server.url.removeprefix("ws://").rstrip("/").split(":")
    with trio.socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect((host, int(port)))
        async with open_manual_socket(trio.SocketStream(sock)) as websocket:
            one = Client(websocket)
            await one.hello()
            yield one


@asynccontextmanager
async def stalled(server: Server) -> AsyncIterator[Client]:
    """Return a welcomed client that reads only when the test asks. No buffer is on the way."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve, theirs)
        async with open_manual_socket(ours) as websocket:
            one = Client(websocket, patience=VIRTUAL_PATIENCE)
            await one.hello()
            yield one
