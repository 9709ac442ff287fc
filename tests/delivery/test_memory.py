"""The memory of a server has a limit, with clients that read and with clients that do not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _scale import scaled
from delivery.agents import server_on
from delivery.stalling import stalled_client
from protocol.wire import greeted_in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server

CLIENTS, STALLED, USERS = scaled(60, 1_000), scaled(6, 100), scaled(6, 50)
LOOKS, SECONDS, EVENTS = scaled(12, 60), scaled(0.4, 1.0), 5_000
"""How often the test reads the server's state, and the minimum seconds and events between two reads."""
KIB = 1024
log = logging.getLogger("tests.memory")
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(**fields: str) -> bytes:
    """Return a short frame of a client, with a mask of zeros, which changes nothing."""
    text = json.dumps(fields).encode()
    return b"\x81%c\0\0\0\0%b" % (0x80 | len(text), text)


PONG = frame(type="pong")


async def keep_connecting(port: int, user: str, *, reads: bool) -> None:
    """Keep a client connected: connect again after each end of the connection. Read everything, or nothing."""
    while True:
        with suppress(OSError, trio.BrokenResourceError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(UPGRADE)
                await stream.receive_some(KIB)
                await stream.send_all(frame(type="hello", session="s1", token=user))
                if reads:
                    while data := await stream.receive_some(256 * KIB):
                        if b'"ping"' in data:
                            await stream.send_all(PONG)
                with trio.move_on_after(5):  # longer than the server waits for it
                    await trio.sleep_forever()


class LoadedServer:
    """The process of the server under load."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def state_after(self, seconds: float, events: int) -> dict[str, Any]:
        """Return the server's state after ``seconds``, but not before it has committed ``events`` events in all."""
        while True:
            with trio.move_on_after(seconds):
                await trio.sleep_forever()
            if (state := await self.state())["events"] >= events:
                return state

    async def state(self) -> dict[str, Any]:
        """Return the present state of the server."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        state: dict[str, Any] = json.loads(await read_line(self.process))
        return state


async def read_line(process: trio.Process) -> bytes:
    """Return the next line of the server's output."""
    said = b""
    assert process.stdout is not None
    while not said.endswith(b"\n"):
        part = await process.stdout.receive_some()
        assert part, "the server has ended"
        said += part
    return said


@asynccontextmanager
async def loaded_server(folder: Path) -> AsyncIterator[LoadedServer]:
    """Run the server under load in its own process."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await trio.lowlevel.open_process(
        [sys.executable, str(tests / "delivery" / "loaded_server.py"), str(folder), str(USERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        url = (await read_line(process)).decode().strip()
        yield LoadedServer(process, int(url.rstrip("/").rpartition(":")[2]))
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await trio.aclose_forcefully(stream)


def has_levelled_off(sizes: list[int]) -> bool:
    """Return whether the last third of the sizes is less than 15 % above the middle third."""
    third = len(sizes) // 3
    return max(sizes[2 * third :]) < max(sizes[third : 2 * third]) * 1.15


@pytest.mark.timeout(scaled(200, 600))
async def test_resident_memory_is_bounded(tmp_path: Path) -> None:
    """Under load, a server's resident memory stops growing, and stays below the limit in actors/streams/GUIDE.md."""
    looks: list[dict[str, Any]] = []
    async with loaded_server(tmp_path) as server, trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            user = f"user-{number % USERS}"
            nursery.start_soon(
                lambda user, reads: keep_connecting(server.port, user, reads=reads), user, number >= STALLED
            )
        # On a busy machine clients read late, and buffers grow once within their limits. A leak continues to grow.
        for enough in (LOOKS, 2 * LOOKS, 4 * LOOKS):
            while len(looks) < enough:
                looks.append(await server.state_after(SECONDS, len(looks) * EVENTS))
            if has_levelled_off([look["resident"] for look in looks]):
                break
        nursery.cancel_scope.cancel()
    log.info("%s", [{**look, "rings": max(look["rings"], default=0)} for look in looks[:: max(1, LOOKS // 6)]])
    assert looks[-1]["events"] > looks[0]["events"]
    assert looks[-1]["rings"]  # the first look may come before the first session
    assert max(look["connections"] for look in looks) >= CLIENTS - STALLED
    for look in looks:
        assert max(look["rings"], default=0) <= 256 * KIB * 5 // 4
        assert look["commands"] <= 1  # a command that waits; commands of the server's own code are not remembered
    assert max(look["resident"] for look in looks) < max(look["bound"] for look in looks)
    assert has_levelled_off([look["resident"] for look in looks])


def signals_dropped(server: Server) -> int:
    """Return the number of signals that were dropped: for clients of this server, and on their way to other nodes."""
    cluster = server.cluster_statistics()
    return server.endpoint.statistics().signals_dropped + (0 if cluster is None else cluster.signals_dropped)


async def test_ring_is_bounded_by_bytes() -> None:
    """A session keeps only about ``ring_bytes`` of events in memory. A new client gets older events from the log."""
    app = server_on("memory:", ring_bytes=64 * KIB)
    async with app.running(port=0) as server, greeted_in_memory(server) as one:
        for number, size in enumerate((100, 5_000, 30_000, 200_000)):
            await one.completed(await one.start(f"{number}", "wall", {"count": 20, "size": size}))
            (session,) = server.sessions.of()
            assert session.journal.bytes_in_memory <= 80 * KIB
        assert session.journal.in_memory < 20
        events = one.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        async with greeted_in_memory(server) as two:
            assert await two.events_until(len(events)) == events


@pytest.mark.parametrize(("size", "kept"), [(10, 64), (4_000, 16), (100_000, 1)])
async def test_signals_are_dropped_first(size: int, kept: int) -> None:
    """If a client does not read, the server keeps only the newest signals for it, limited by number and by bytes.

    It drops no event.
    """
    app = server_on("memory:", slow_seconds=1e6, ping_seconds=1e6)
    async with app.running(port=0) as server, greeted_in_memory(server) as other, stalled_client(server) as slow:
        await other.completed(await other.start("1", "wall", {"count": 3, "size": 100_000}))  # the way is blocked
        await other.completed(await other.start("2", "signaller", {"count": 200, "size": size}))
        await trio.testing.wait_all_tasks_blocked()  # behind other nodes, signals may come after the events
        assert signals_dropped(server) >= 200 - kept
        assert server.endpoint.statistics().waiting_bytes <= 300 * KIB
        await other.say("after the signals")
        events = await slow.events_until(8)
        assert [event["seq"] for event in events] == list(range(1, 9))
        while not (signals := [frame for frame in slow.frames if frame["type"] == "signal"]):
            await slow.receive("signal")
        while signals[-1]["data"]["number"] < 199:
            signals.append(await slow.receive("signal"))
        assert [signal["data"]["number"] for signal in signals] == list(range(200 - len(signals), 200))
        assert kept - 2 <= len(signals) <= kept
        while not any(frame["type"] == "signal" and frame["data"]["number"] == 199 for frame in other.frames):
            await other.receive("signal")
