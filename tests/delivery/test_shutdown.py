"""A server is asked to stop under load, and started again on its log. No client loses an event or sees one twice."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _scale import scaled
from _tls import Authority
from delivery.agents import Work, check_grammar, count_starts, events_in_log
from delivery.process import STOPPED, ServerProcess, server_process
from delivery.stuck_peers import full_peer, half_open_peer, join, open_peer, stuck_peers
from delivery.tabs import Tab, agent_calls, check_owner, end_session
from protocol.wire import Client
from websockets.trio.client import connect

from actors import SqliteLog, StreamKey, decode_event, verify_log

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

CLIENTS = scaled(8, 500)
WORK = ("paced", {"count": 8, "pause": scaled(0.05, 2.0)})
TABS_PER_USER = 2
APP = """
from delivery.agents import auth_by_name, server_on
app = server_on(
    "sqlite:log.db", auth=auth_by_name, retain_events=1_000_000, retain_bytes=1 << 34, ping_seconds=600,
    hello_seconds=600,
    starts_per_minute=0, max_connections_per_user=1_000, max_connections_per_address=10_000,
    handshakes_per_second=100_000, handshakes_per_address_per_second=100_000, drain_seconds=DRAIN, **TLS
)
"""
SHORT = 0.3
"""Time for which runs may go on in a drain, in seconds: some of them are cancelled."""
LONG = 600.0
"""Time for which runs may go on in a drain that only a second signal ends, in seconds."""


def app(drain: float, tls: dict[str, str] | None = None) -> str:
    """Return the program of a server."""
    return APP.replace("DRAIN", str(drain)).replace("TLS", repr(tls or {}))


# Clients that always come back


@pytest.mark.timeout(scaled(200, 3600))
async def test_shutdown_under_load(tmp_path: Path) -> None:
    """Clients in the middle of their runs all come back after SIGTERM and a restart: none has a gap or a double.

    The server does not wait for peers that never read. It closes all runs itself: those that take too long are
    cancelled, and none is left for the next server to interrupt.
    """
    async with server_process(tmp_path, app(SHORT)) as server, busy_tabs(server) as tabs:
        async with stuck_peers(server):
            await all_mid_run(tabs)
            server.process.send_signal(signal.SIGTERM)
            assert await server.wait_for_end() in STOPPED
        await server.start()
    assert await statuses_in_log(server, tabs) in ({"ok"}, {"ok", "cancelled"})


@pytest.mark.timeout(scaled(200, 3600))
@pytest.mark.parametrize("pause", [0.005, 0.05])
async def test_two_signals(tmp_path: Path, pause: float) -> None:
    """Two signals, one soon after the other, end a server at once or after its runs. All clients resume exactly.

    A run that was open then is closed by the next server, as interrupted. No run is cancelled.
    """
    async with server_process(tmp_path, app(LONG)) as server, busy_tabs(server) as tabs:
        async with stuck_peers(server):
            await all_mid_run(tabs)
            server.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(pause):
                await server.process.wait()
            server.process.send_signal(signal.SIGTERM)
            # The kernel makes one signal of two that come before the process has had the first one.
            assert await server.wait_for_end() in {-signal.SIGTERM, 0}
        await server.start()
    assert await statuses_in_log(server, tabs) in ({"ok"}, {"ok", "interrupted"})


@pytest.mark.timeout(scaled(200, 3600))
async def test_second_signal_in_a_drain(tmp_path: Path) -> None:
    """A second signal ends a server that waits for its runs at once. All clients resume exactly.

    The next server closes the runs that were open, as interrupted.
    """
    async with server_process(tmp_path, app(LONG)) as server, busy_tabs(server) as tabs:
        member = Member("waiting", "patient", None)
        async with stuck_peers(server), trio.open_nursery() as nursery:
            nursery.start_soon(member.until_goodbye, server)
            await member.begun.wait()
            await all_mid_run(tabs)
            server.process.send_signal(signal.SIGTERM)
            await member.left.wait()
            server.process.send_signal(signal.SIGTERM)
            assert await server.wait_for_end() == -signal.SIGTERM
        await server.start()
        await member.resume(server, "interrupted")
    assert await statuses_in_log(server, tabs) in ({"ok"}, {"ok", "interrupted"})


@asynccontextmanager
async def busy_tabs(server: ServerProcess) -> AsyncIterator[list[Tab]]:
    """Run clients that start one run after another. At the end of the block let them finish, and check the calls."""
    tabs = [Tab(f"user-{number // TABS_PER_USER}", f"tab-{number}", WORK) for number in range(CLIENTS)]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        for tab in tabs:
            nursery.start_soon(tab.run, server, stop)
        yield tabs
        stop.set()
        for tab in tabs:
            await tab.started.wait()
        for first, *others in zip(*[iter(tabs)] * TABS_PER_USER, strict=True):
            await end_session(first, set().union(first.answered, *(other.answered for other in others)))
    assert set(Counter(agent_calls(server)).values()) == {1}


async def all_mid_run(tabs: list[Tab]) -> None:
    """Wait until each tab has had a new event, and is in the middle of a run."""
    async with trio.open_nursery() as nursery:
        for tab in tabs:
            nursery.start_soon(tab.mid_run)


async def statuses_in_log(server: ServerProcess, tabs: list[Tab]) -> set[str]:
    """Check that each tab has seen exactly the events in the log. Return the statuses of all runs and calls."""
    statuses: set[str] = set()
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
            statuses.update(str(event.status) for event in events if hasattr(event, "status"))
    return statuses


# The goodbye of each client

MEMBERS = scaled(12, 30)
PACE = 0.2
"""Longest pause between two steps of a run, in seconds."""
PATIENCE = 120.0


@attrs.define(eq=False)
class Member:
    """A client of its own user, in the middle of a run that does not end by itself."""

    user: str
    agent: str
    input: Any
    context: ssl.SSLContext | None = None
    run_id: str = ""
    epoch: str = ""
    events: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    begun: trio.Event = attrs.Factory(trio.Event)
    left: trio.Event = attrs.Factory(trio.Event)

    @asynccontextmanager
    async def connect(self, server: ServerProcess) -> AsyncIterator[Client]:
        """Open a WebSocket inside the block."""
        options: dict[str, Any] = {} if self.context is None else {"ssl": self.context}
        async with connect(
            server.url, compression=None, ping_interval=None, open_timeout=None, proxy=None, max_queue=None, **options
        ) as websocket:
            yield Client(websocket, PATIENCE)

    async def until_goodbye(self, server: ServerProcess) -> None:
        """Start a run and read until the server says goodbye. Check the goodbye."""
        async with self.connect(server) as one:
            self.epoch = (await one.hello(token=self.user))["epoch"]
            self.run_id = await one.start("1", self.agent, self.input)
            await one.events_until(2)
            self.begun.set()
            ended = await one.ended()
            self.events = one.events()
            self.left.set()
        assert ended.goodbye is not None
        assert (ended.code, ended.goodbye["code"]) == (1001, 1001)
        assert 0 < ended.goodbye["retry_ms"] <= 2_000

    async def resume(self, server: ServerProcess, status: str) -> None:
        """Resume after the last event, and check how the run was closed, without a gap or a double."""
        async with self.connect(server) as one:
            position = {"epoch": self.epoch, "seq": self.events[-1]["seq"]}
            welcome = await one.hello(token=self.user, resume=position)
            assert welcome["recovered"]
            completed = await one.completed(self.run_id)
            assert completed["data"]["status"] == status
            check_grammar([decode_event(event) for event in [*self.events, *one.events()]])


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_each_client_gets_a_goodbye(tmp_path: Path, *, tls: bool) -> None:
    """After SIGTERM each client in mid-run gets a goodbye with a time to return. It then resumes without a gap.

    Its run is closed as cancelled. Peers with full buffers, silent peers, and peers whose network is gone do not change
    the exit status of 0. All this holds over TLS, too.
    """
    authority = Authority(tmp_path)
    context = authority.trusting() if tls else None
    members = [
        Member(f"user-{number}", "worker", attrs.asdict(Work(number, 1_000_000, PACE)), context)
        for number in range(MEMBERS)
    ]
    async with server_process(tmp_path, app(SHORT, authority.issue() if tls else None)) as server:
        async with trio.open_nursery() as nursery, stuck_peers(server, context), AsyncExitStack() as stack:
            for member in members:
                nursery.start_soon(member.until_goodbye, server)
            for member in members:
                await member.begun.wait()
            silent = await stack.enter_async_context(await open_peer(server, context))
            await join(silent, "silent")
            if not tls:  # the bytes of these peers are counted in the kernel, or never leave it
                await stack.enter_async_context(await full_peer(server, members[0].user))
                await stack.enter_async_context(await half_open_peer(server, "half-open"))
            server.process.send_signal(signal.SIGTERM)
            assert await server.wait_for_end() in STOPPED
        await server.start()
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.resume, server, "cancelled")
