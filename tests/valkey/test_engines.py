"""Owners, members and bus on a real Valkey server, and nodes on them: claims, burials, deaf channels, lost data."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import _valkey
import attrs
import pytest
import trio
from _cluster_engine import joined
from _scale import scaled

from actors.cluster._settings import ClusterSettings
from actors.cluster.interfaces import Gap, Incarnation, Message, NodeInfo, NodeState, Push, Token
from actors.cluster.on_valkey import valkey_node
from actors.errors import Fenced, LogUnavailable
from actors.eventlog import ValkeyOptions
from actors.eventlog.base import Batch, StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.events.grammar import Grammar
from actors.events.line import build_line, envelope
from actors.streams._record import DoneCommands, encode_record
from actors.valkey.address import parse_address
from actors.valkey.bus import ValkeyBus
from actors.valkey.members import ValkeyMembers
from actors.valkey.owners import ValkeyOwners
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from actors.cluster.node import ClusterNode

USERS = scaled(20, 1000)
"""Number of users whose runs are closed when a node is killed."""
LIMIT = 60
A, B = Incarnation("a", 0, 1), Incarnation("b", 0, 2)
KEY = StreamKey("ü/1", "s s")


@pytest.fixture(scope="module")
def shared() -> Iterator[_valkey.Server]:
    """One server for all tests. Each test begins with an empty one."""
    with _valkey.Server() as server:
        yield server


@pytest.fixture
async def valkey(shared: _valkey.Server) -> AsyncIterator[Valkey]:
    shared.ask("FLUSHALL")
    with trio.fail_after(LIMIT):
        async with Valkey(parse_address(shared.url), seconds=LIMIT) as valkey:
            yield valkey


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds. Only the time limit of the test ends this."""
    while not condition():
        await trio.lowlevel.checkpoint()


# Owners


async def test_claims_compare_and_set(valkey: Valkey) -> None:
    """A claim succeeds only if the token is the expected one, and returns the token there."""
    owners = ValkeyOwners(valkey)
    assert await owners.owner_of("ü/1") is None
    assert await owners.claim("ü/1", None, Token(1, A)) == Token(1, A)
    assert await owners.claim("ü/1", None, Token(1, B)) == Token(1, A)
    assert await owners.claim("ü/1", Token(1, A), Token(2, B)) == Token(2, B)
    assert await owners.owner_of("ü/1") == Token(2, B)
    assert await owners.claim("v", Token(5, A), Token(6, B)) is None


async def test_release_compares(valkey: Valkey) -> None:
    """A release succeeds only with the stored token, and keeps the term."""
    owners = ValkeyOwners(valkey)
    await owners.claim("u", None, Token(7, A))
    assert not await owners.release("u", Token(7, B))
    assert await owners.release("u", Token(7, A))
    assert await owners.owner_of("u") == Token(7, None)
    assert await owners.claim("u", Token(7, None), Token(8, B)) == Token(8, B)


async def test_open_streams_are_found(shared: _valkey.Server, valkey: Valkey) -> None:
    """A stream is in the set of its partition from the start of its run until the run is closed."""
    owners = ValkeyOwners(valkey)
    async with ValkeyLog(parse_address(shared.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
        log.opens = lambda state: b"run" in state
        await log.make(KEY)
        await log.append([Batch(KEY, 1, [b'{"seq":1,"ts":1}'], b'"run"')])
        assert [await owners.open_of(part) for part in range(owners.partitions) if await owners.open_of(part)] == [
            [KEY]
        ]
        assert await owners.open_of(owners.partition_of(KEY.user)) == [KEY]
        await log.append([Batch(KEY, 2, [b'{"seq":2,"ts":1}'], b'""')])
        assert await owners.open_of(owners.partition_of(KEY.user)) == []


# Members


async def test_beats_register_and_count(valkey: Valkey) -> None:
    """A beat registers a node only with ``join``, counts on, and shows all nodes, and the server's time of day."""
    members, before = ValkeyMembers(valkey), time.time_ns() // 1_000_000
    assert (await members.beat(A, "", join=False)).registered is False
    assert (await members.beat(A, "hello to you", join=True)).nodes == (NodeInfo(A, 1, "hello to you"),)
    answer = await members.beat(B, "", join=True)
    assert answer.time_ms in range(before, time.time_ns() // 1_000_000 + 1)
    assert set(answer.nodes) == {NodeInfo(A, 1, "hello to you"), NodeInfo(B, 1, "")}
    assert set((await members.beat(A, "", join=False)).nodes) == {NodeInfo(A, 2, ""), NodeInfo(B, 1, "")}


async def test_name_in_use_is_shown(valkey: Valkey) -> None:
    """A beat of another incarnation of a registered name is refused, with the one that has the name."""
    members, twin = ValkeyMembers(valkey), Incarnation("a", 0, 99)
    await members.beat(A, "x", join=True)
    answer = await members.beat(twin, "", join=True)
    assert (answer.registered, answer.nodes) == (False, (NodeInfo(A, 1, "x"),))


async def test_burial_compares(valkey: Valkey) -> None:
    """A node is buried only if it has not moved, and its next beat tells it."""
    members = ValkeyMembers(valkey)
    await members.beat(A, "", join=True)
    await members.beat(A, "", join=False)
    assert not await members.bury(NodeInfo(A, 1))
    assert not await members.bury(NodeInfo(B, 2))
    assert await members.bury(NodeInfo(A, 2))
    assert not await members.bury(NodeInfo(A, 2))
    assert (await members.beat(A, "", join=False)).registered is False


async def test_leaving_compares(valkey: Valkey) -> None:
    """A node removes its own incarnation, and not a later one of its name."""
    members = ValkeyMembers(valkey)
    await members.beat(A, "", join=True)
    await members.leave(Incarnation("a", 0, 99))
    assert (await members.beat(A, "", join=False)).registered
    await members.leave(A)
    assert (await members.beat(A, "", join=False)).registered is False


# Bus


async def received(bus: ValkeyBus, count: int) -> list[Message | Push | Gap]:
    """Return the next items of a bus, at least ``count``."""
    items: list[Message | Push | Gap] = []
    while len(items) < count:
        items += await bus.receive()
    return items


async def listening(valkey: Valkey, node: str, incarnation: Incarnation, room: int = 1000) -> ValkeyBus:
    """Return a bus whose channel is open."""
    bus = ValkeyBus(valkey, node, lambda: incarnation, room=room)
    bus.open()
    assert await received(bus, 1) == [Gap(None)]
    return bus


async def test_messages_arrive_in_order(valkey: Valkey) -> None:
    """Messages of one node arrive in the order in which they were sent, whatever bytes they have."""
    b = await listening(valkey, "b", B)
    a = ValkeyBus(valkey, "a", lambda: A)
    bodies = [b"", b"\n\0\n", *(b"%d" % number for number in range(20))]
    async with trio.open_nursery() as nursery:
        for body in bodies:
            nursery.start_soon(a.send, [("b", body)])
            await trio.lowlevel.checkpoint()
    assert await received(b, len(bodies)) == [Message(A, body) for body in bodies]


async def test_messages_that_are_sent_at_once(valkey: Valkey) -> None:
    """Messages that are sent at once arrive in their order, and each receiver counts its own without a gap."""
    b, c = await listening(valkey, "b", B), await listening(valkey, "c", Incarnation("c", 1, 1), 100_000)
    messages = [("bc"[number % 2], b"%d" % number) for number in range(300)]
    before = valkey.reads.commands
    assert await ValkeyBus(valkey, "a", lambda: A).send(messages) == 0
    assert valkey.reads.commands - before == len(messages)
    for name, bus in (("b", b), ("c", c)):
        bodies = [body for node, body in messages if node == name]
        assert await received(bus, len(bodies)) == [Message(A, body) for body in bodies]


async def test_missing_receiver_is_noticed(valkey: Valkey) -> None:
    """Messages to a node that does not listen are counted as lost."""
    a = ValkeyBus(valkey, "a", lambda: A)
    assert await a.send([("b", b"x")]) == 1
    b = await listening(valkey, "b", B)
    assert await a.send([("b", b"y"), ("c", b"z")]) == 1
    # The first message was lost, and the second says so.
    assert await received(b, 2) == [Gap(A), Message(A, b"y")]


async def test_lost_messages_are_noticed(shared: _valkey.Server, valkey: Valkey) -> None:
    """A gap in the counter of a sender is returned before its next message."""
    b = await listening(valkey, "b", B)
    for count in (1, 2, 4, 5):
        await valkey.publish([("gr:n:b", b"msg %b %d\n" % (str(A).encode(), count))])
    assert await received(b, 5) == [Message(A, b"")] * 2 + [Gap(A)] + [Message(A, b"")] * 2


async def test_new_incarnation_counts_anew(valkey: Valkey) -> None:
    """The messages of a later incarnation of a node are counted from 1."""
    b, later = await listening(valkey, "b", B), Incarnation("a", 5, 5)
    for who, count in ((A, 1), (later, 1), (later, 2)):
        await valkey.publish([("gr:n:b", b"msg %b %d\n" % (str(who).encode(), count))])
    assert await received(b, 3) == [Message(A, b""), Message(later, b""), Message(later, b"")]


async def test_pushes_arrive_and_are_counted(shared: _valkey.Server, valkey: Valkey) -> None:
    """A commit sends its batches to each node that watches them, counted apart from messages."""
    b = await listening(valkey, "b", B)
    async with ValkeyLog(parse_address(shared.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
        log.watchers.sender = str(A)
        log.watchers.channels[KEY] = (valkey.keys.channel("b"),)
        await log.make(KEY)
        await log.append([Batch(KEY, 1, [b'{"seq":1,"ts":1}'], b"")])
        await ValkeyBus(valkey, "a", lambda: A).send([("b", b"x")])
        log.watchers.header(valkey.keys.channel("b"))  # this message is never sent
        await log.append([Batch(KEY, 2, [b'{"seq":2,"ts":1}'], b"")])
    first, *rest = await received(b, 4)
    assert isinstance(first, Push)
    assert first.sender == A
    assert first.body.endswith(b'{"seq":1,"ts":1}')
    assert [type(item) for item in rest] == [Message, Gap, Push]


async def test_too_many_messages_become_a_gap(valkey: Valkey) -> None:
    """If more bytes wait than there is room for, all of them are dropped, and the receiver knows."""
    b = await listening(valkey, "b", B, room=1000)
    a = ValkeyBus(valkey, "a", lambda: A)
    await a.send([("b", bytes(1000))])
    await a.send([("b", b"")])
    await valkey.messages.call(b"PING")
    assert await received(b, 2) == [Message(A, bytes(1000)), Message(A, b"")]
    await a.send([("b", bytes(1000))])
    await a.send([("b", b"1")])
    await valkey.messages.call(b"PING")
    assert await received(b, 1) == [Gap(None)]


async def test_lost_connection_is_a_gap(valkey: Valkey) -> None:
    """After the channel was connected anew, messages may be missing, and later ones arrive."""
    b = await listening(valkey, "b", B)
    b.reconnect()
    assert await received(b, 1) == [Gap(None)]
    a = ValkeyBus(valkey, "a", lambda: A)
    assert await a.send([("b", b"x")]) == 0
    assert await received(b, 1) == [Message(A, b"x")]


async def test_beats_are_heard(valkey: Valkey) -> None:
    """The server sends each beat back to the node, which notices by it that its channel works."""
    b = await listening(valkey, "b", B)
    before = b.heard_at()
    await ValkeyMembers(valkey).beat(B, "", join=True)
    await until(lambda: b.heard_at() > before)


async def test_bad_message_is_dropped(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """A message that cannot be read is logged and dropped, and later ones arrive."""
    b = await listening(valkey, "b", B)
    for bad in (b"nonsense", b"msg a/1/2 1\nx", b"msg %b x\n" % str(A).encode()):
        await valkey.publish([("gr:n:b", bad)])
    await ValkeyBus(valkey, "a", lambda: A).send([("b", b"x")])
    assert await received(b, 1) == [Message(A, b"x")]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 3


# Nodes


@attrs.define(eq=False)
class Station:
    """A node with its log and its bus."""

    log: ValkeyLog
    bus: ValkeyBus
    node: ClusterNode

    async def append(self, key: StreamKey, first: int, lines: Sequence[bytes], state: bytes = b"") -> None:
        """Append events to a stream of a user."""
        await self.log.append([Batch(key, first, lines, state)])


async def station(url: str, name: str, lease: float = 1.0, call_seconds: float = LIMIT) -> Station:
    """Return a node on a server, whose log is open."""
    log = ValkeyLog(parse_address(url), ValkeyOptions(timeout_seconds=call_seconds))
    await log.open()
    node, bus = valkey_node(log, ClusterSettings(node_name=name, lease_seconds=lease), revive=never)
    return Station(log, bus, node)


async def never(key: object) -> None:
    """Fail: no session is to be made."""
    raise AssertionError(key)


def line(seq: int) -> bytes:
    """Return an event."""
    return build_line(seq, 1, envelope("custom", None), b"{}")


async def test_old_owner_is_fenced_after_the_data_are_lost(shared: _valkey.Server, valkey: Valkey) -> None:
    """When the server lost its data, the next owner of a user writes, and the earlier one is refused."""
    a, b = await station(shared.url, "a", 60), await station(shared.url, "b", 60)
    async with trio.open_nursery() as nursery:
        await nursery.start(a.node.heart.run)
        await nursery.start(b.node.heart.run)
        await a.node.own("u")
        key = StreamKey("u", "s")
        await a.log.make(key)
        shared.ask("FLUSHALL")
        assert not await b.node.heart.look()  # it joins again with the next beat
        assert await b.node.heart.look()
        new = await b.node.own("u")
        assert new is not None
        assert (new.term, new.incarnation) == (1, b.node.incarnation)
        await b.log.make(key)
        with pytest.raises(Fenced):
            await a.append(key, 1, [line(1)])
        await b.append(key, 1, [line(1)])
        nursery.cancel_scope.cancel()
    await a.log.close()
    await b.log.close()


async def test_runs_of_a_killed_node_are_closed(shared: _valkey.Server, valkey: Valkey) -> None:
    """A node that is gone without a word is buried by another one, which closes all its runs and releases its users."""
    a = await station(shared.url, "a")
    owners, members = ValkeyOwners(valkey), ValkeyMembers(valkey)
    dead, keys = Token(3, Incarnation("dead", 0, 7)), [StreamKey(f"u{number}", "s") for number in range(USERS)]
    assert dead.incarnation is not None
    await members.beat(dead.incarnation, "", join=True)
    grammar = Grammar()
    grammar.apply("agent_started", "r", ts=1)
    state = encode_record(1, grammar.snapshot(), None, DoneCommands(1000, math.inf))
    gate, tokens = a.log.gate, a.log.tokens
    a.log.gate, a.log.tokens = None, {key.user: str(dead) for key in keys}
    for key in keys:
        await owners.claim(key.user, None, dead)
        await a.log.make(key)
        await a.append(key, 1, [build_line(1, 1, envelope("agent_started", "r"), b"{}")], state)
    a.log.tokens = tokens
    a.log.gate = gate
    async with joined(a.node):
        await until(lambda: "dead" not in a.node.nodes)
        await until(lambda: a.node.failover.taken_over == USERS)
        for key in keys:
            (line,) = await a.log.read(key, 1, 10, 10000)
            assert b'"status":"interrupted"' in line
            token = await owners.owner_of(key.user)
            assert token is not None
            assert token.incarnation is None
        assert not any([await owners.open_of(part) for part in range(owners.partitions)])
    await a.log.close()


async def test_node_survives_a_pause_of_the_server(shared: _valkey.Server, valkey: Valkey) -> None:
    """While the server stands still the node is suspended, and then it goes on with its users."""
    a = await station(shared.url, "a", call_seconds=0.5)
    async with joined(a.node):
        token = await a.node.own("u")
        first = a.node.incarnation
        shared.pause()
        try:
            await until(lambda: a.node.state is NodeState.SUSPENDED)
            with pytest.raises(LogUnavailable):
                await ValkeyOwners(a.log.valkey).owner_of("u")
        finally:
            shared.go_on()
            for link in a.log.valkey.links:
                link.seconds = LIMIT
        await until(lambda: a.node.state is NodeState.LIVE)
        assert (a.node.incarnation, await a.node.own("u")) == (first, token)
    await a.log.close()


async def test_deaf_channel_is_found(shared: _valkey.Server, valkey: Valkey) -> None:
    """A node whose channel is deaf notices that within half a lease and connects anew, though its beats work."""
    a = await station(shared.url, "a")
    async with joined(a.node):
        await received(a.bus, 1)
        shared.ask("CLIENT", "KILL", "TYPE", "pubsub")
        a.log.valkey.messages.channels.clear()  # it connects again, and subscribes to nothing
        await until(lambda: a.node.heart.deaf)
        assert a.node.unready
        a.log.valkey.messages.channels.add("gr:n:a")
        await until(lambda: not a.node.unready)
        assert a.node.heart.counters.deaf >= 1
    await a.log.close()
