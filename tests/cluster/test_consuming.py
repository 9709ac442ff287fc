"""Consumers in a cluster: an event is consumed at one node, also when users move. None is skipped when a node dies."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio
from _cluster_nodes import Tab, cluster, eventually
from _valkey import Server as Valkey

from actors import ConsumerPosition, Observed, StreamKey
from actors.cluster import _consuming
from actors.cluster._share import share
from actors.cluster.interfaces import NodeState
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest
    from _cluster_nodes import Server
    from trio.testing import MockClock

SECONDS = 60
"""Time limit of a test with a real server."""


@attrs.define(eq=False)
class Reader:
    """A consumer of one node, and all that it got. While ``gate`` is closed, it handles its present item."""

    got: list[tuple[str, int]] = attrs.Factory(list[tuple[str, int]])
    gate: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(self, server: Server, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Consume until cancelled."""
        with self.scope:
            async with server.sessions.consumers.consume("billing", ("custom",), from_start=True) as consumer:
                task_status.started()
                async for item in consumer:
                    assert isinstance(item, Observed)
                    self.got.append((item.user, cast("int", item.event.data["value"])))
                    await self.gate.wait()


@asynccontextmanager
async def readers(*servers: Server, handling: bool = False) -> AsyncGenerator[list[Reader]]:
    """Run a consumer of one name on each node. With ``handling``, each keeps its first item in hand."""
    async with trio.open_nursery() as nursery:
        made = [Reader() for _ in servers]
        for reader, server in zip(made, servers, strict=True):
            if not handling:
                reader.gate.set()
            await nursery.start(reader.run, server)
        yield made
        nursery.cancel_scope.cancel()


async def emit(server: Server, user: str, *values: int) -> None:
    """Emit events in session ``s1`` of a user, by way of this node."""
    handle = await server.sessions.get(user, "s1")
    for value in values:
        await handle.emit("number", value)


async def test_each_event_is_consumed_once(autojump_clock: MockClock) -> None:
    """With a consumer of one name on each node, an event comes at the node that owns its user, and nowhere else."""
    async with cluster("a", "b") as (_, (a, b)), readers(a, b) as (first, second):
        await emit(a, "ann", 1)
        await emit(b, "bob", 2)
        await emit(b, "ann", 3)
        await eventually(lambda: len(first.got) + len(second.got) == 3)
        await trio.sleep(2 * _consuming.SEARCH_SECONDS)
        assert sorted(first.got + second.got) == [("ann", 1), ("ann", 3), ("bob", 2)]
        assert ("bob", 2) in second.got


async def test_user_that_moves_and_comes_back(autojump_clock: MockClock) -> None:
    """The consumer of the new owner begins behind the last handled event, and so does that of the first owner later."""
    async with cluster("a", "b") as (engine, (a, b)), readers(a, b) as (first, second):
        await emit(a, "ann", 1, 2)
        await eventually(lambda: len(first.got) == 2)
        await emit(b, "ann", 3, 4)  # ann is idle, so she moves to the node that is asked
        await eventually(lambda: second.got)
        assert engine.tokens["ann"].incarnation == b.node.incarnation
        await emit(a, "ann", 5)
        await eventually(lambda: len(first.got) == 3)
        await trio.sleep(2 * _consuming.SEARCH_SECONDS)
        assert engine.tokens["ann"].incarnation == a.node.incarnation
        assert (first.got, second.got) == ([("ann", n) for n in (1, 2, 5)], [("ann", 3), ("ann", 4)])


async def test_event_in_hand_keeps_its_user(autojump_clock: MockClock) -> None:
    """While a consumer handles an event, its user does not move, so that no other node gets the same event."""
    async with cluster("a", "b") as (engine, (a, b)), readers(a, b, handling=True) as (first, second):
        await emit(a, "ann", 1)
        await eventually(lambda: first.got)
        tab = Tab()
        await tab.attach(b)
        assert engine.tokens["ann"].incarnation == a.node.incarnation
        tab.attachment.detach()
        first.gate.set()
        second.gate.set()
        await trio.sleep(2)
        await emit(b, "ann", 2)
        await eventually(lambda: second.got)
        assert (first.got, second.got) == ([("ann", 1)], [("ann", 2)])


async def test_events_of_a_dead_node(autojump_clock: MockClock) -> None:
    """The events that a dead node had not handled come at one of the others, and the one in its hands comes again."""
    async with cluster("a", "b", "c") as (engine, (a, b, c)), readers(a, handling=True) as (dead,):
        for user in ("ann", "bob", "eve"):
            await emit(a, user, 1, 2)
        await eventually(lambda: dead.got)
        async with readers(b, c) as living:
            await trio.sleep(1)
            assert [each.got for each in living] == [[], []]
            dead.scope.cancel()
            a.node.state = NodeState.STOPPED
            del engine.nodes["a"]
            for node in (b, c):
                node.router.on_node()
            await eventually(lambda: sum(len(each.got) for each in living) == 6)
            for name, each in zip("bc", living, strict=True):
                assert {share(user, "bc") for user, _ in each.got} <= {name}
                for user in {user for user, _ in each.got}:
                    assert [value for who, value in each.got if who == user] == [1, 2]


async def test_user_whom_no_node_has(autojump_clock: MockClock) -> None:
    """Events of a user whom a node gave up for another one that did not come are found by a later search."""
    user = next(name for name in map(str, range(100)) if share(name, "ab") == "b")
    async with cluster("a", "b") as (engine, (a, b)):
        await emit(a, user, 1)
        await trio.sleep(1)
        async with readers(b) as (reader,):
            await trio.sleep(2 * _consuming.SEARCH_SECONDS)
            assert reader.got == []
            assert await a.router.owned.give_up(user)
            await trio.sleep(2 * _consuming.SEARCH_SECONDS)
            assert reader.got == [(user, 1)]
            assert engine.tokens[user].incarnation == b.node.incarnation


async def test_suspended_node_consumes_nothing(autojump_clock: MockClock) -> None:
    """While its node is cut off, a consumer gets no item: another node may have the user. Then it goes on."""
    async with cluster("a") as (_, (a,)), readers(a, handling=True) as (reader,):
        await emit(a, "ann", 1, 2, 3)
        await eventually(lambda: reader.got)
        a.node.state = NodeState.SUSPENDED
        reader.gate.set()
        await trio.sleep(60)
        assert reader.got == [("ann", 1)]
        a.node.state = NodeState.LIVE
        await eventually(lambda: len(reader.got) == 3)
        assert reader.got == [("ann", 1), ("ann", 2), ("ann", 3)]


async def test_failing_log_keeps_the_user(autojump_clock: MockClock) -> None:
    """A user does not move while the positions of a consumer cannot be stored: its events would come again."""
    async with cluster("a", "b") as (engine, (a, b)), readers(a, handling=True) as (reader,):
        await emit(a, "ann", 1)
        await emit(a, "bob", 2)
        await eventually(lambda: reader.got)
        held, reader.gate = reader.gate, trio.Event()
        held.set()
        await eventually(lambda: len(reader.got) == 2)
        a.log.fail("acknowledge")
        await Tab().attach(b, "ann")
        assert engine.tokens["ann"].incarnation == a.node.incarnation
        reader.gate.set()


async def test_new_consumer_of_two_nodes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If two nodes begin a new consumer at the same time, the slower one moves no position of the faster one."""
    with trio.fail_after(SECONDS), Valkey() as server:
        slow, fast = (ValkeyLog(parse_address(server.url)) for _ in range(2))
        async with slow, fast:
            key, late = StreamKey("ann", "s1"), StreamKey("ann", "s2")
            await slow.make(key)
            await slow.append([event_batch(key, 1, 2)])
            ask: Any = slow._ask  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the moment between two calls

            async def first_fast(*args: Any) -> Any:
                answer = await ask(*args)
                if args[0] == b"SISMEMBER":
                    monkeypatch.undo()
                    assert await fast.start_consumer("c", from_start=False) == 0
                    await fast.make(late)
                    await fast.append([event_batch(key, 3, 1), event_batch(late, 1, 1)])
                return answer

            monkeypatch.setattr(slow, "_ask", first_fast)
            assert await slow.start_consumer("c", from_start=False) == 0
            assert list(await slow.unread_streams("c", None, 9)) == [key, late]
            found = await slow.consumer_positions("c", [key, late])
            assert [each.seq for each in found] == [2, 0]
            await slow.acknowledge("c", [ConsumerPosition(key, found[0].epoch, 3)])
            await slow.remove_consumer("c")
            await fast.start_consumer("c", from_start=True)
            assert list(await slow.unread_streams("c", None, 9)) == [key, late]
