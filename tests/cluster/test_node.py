"""The node of a process: its beats and its channel, under virtual time, on an engine in memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _cluster_engine import Engine, MemoryBus, MemoryMembers, MemoryOwners, joined

from actors import open_system
from actors.cluster._settings import ClusterSettings
from actors.cluster.interfaces import Incarnation, NodeInfo, NodeState
from actors.cluster.node import ClusterNode, NodeKeeper
from actors.errors import ConfigError
from actors.eventlog import MemoryLog

if TYPE_CHECKING:
    from trio.testing import MockClock

NOBODY = Incarnation("gone", 0, 9)


@attrs.define(eq=False)
class Station:
    """A node with its engine, and all that its callbacks were told."""

    engine: Engine
    members: MemoryMembers
    bus: MemoryBus
    node: ClusterNode
    told: list[Any] = attrs.field(factory=list[Any])


def station(engine: Engine, name: str = "a", lag: list[float] | None = None) -> Station:
    """Return a node on an engine. ``lag`` has the number of seconds by which its clock is ahead."""
    bus = MemoryBus()
    members = MemoryMembers(engine, bus)
    ahead = lag or [0.0]
    node = ClusterNode(
        MemoryOwners(engine),
        members,
        bus,
        MemoryLog(),
        ClusterSettings(node_name=name),
        revive=never,
        clock=lambda: trio.current_time() + ahead[0],
    )
    # Only the beats are of interest here: the failover has tests of its own.
    node.failover.run = trio.sleep_forever  # type: ignore[method-assign]  # a fault
    made = Station(engine, members, bus, node)
    node.heart.on_state.append(lambda state: made.told.append((trio.current_time(), state)))
    node.heart.on_buried.append(lambda: made.told.append("buried"))
    node.heart.on_nodes.append(lambda: made.told.append(sorted(node.nodes)))
    return made


async def never(key: object) -> None:
    """Fail: no session is to be made."""
    raise AssertionError(key)


async def test_node_joins_and_leaves(autojump_clock: MockClock) -> None:
    """A node is registered while it runs, and removes itself at its end."""
    a = station(Engine())
    assert a.node.unready == "the node has not joined the cluster yet"
    async with joined(a.node):
        assert (a.node.state, a.node.unready) == (NodeState.LIVE, "")
        assert list(a.engine.nodes) == ["a"]
    assert a.engine.nodes == {}
    assert a.node.heart.state is NodeState.STOPPED
    assert a.node.unready == "the node has left the cluster"


async def test_beats_come_every_quarter_lease(autojump_clock: MockClock) -> None:
    """A node beats every quarter of the lease, at a fixed rate, however long an answer takes."""
    a = station(Engine())
    a.members.takes = 0.5
    async with joined(a.node):
        await trio.sleep(19.9)
        assert a.engine.nodes["a"].beat == 10


async def test_outage_suspends_and_buries_nobody(autojump_clock: MockClock) -> None:
    """After three quarters of a lease without an answer a node is suspended; with the next answer it goes on."""
    engine = Engine()
    a, b = station(engine), station(engine, "b")
    async with trio.open_nursery() as nursery:
        await nursery.start(a.node.run)
        await nursery.start(b.node.run)
        first = a.node.incarnation
        await trio.sleep(1)
        engine.up = False
        await trio.sleep(60)
        assert a.node.state is NodeState.SUSPENDED
        assert a.node.unready == "the node is cut off from the server of its log"
        engine.up = True
        await trio.sleep(3)
        assert a.node.heart.state is NodeState.LIVE
        assert a.node.incarnation == first
        nursery.cancel_scope.cancel()
    assert a.told == [["a"], (0, "live"), (6, "suspended"), ["a", "b"], (62, "live")]
    assert (a.node.statistics().buried, a.node.statistics().burials) == (0, 0)


async def test_dead_node_is_buried(autojump_clock: MockClock) -> None:
    """A node that dies is removed within one and a half leases, and all callbacks are told."""
    engine = Engine()
    engine.nodes["gone"] = NodeInfo(NOBODY, 5)
    a = station(engine)
    async with joined(a.node):
        await trio.sleep(7.9)
        assert "gone" in engine.nodes
        await trio.sleep(4.1)
        assert a.told == [["a", "gone"], (0, "live"), ["a"]]
        assert a.node.statistics().buried == 1


async def test_buried_node_joins_anew(autojump_clock: MockClock) -> None:
    """A node that was buried loses its users, and joins with a new incarnation."""
    a = station(Engine())
    async with joined(a.node):
        first = a.node.incarnation
        assert await a.node.own("u") is not None
        a.engine.nodes.clear()
        await trio.sleep(4.5)
        assert a.node.state is NodeState.LIVE
        assert a.node.incarnation != first
        assert a.node.claims.owned == {}
        assert "buried" in a.told
        assert a.node.statistics().burials == 1


async def test_state_is_right_after_a_pause(autojump_clock: MockClock) -> None:
    """In its first step after a pause, before any task of the node could run, the node knows that it is suspended."""
    lag = [0.0]
    a = station(Engine(), lag=lag)
    async with joined(a.node):
        lag[0] = 100.0
        assert a.node.state is NodeState.SUSPENDED
        assert await a.node.own("u") is None


async def test_slow_answers_do_not_delay_the_beats(autojump_clock: MockClock) -> None:
    """A beat that is not answered within a quarter of the lease counts as missed."""
    a = station(Engine())
    async with joined(a.node):
        a.members.takes = 100
        await trio.sleep(9)
        assert a.node.state is NodeState.SUSPENDED
        a.members.takes = 0
        await trio.sleep(2)
        assert a.node.heart.state is NodeState.LIVE


async def test_equal_names_are_refused(autojump_clock: MockClock) -> None:
    """A node whose name another living node has fails at its start."""
    engine = Engine()
    a, twin = station(engine), station(engine)
    async with joined(a.node):
        with pytest.RaisesGroup(ConfigError, flatten_subgroups=True):
            await twin.node.run()
        assert engine.nodes["a"].incarnation == a.node.incarnation


async def test_restarted_node_waits_for_its_dead_predecessor(autojump_clock: MockClock) -> None:
    """A process with the name of a dead node joins when the dead node is buried, within one and a half leases."""
    engine = Engine()
    engine.nodes["a"] = NodeInfo(Incarnation("a", 0, 9), 5)
    a = station(engine)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(12):
            await nursery.start(a.node.run)
        assert engine.nodes["a"].incarnation == a.node.incarnation
        nursery.cancel_scope.cancel()


async def test_deaf_channel_is_connected_anew(autojump_clock: MockClock) -> None:
    """A node that hears nothing though its beats are answered connects its channel anew. Meanwhile it is not ready."""
    a = station(Engine())
    async with joined(a.node):
        await trio.sleep(10.5)
        assert (a.bus.reconnects, a.node.unready) == ([], "")
        a.bus.is_deaf = True
        await trio.sleep(4)
        assert a.bus.reconnects == [14.25]
        assert a.node.unready == "the node does not hear the other nodes"
        await trio.sleep(4)
        assert a.node.unready == ""
        assert a.bus.reconnects == [14.25]


async def test_slow_channel_is_not_dropped(autojump_clock: MockClock) -> None:
    """A channel that takes longer than some beats to connect is heard in the end: each attempt gets twice the time."""
    a = station(Engine())
    async with joined(a.node):
        a.bus.connecting = 10.0  # five beats
        a.bus.is_deaf = True
        await trio.sleep(60)
        assert len(a.bus.reconnects) == 4
        assert a.node.unready == ""


async def test_outage_is_not_deafness(autojump_clock: MockClock) -> None:
    """While beats are not answered, the node does not connect its channel anew: the link does that by itself."""
    a = station(Engine())
    async with joined(a.node):
        a.engine.up = False
        await trio.sleep(30)
        assert a.bus.reconnects == []


async def test_looks_are_shared(autojump_clock: MockClock) -> None:
    """Many tasks that want a look at the same time cause one beat, and each gets one that was sent after its call."""
    a = station(Engine())
    async with joined(a.node):
        await trio.sleep(1)
        a.members.takes = 0.1
        before = a.engine.nodes["a"].beat
        async with trio.open_nursery() as callers:
            for _ in range(10):
                callers.start_soon(a.node.heart.look)
        assert a.engine.nodes["a"].beat <= before + 2


async def test_stopped_node_runs_again(autojump_clock: MockClock) -> None:
    """After a failure the node can be started again. It has a new incarnation and no users."""
    a = station(Engine())
    seen = []
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(a.node.run)
            seen.append(a.node.incarnation)
            assert a.node.claims.owned == {}
            await a.node.own("u")
            nursery.cancel_scope.cancel()
    assert seen[0] != seen[1]


async def test_wait_for_an_earlier_life_is_logged(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    """A node whose name an earlier life still has tells for whom it waits, and at the end for how long."""
    caplog.set_level(logging.INFO, "greenroom.cluster")
    engine, before = Engine(), Incarnation("a", 0, 9)
    engine.nodes["a"] = NodeInfo(before, 5)
    async with joined(station(engine).node):
        waited = trio.current_time()
    waits = [record.getMessage() for record in caplog.records if "wait" in record.getMessage()]
    text = f"waiting for {before}, which has the name of this node: it is removed after 8 to 12 s of silence"
    assert waits == [text]
    assert f"the name a was free after {waited:.1f} s" in caplog.messages
    assert 8 <= waited <= 12


async def test_node_leaves_after_the_last_commit(autojump_clock: MockClock) -> None:
    """A node that is stopped stays in the cluster until the events of its sessions are in the log."""
    a, committed = station(Engine()), trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        keeper = await system.spawn(NodeKeeper, a.node, committed.wait, name="node")
        nursery.start_soon(keeper.stop)
        await trio.sleep(1)
        assert list(a.engine.nodes) == ["a"]
        committed.set()
    assert a.engine.nodes == {}
