"""A server is asked to stop under load, and started again on its log. No client loses an event or sees one twice."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from delivery.agents import check_grammar, count_starts, events_in_log
from delivery.process import ServerProcess, server_process
from delivery.tabs import Tab, agent_calls, check_owner, end_session
from protocol.raw import told

from actors import SqliteLog, StreamKey, verify_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CLIENTS = scaled(16, 500)
RESTARTS = 2
WORK = ("paced", {"count": 8, "pause": scaled(0.05, 1.0)})
TABS_PER_USER = 2
STUCK = scaled(3, 50)
"""Number of peers of each kind that never read."""
APP = """
from delivery.agents import auth_by_name, server_on
app = server_on(
    "sqlite:log.db", auth=auth_by_name, retain_events=1_000_000, retain_bytes=1 << 34, drain_seconds=0.3,
    starts_per_minute=0, max_connections_per_user=1_000, max_connections_per_address=10_000,
    handshakes_per_second=100_000, handshakes_per_address_per_second=100_000,
)
"""
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.timeout(scaled(120, 3600))
@pytest.mark.parametrize("signals", [1, 2])
async def test_shutdown_under_load(tmp_path: Path, signals: int) -> None:
    """Clients in the middle of their runs all come back after SIGTERM and a restart: none has a gap or a double.

    The server does not wait for peers that never read. After one signal it closes all runs itself. A second signal
    right after the first ends it at once, and the next server closes the runs as interrupted.
    """
    tabs = [Tab(f"user-{number // TABS_PER_USER}", f"tab-{number}", WORK) for number in range(CLIENTS)]
    stop = trio.Event()
    async with server_process(tmp_path, APP) as server, trio.open_nursery() as nursery:
        for tab in tabs:
            nursery.start_soon(tab.run, server, stop)
        for _ in range(RESTARTS):
            async with stuck_peers(server):
                for tab in tabs:
                    await tab.mid_run()
                for _ in range(signals):
                    server.process.send_signal(signal.SIGTERM)
                status = await server.wait_for_end()
            assert status in {0, -signal.SIGTERM} if signals > 1 else status == 0
            await server.start()
        stop.set()
        for tab in tabs:
            await tab.started.wait()
        for first, *others in zip(*[iter(tabs)] * TABS_PER_USER, strict=True):
            await end_session(first, set().union(first.answered, *(other.answered for other in others)))
    called = Counter(agent_calls(server))
    assert set(called.values()) == {1}
    statuses = await statuses_in_log(server, tabs)
    assert statuses["ok"] > 0
    if signals == 1:
        assert not statuses["interrupted"]


async def statuses_in_log(server: ServerProcess, tabs: list[Tab]) -> Counter[str]:
    """Check that each tab has seen exactly the events in the log. Return how often runs and calls ended in each way."""
    statuses: Counter[str] = Counter()
    async with SqliteLog(server.log) as log:
        assert (await verify_log(log)).faults == ()
        for tab in tabs:
            events = await events_in_log(log, StreamKey(tab.user, "s1"))
            assert tab.seen == events
            check_grammar(events)
            check_owner(events, tab.user)
            starts = count_starts(events)
            assert tab.answered <= set(starts)
            assert set(starts.values()) == {1}
            statuses.update(str(getattr(event, "status", "")) for event in events)
    return statuses


@asynccontextmanager
async def stuck_peers(server: ServerProcess) -> AsyncIterator[None]:
    """Keep peers connected that never read: silent, in mid-request, before their hello, and in a busy session."""
    async with AsyncExitStack() as stack:
        for _ in range(STUCK):
            await stack.enter_async_context(await server.open_stream())
            half = await stack.enter_async_context(await server.open_stream())
            await half.send_all(REQUEST[:-10])
            upgraded = await stack.enter_async_context(await server.open_stream())
            await upgrade(upgraded)
            welcomed = await stack.enter_async_context(await server.open_stream())
            await upgrade(welcomed)
            await welcomed.send_all(told("hello", session="s1", token="user-0"))
        yield


async def upgrade(stream: trio.abc.Stream) -> None:
    """Ask for a WebSocket, and wait for the answer."""
    await stream.send_all(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")
