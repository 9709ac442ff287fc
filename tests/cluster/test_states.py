"""What a node does in each state of its life: the table of states, row by row, in virtual time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio
from _cluster_engine import Engine, MemoryBus, MemoryMembers, MemoryOwners
from _cluster_nodes import Server, cluster, eventually

from actors import Agents
from actors.cluster._claims import Claims
from actors.cluster._gate import NodeGate
from actors.cluster._heart import Heart
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import NodeState
from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.define(eq=False)
class Life:
    """A node on an engine in memory, and the gate of its log."""

    engine: Engine
    heart: Heart
    claims: Claims
    gate: NodeGate

    @property
    def can_write(self) -> bool:
        """Whether the node can write to the log now."""
        assert self.gate.is_open() == (self.gate.until() > trio.current_time())
        return self.gate.is_open()


def life() -> Life:
    """Return a node that has not begun to beat."""
    engine, bus = Engine(), MemoryBus()
    heart = Heart("a", MemoryMembers(engine, bus), bus, NodeTimes(8.0), clock=trio.current_time)
    claims = Claims(MemoryOwners(engine), heart)
    return Life(engine, heart, claims, NodeGate(heart, claims))


async def test_each_state_permits_what_the_table_says(autojump_clock: MockClock) -> None:
    """A node writes and claims while it is live, and neither before it joins, nor suspended, buried or stopped."""
    a, rows = life(), list[tuple[str, bool, bool]]()

    async def row(name: str) -> None:
        """Note whether the node can write and claim now."""
        token = None
        with suppress(LogUnavailable):
            token = await a.claims.own(f"user-{len(rows)}")
        rows.append((name, a.can_write, token is not None))

    await row("joining")
    async with trio.open_nursery() as nursery:
        await nursery.start(a.heart.run)
        await row("live")
        first = a.heart.incarnation
        a.engine.up = False
        await trio.sleep(5.9)
        await row("sure until 6 s")
        await trio.sleep(0.2)
        await row("suspended")
        a.engine.up = True
        with trio.fail_after(2.1):
            assert await a.gate.wait()
        await row("live again")
        assert (a.heart.incarnation, len(a.claims.owned)) == (first, 2)
        a.engine.nodes.clear()
        await eventually(lambda: a.heart.incarnation != first)
        assert a.claims.owned == {}
        await row("buried")
        assert await a.gate.wait()
        await row("joined anew")
        nursery.cancel_scope.cancel()
    await row("stopped")
    assert not await a.gate.wait()
    assert rows == [
        ("joining", False, False),
        ("live", True, True),
        ("sure until 6 s", True, False),  # the engine does not answer the claim
        ("suspended", False, False),
        ("live again", True, True),
        ("buried", False, False),
        ("joined anew", True, True),
        ("stopped", False, False),
    ]


@attrs.define
class StateGate:
    """The gate of a node whose state the test decides."""

    server: Server

    def is_open(self) -> bool:
        """Return whether the node is live."""
        return self.server.node.state is NodeState.LIVE

    def until(self) -> float:
        """Return a time: appends of these tests do not ask for it."""
        return trio.current_time() + self.is_open()

    def fence(self, user: str) -> str | None:
        """Return the user's token."""
        return str(self.server.node.engine.tokens[user])

    async def is_over(self, token: str) -> bool:
        """Return False: any token may be in use."""
        del token
        await trio.lowlevel.checkpoint()
        return False

    def lost(self, user: str, token: str) -> None:
        """Do nothing: no user is lost in these tests."""

    async def wait(self) -> bool:
        """Wait until the node is live."""
        await eventually(self.is_open)
        return True


async def test_no_tool_starts_while_suspended(autojump_clock: MockClock) -> None:
    """A tool that is called while its node is suspended starts when the node is live again."""
    registry, names = Agents(), list[str]()
    send, receive = trio.open_memory_channel[str](9)

    async def calls(run: Any) -> None:
        """Call a tool for each name."""
        async for name in receive:
            await run.call_tool(tool, name=name)

    async def tool(name: str) -> None:
        """Note the name."""
        names.append(name)

    registry.add(calls)
    async with cluster("a", agents=registry) as (_, (a,)):
        a.log.gate = StateGate(a)
        handle = await a.sessions.get("ann", "s1")
        await handle.start("calls")
        send.send_nowait("one")
        await eventually(lambda: names == ["one"])
        a.node.state = NodeState.SUSPENDED
        send.send_nowait("two")
        await trio.sleep(20)
        assert names == ["one"]
        a.node.state = NodeState.LIVE
        await eventually(lambda: names == ["one", "two"])


async def test_a_run_knows_its_fence(autojump_clock: MockClock) -> None:
    """``run.fence`` is the token of the user's present owner, and None without a cluster."""
    registry, fences = Agents(), list[str | None]()

    async def looks(run: Any) -> None:
        """Note the fence."""
        fences.append(run.fence)

    registry.add(looks)
    async with cluster("a", agents=registry) as (engine, (a,)):
        for gate in (None, StateGate(a)):
            a.log.gate = gate
            await (await a.sessions.get("ann", "s1")).start("looks")
            await eventually(lambda: len(fences) == 1 + (a.log.gate is not None))
        assert fences == [None, str(engine.tokens["ann"])]
