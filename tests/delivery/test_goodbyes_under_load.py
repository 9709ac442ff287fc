"""A server in the middle of many runs is asked to stop. Each client is told so, and resumes exactly."""

from __future__ import annotations

import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _scale import scaled
from delivery.agents import Work, check_grammar
from delivery.process import ServerProcess, server_process
from delivery.test_shutdown import APP, stuck_peers, upgrade
from protocol.raw import told
from protocol.wire import Client
from websockets.trio.client import connect

from actors import decode_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLIENTS = 30
PACE = 0.2
"""Longest pause between two steps of a run, in seconds."""
SMALL_BUFFER = 4096
"""Size of the receive buffer of a peer that never reads, in bytes. A busy session fills it at once."""
PATIENCE = 120.0
QUIET_APP = APP.replace("drain_seconds", "ping_seconds=600, drain_seconds")
"""The app of the other test, for clients that do not answer its pings."""


@attrs.define(eq=False)
class Member:
    """A client of its own user, in the middle of a run that does not end by itself."""

    number: int
    run_id: str = ""
    epoch: str = ""
    events: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    begun: trio.Event = attrs.Factory(trio.Event)

    async def until_goodbye(self, server: ServerProcess) -> None:
        """Start a run and read until the server says goodbye. Check the goodbye."""
        async with connect(server.url, compression=None, ping_interval=None, proxy=None, max_queue=None) as websocket:
            one = Client(websocket, PATIENCE)
            self.epoch = (await one.hello(token=f"user-{self.number}"))["epoch"]
            self.run_id = await one.start("1", "worker", attrs.asdict(Work(self.number, 1_000_000, PACE)))
            await one.events_until(3)
            self.begun.set()
            ended = await one.ended()
            self.events = one.events()
        assert ended.goodbye is not None
        assert (ended.code, ended.goodbye["code"]) == (1001, 1001)
        assert 0 < ended.goodbye["retry_ms"] <= 2_000

    async def resume(self, server: ServerProcess) -> None:
        """Resume after the last event, and check that the run was cancelled, without a gap or a double."""
        async with connect(server.url, compression=None, ping_interval=None, proxy=None, max_queue=None) as websocket:
            one = Client(websocket, PATIENCE)
            position = {"epoch": self.epoch, "seq": self.events[-1]["seq"]}
            welcome = await one.hello(token=f"user-{self.number}", resume=position)
            assert welcome["recovered"]
            completed = await one.completed(self.run_id)
            assert completed["data"]["status"] == "cancelled"
            check_grammar([decode_event(event) for event in [*self.events, *one.events()]])


@pytest.mark.timeout(scaled(60, 120))
async def test_each_client_gets_a_goodbye(tmp_path: Path) -> None:
    """After SIGTERM each client in mid-run gets a goodbye with a time to return. It then resumes without a gap.

    Its run is closed as cancelled. Peers with full buffers and silent peers do not change the exit status of 0.
    """
    members = [Member(number) for number in range(CLIENTS)]
    async with server_process(tmp_path, QUIET_APP) as server:
        async with full_and_silent_peers(server, members) as nursery:
            for member in members:
                nursery.start_soon(member.until_goodbye, server)
            for member in members:
                await member.begun.wait()
        assert await server.wait_for_end() == 0
        await server.start()
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.resume, server)


@asynccontextmanager
async def full_and_silent_peers(server: ServerProcess, members: list[Member]) -> AsyncIterator[trio.Nursery]:
    """Yield a nursery for clients. After the block add stuck peers, stop the server, and wait for its end beside them.

    One peer takes part in a busy session with full buffers. The other is silent in a session of its own: the kernel
    takes its goodbye, and no answer ever comes, as from a peer whose network is gone.
    """
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        yield nursery
        await stack.enter_async_context(stuck_peers(server))
        full = await stack.enter_async_context(await small_stream(server))
        await join(full, members[0].number)
        silent = await stack.enter_async_context(await server.open_stream())
        await join(silent, CLIENTS)
        await until_full(full)
        server.process.send_signal(signal.SIGTERM)
        await server.process.wait()


async def small_stream(server: ServerProcess) -> trio.SocketStream:
    """Open a connection with a small receive buffer."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    await sock.connect(("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2])))
    return trio.SocketStream(sock)


async def join(stream: trio.abc.Stream, number: int) -> None:
    """Join the session of a user, and read nothing of it."""
    await upgrade(stream)
    await stream.send_all(told("hello", session="s1", token=f"user-{number}"))


async def until_full(stream: trio.SocketStream) -> None:
    """Wait until the server has more bytes for this peer than the peer's kernel can take."""
    with trio.fail_after(PATIENCE):
        while bytes_not_taken(stream.socket.getsockname()[1]) <= 2 * SMALL_BUFFER:
            await trio.lowlevel.checkpoint()


def bytes_not_taken(port: int) -> int:
    """Return how many bytes the sender to a local port keeps, because the receiver has not taken them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[2].endswith(f":{port:04X}"))
