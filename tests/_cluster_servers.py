"""Servers that are nodes of a cluster: in the test's own process, or as processes that a test can kill and pause.

As a program, ``python _cluster_servers.py URL NAME LEASE_SECONDS`` serves until its standard input ends. It prints its
address, and its statistics for each line of its input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from actors import CommandRefused
from actors.events.types import AgentCompleted, AgentOutput
from transport import Greenroom, Reset, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from actors.events.types import Event, Position
    from transport import Client, Server

T = TypeVar("T")

SECONDS = 50
"""Time limit of a test with servers. Only a test that hangs reaches it."""
LEASE = 1.0
"""The lease of the nodes, in seconds. A test must not depend on that a node of another process keeps it."""


def app(log: str, **settings: object) -> Greenroom:
    """Return an app with an agent that outputs its input, and one that outputs it and waits to be cancelled."""
    made = Greenroom(log=log, settings={"drain_seconds": 0.1, "lease_seconds": LEASE, **settings})

    @made.agent
    async def echo(run: Any, value: str) -> None:
        await run.output(value)

    @made.agent
    async def endless(run: Any, value: str) -> None:
        await run.output(value)
        await trio.sleep_forever()

    return made


@attrs.define(eq=False)
class Node:
    """A server in this process, as a node of a cluster."""

    server: Server

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.server.url

    def statistics(self) -> dict[str, Any]:
        """Return the counters of the node."""
        seen = self.server.cluster_statistics()
        assert seen is not None
        return attrs.asdict(seen)


@asynccontextmanager
async def node(log: str, name: str, **settings: object) -> AsyncGenerator[Node]:
    """Run a server as a node inside the block."""
    async with app(log, node_name=name, **settings).running(port=0) as server:
        yield Node(server)


@attrs.define(eq=False)
class NodeProcess:
    """A server as a process of its own."""

    process: trio.Process
    url: str

    async def statistics(self) -> dict[str, Any]:
        """Return the counters of the node."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        return dict(json.loads(await _line(self.process)))

    def pause(self) -> None:
        """Stop the process: its connections stay, and it does nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """Let the paused process go on."""
        os.kill(self.process.pid, signal.SIGCONT)


async def _line(process: trio.Process) -> bytes:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        part = await process.stdout.receive_some()
        assert part, "the node has ended"
        line += part
    return line


@asynccontextmanager
async def node_process(log: str, name: str) -> AsyncGenerator[NodeProcess]:
    """Run a server as a node in a process of its own. The process is killed at the end of the block."""
    command = [sys.executable, __file__, log, name, str(LEASE)]
    process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE)
    try:
        yield NodeProcess(process, (await _line(process)).decode().strip())
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


@attrs.define(eq=False)
class Guest:
    """A client that notes all that it gets. ``url`` is the server that its next connection goes to."""

    url: str
    client: Client
    events: list[Event] = attrs.Factory(list["Event"])
    """The events since the last reset."""
    resets: list[str] = attrs.Factory(list[str])
    """The reasons of all resets."""
    signals: list[tuple[str, Any]] = attrs.Factory(list[tuple[str, Any]])
    streams: list[trio.SocketStream] = attrs.Factory(list[trio.SocketStream])

    async def note_events(self) -> None:
        """Note events and resets until cancelled."""
        async for each in self.client.events():
            if isinstance(each, Reset):
                self.events.clear()
                self.resets.append(each.reason)
            else:
                self.events.append(each)

    async def note_signals(self) -> None:
        """Note signals until cancelled."""
        async for each in self.client.signals():
            self.signals.append((each.name, each.data))

    async def start(self, agent: str, value: str) -> str:
        """Start a run. If the machine stood still and the node is suspended, try again."""
        return await patiently(lambda: self.client.start(agent, value))

    async def drop(self) -> None:
        """End the present connection without a word to the server."""
        await trio.aclose_forcefully(self.streams[-1])

    @property
    def texts(self) -> list[str]:
        """The texts of all outputs."""
        return [event.text for event in self.events if isinstance(event, AgentOutput)]

    @property
    def ends(self) -> list[str]:
        """The statuses of all runs that have ended."""
        return [event.status for event in self.events if isinstance(event, AgentCompleted)]

    def is_whole(self) -> bool:
        """Return whether the events are numbered without a gap from 1."""
        return [event.seq for event in self.events] == [*range(1, len(self.events) + 1)]


@asynccontextmanager
async def guest(url: str, session: str = "s1", resume: Position | None = None) -> AsyncGenerator[Guest]:
    """Run a client inside the block. Its connections go to the server that it names at that time."""

    async def open_stream(host: str, port: int, tls: object) -> trio.SocketStream:
        del host, port, tls
        streams.append(await trio.open_tcp_stream("127.0.0.1", int(made.url.rstrip("/").rpartition(":")[2])))
        return streams[-1]

    streams: list[trio.SocketStream] = []
    connected = connect(url, session=session, resume=resume, open_stream=open_stream)
    async with connected as client, trio.open_nursery() as nursery:
        made = Guest(url, client, streams=streams)
        nursery.start_soon(made.note_events)
        nursery.start_soon(made.note_signals)
        await eventually(lambda: client.state == "live")
        yield made
        nursery.cancel_scope.cancel()


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call until the node is not suspended, which it is for a moment after the machine stood still."""
    while True:
        try:
            return await call()
        except CommandRefused as refused:
            if refused.code != "overloaded":
                raise
        with trio.move_on_after(0.2):
            await trio.sleep_forever()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds. Only the time limit of the test ends this."""
    while not condition():
        # What a server or another process does has no event. Without a pause, this would take their time.
        with trio.move_on_after(0.01):
            await trio.sleep_forever()


async def _serve(log: str, name: str, lease: float) -> None:
    async with node(log, name, lease_seconds=lease) as made:
        print(made.url, flush=True)  # noqa: T201 - the test reads it
        async for _ in trio.lowlevel.FdStream(os.dup(0)):
            print(json.dumps(made.statistics()), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1], sys.argv[2], float(sys.argv[3]))
