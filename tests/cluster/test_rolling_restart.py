"""A node that ends gives its users to the other nodes, and interrupts no run: its cluster can be restarted in turn."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents
from _scale import scaled
from _valkey import Server as ValkeyServer

from actors import CommandRefused, Event, StreamKey
from actors.cluster.interfaces import NodeState
from transport import Greenroom, User
from transport.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from _cluster_nodes import Engine, Server
    from trio.testing import MockClock

    from actors import SessionHandle
    from transport import Credentials
    from transport.client import Client

RUNS: list[object] = []
SECONDS = 50
"""Time limit of the restarts of real servers."""
CLIENTS = scaled(4, 40)
ROUNDS = scaled(1, 5)


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def owners(engine: Engine) -> dict[str, str]:
    """Return the name of the node in each user's token, or None."""
    return {user: str(token.incarnation and token.incarnation.node) for user, token in engine.tokens.items()}


async def an_idle_and_a_busy_user(a: Server, b: Server) -> tuple[list[Tab], SessionHandle, str]:
    """Make both users sessions of ``a``. Return their tabs at ``b``, and the second user's session with its run."""
    await Tab("c-0").attach(a, "ann")
    handle = await a.sessions.get("bob", "s1")
    run_id = await handle.start("wait")
    tabs = [Tab("c-1"), Tab("c-2")]
    for tab, user in zip(tabs, ("ann", "bob"), strict=True):
        await tab.attach(b, user)
    return tabs, handle, run_id


async def test_users_are_released_as_their_runs_end(autojump_clock: MockClock) -> None:
    """A node that drains releases idle users at once, and others as their runs end. Clients elsewhere do not notice."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        tabs, handle, run_id = await an_idle_and_a_busy_user(a, b)
        assert owners(engine) == {"ann": "a", "bob": "a"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.sessions.drain, 100)
            await trio.sleep(3)
            assert owners(engine) == {"ann": "b", "bob": "a"}
            await handle.cancel(run_id)
        await eventually(lambda: owners(engine) == {"ann": "b", "bob": "b"})
        await tabs[1].catch_up()
        assert [tab.ended for tab in tabs] == [None, None]
        assert tabs[1].events[-1]["data"]["status"] == "cancelled"
        assert (a.router.statistics().owned, b.router.statistics().mirrors) == (0, 0)


async def test_runs_are_started_at_the_new_owner(autojump_clock: MockClock) -> None:
    """A start that reaches a node that drains is done at the next owner: at once, or when the user's run has ended."""
    async with cluster("a", "b", agents=recording_agents(RUNS), forward_seconds=20) as (engine, (a, b)):
        tabs, handle, run_id = await an_idle_and_a_busy_user(a, b)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.sessions.drain, 100)
            for tab in tabs:
                tab.attachment.command(command(tab, "k2", "run.start", agent="work", input=tab.name))
            await trio.sleep(3)
            assert (RUNS, owners(engine)) == (["c-1"], {"ann": "b", "bob": "a"})
            await handle.cancel(run_id)
        await eventually(lambda: RUNS == ["c-1", "c-2"])
        await eventually(lambda: [each.replies[-1].ok for each in tabs if each.replies] == [True, True])
        assert owners(engine) == {"ann": "b", "bob": "b"}


async def test_an_end_without_an_engine_is_not_delayed(autojump_clock: MockClock) -> None:
    """A node that is cut off and has no run ends its drain at once: the others get its users after its burial."""
    async with cluster("a", agents=recording_agents(RUNS)) as (engine, (a,)):
        await a.router.open(StreamKey("ann", "s1"))
        a.node.state = NodeState.SUSPENDED
        with trio.fail_after(1):
            await a.sessions.drain(100)
        assert owners(engine) == {"ann": "a"}


class Soon(random.Random):
    """The delays of a client that reconnects almost at once."""

    def uniform(self, a: float, b: float) -> float:
        """Return a short delay."""
        return min(0.01, a + b)


@attrs.define(eq=False)
class Balancer:
    """The servers that take new clients. New connections go to them in turn."""

    log: str
    ports: list[int] = attrs.Factory(list[int])
    turns: int = 0

    async def open(self, host: str, port: int, tls: object) -> trio.SocketStream:
        """Connect to the next server."""
        del host, port, tls
        self.turns += 1
        return await trio.open_tcp_stream("127.0.0.1", self.ports[self.turns % len(self.ports)])

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[None]:
        """Run a server inside the block. It gets no new connections from the end of the block on."""
        # A start that is refused is sent again at once, until the client has left the server.
        often: dict[str, object] = {"commands_per_second": 1e6, "commands_burst": 1_000_000}
        app = Greenroom(log=self.log, auth=by_name, settings=often)

        @app.agent
        async def work(run: Any, number: int) -> int:
            for step in range(20):
                await run.output(f"{number}.{step}")
            return number

        async with app.running(port=0) as server:
            port = int(server.url.rstrip("/").rpartition(":")[2])
            self.ports.append(port)
            yield
            self.ports.remove(port)


async def by_name(credentials: Credentials) -> User:
    """Return the user whose name is the token."""
    return User(credentials.token or "")


async def status_of(client: Client, run_id: str, seqs: list[int]) -> str:
    """Read events until the run has ended. Return its status, and add the events' numbers to ``seqs``."""
    async for event in client.events():
        assert isinstance(event, Event)
        seqs.append(event.seq)
        if event.type == "agent_completed" and event.run_id == run_id:
            assert isinstance(event.data, dict)
            return str(event.data["status"])
    raise AssertionError("the client has ended")


@attrs.define(eq=False)
class Load:
    """Clients that start one run after the other, each as a user of its own."""

    balancer: Balancer
    finished: Counter[str] = attrs.Factory(Counter[str])
    statuses: Counter[str] = attrs.Factory(Counter[str])
    seqs: dict[str, list[int]] = attrs.Factory(dict[str, "list[int]"])
    progress: trio.Event = attrs.Factory(trio.Event)

    async def client(self, user: str) -> None:
        """Start runs and read their events, until cancelled."""
        seqs = self.seqs[user] = []
        options: Any = {"open_stream": self.balancer.open, "rng": Soon()}
        async with connect("ws://balancer", session="s1", token=user, **options) as client:
            while True:
                try:
                    run_id = await client.start("work", len(seqs))
                except CommandRefused:  # the server has just begun to end
                    await trio.lowlevel.checkpoint()
                    continue
                self.statuses[await status_of(client, run_id, seqs)] += 1
                self.finished[user] += 1
                self.progress.set()
                self.progress = trio.Event()

    async def advance(self) -> None:
        """Wait until each user has finished another run."""
        before = self.finished.copy()
        while any(self.finished[user] <= before[user] for user in self.seqs):
            await self.progress.wait()


async def test_servers_are_restarted_in_turn() -> None:
    """Three servers are restarted in turn under load: no run is interrupted, and each client gets each event once."""
    with trio.fail_after(SECONDS), ValkeyServer() as valkey:
        balancer = Balancer(valkey.url)
        load = Load(balancer)
        async with trio.open_nursery() as nursery:
            ends: list[trio.Event] = []

            async def serve(end: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
                async with balancer.server():
                    task_status.started()
                    await end.wait()

            async def restart() -> None:
                if len(ends) == 3:
                    ends.pop(0).set()
                ends.append(trio.Event())
                await nursery.start(serve, ends[-1])

            for _ in range(3):
                await restart()
            for number in range(CLIENTS):
                nursery.start_soon(load.client, f"u{number}")
            await trio.testing.wait_all_tasks_blocked()
            await load.advance()
            for _ in range(3 * ROUNDS):
                await restart()
                await load.advance()
            nursery.cancel_scope.cancel()
        assert load.statuses == {"ok": sum(load.finished.values())}
        assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in load.seqs.values())
