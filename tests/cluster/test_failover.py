"""The failover: shares, closing events from the state alone, and the search for open runs without an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import orjson
import pytest
import trio
from _cluster_engine import Engine, MemoryBus, MemoryMembers, MemoryOwners

from actors import Agents, Sessions, Strategy, SupervisorSpec, open_system
from actors.cluster._claims import Claims
from actors.cluster._failover import SWEEP_LEASES, Failover
from actors.cluster._heart import Heart
from actors.cluster._interrupted import closing_batch, has_open_items
from actors.cluster._share import share
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import Incarnation, NodeInfo, Token
from actors.errors import LogUnavailable
from actors.eventlog import MemoryLog, StreamKey
from actors.eventlog.base import Batch, Head
from actors.events.grammar import Grammar
from actors.events.line import build_line, envelope
from actors.streams._record import DoneCommand, DoneCommands, decode_record, encode_record
from actors.testing.faulty_log import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from actors.eventlog import EventLog

DEAD, OTHER = Incarnation("dead", 0, 7), Incarnation("other", 0, 8)
LIMIT = 1024 * 1024


def opened(key: StreamKey) -> Batch:
    """Return the events of a run with a child run and a tool call that are all open, after a command that was done."""
    grammar, lines = Grammar(), list[bytes]()

    def add(event: str, run: str, call: str | None = None, parent: str | None = None) -> None:
        seq = len(lines) + 1
        grammar.apply(event, run, call, parent_run_id=parent, name=run, ts=100 * seq)
        lines.append(build_line(seq, 100 * seq, envelope(event, run, parent, call), b"{}"))

    add("agent_started", "r")
    add("agent_started", "r2", parent="r")
    add("tool_executing", "r2", call="c")
    done = DoneCommands(1000, 1e9, [DoneCommand.of("k", 100, {"run_id": "r"})[0]])
    return Batch(key, 1, lines, encode_record(300, grammar.snapshot(), None, done))


def test_shares_are_even_and_stay() -> None:
    """Users are spread over the nodes, and when one node goes only its users fall to others."""
    users = [f"u{number}" for number in range(3000)]
    before = {user: share(user, ("a", "b", "c")) for user in users}
    after = {user: share(user, ("c", "a")) for user in users}
    assert all(abs(list(before.values()).count(node) - 1000) < 120 for node in "abc")
    assert all(before[user] == after[user] for user in users if before[user] != "b")


def test_closing_events_are_innermost_first() -> None:
    """The closing events follow the newest event, close everything, and keep the commands that were done."""
    key = StreamKey("u", "s")
    batch = closing_batch(key, Head("e", 1, 3, 0, 100, opened(key).state, 300), 5000, LIMIT)
    assert batch is not None
    events = [orjson.loads(line) for line in batch.lines]
    assert [(each["seq"], each["ts"], each["type"], each["run_id"]) for each in events] == [
        (4, 5000, "tool_completed", "r2"),
        (5, 5000, "agent_completed", "r2"),
        (6, 5000, "agent_completed", "r"),
    ]
    assert [events[0]["call_id"], events[1]["parent_run_id"], events[2].get("parent_run_id")] == ["c", "r", None]
    assert {each["data"]["status"] for each in events} == {"interrupted"}
    assert [each["data"]["duration_ms"] for each in events] == [0, 100, 200]
    record = decode_record(batch.state)
    assert (record.grammar.open, record.ts) == ((), 5000)
    assert [each.command_id for each in record.done] == ["k"]


def test_closing_events_are_never_earlier() -> None:
    """The closing events are not older than the newest event, even if the clock of this node is behind."""
    key = StreamKey("u", "s")
    batch = closing_batch(key, Head("e", 1, 3, 0, 100, opened(key).state, 7000), 5000, LIMIT)
    assert batch is not None
    assert decode_record(batch.state).ts == 7000


def test_nothing_open_needs_no_events() -> None:
    """A stream without open runs gets no events."""
    assert closing_batch(StreamKey("u", "s"), Head("e", 1, 0, 0, 0, b"", 0), 5000, LIMIT) is None


def test_open_items_are_seen_in_the_state() -> None:
    """Whether runs are open is seen in a state without decoding it, in both forms of a state."""
    key, none = StreamKey("u", "s"), DoneCommands(1000, 1e9)
    done = DoneCommands(1000, 1e9, [DoneCommand.of("k", 100, {"run_id": "r"})[0]])
    assert has_open_items(opened(key).state)
    grammar = Grammar()
    for closed in (b"", *(encode_record(1, grammar.snapshot(), at, some) for at in (None, 7) for some in (none, done))):
        assert not has_open_items(closed)
    grammar.apply("agent_started", "r", ts=1)
    assert all(has_open_items(encode_record(1, grammar.snapshot(), at, none)) for at in (None, 7))


async def test_events_are_those_of_a_recovery() -> None:
    """The events are the same that the session itself appends when it is made after a crash."""
    key, log = StreamKey("u", "s"), MemoryLog()
    sessions = Sessions(log, Agents())
    async with open_system() as system:
        children = list(sessions.children())
        await system.supervise(SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=children), "sessions")
        await log.make(key)
        await log.append([opened(key)])
        batch = closing_batch(key, await log.make(key), 0, LIMIT)
        await sessions.get_or_spawn(key)
        theirs = await log.read(key, 3, 100, LIMIT)
    assert batch is not None
    assert [strip(line) for line in batch.lines] == [strip(line) for line in theirs]


def strip(line: bytes) -> dict[str, object]:
    """Return an event without its time."""
    return {name: value for name, value in orjson.loads(line).items() if name != "ts"}


@attrs.define(eq=False)
class Survivor:
    """A node that has joined, with its failover."""

    engine: Engine
    log: MemoryLog
    owners: MemoryOwners
    heart: Heart
    claims: Claims
    failover: Failover
    revived: list[StreamKey]

    async def leave_open(self, user: str, owner: Token | None) -> StreamKey:
        """Leave a run of a user open, whose token is ``owner``."""
        key = StreamKey(user, "s")
        await self.log.make(key)
        await self.log.append([opened(key)])
        if owner is not None:
            self.engine.tokens[user] = owner
        return key

    async def open_users(self) -> set[str]:
        """Return the users that have open runs."""
        return {key.user for partition in (0, 1) for key in await self.owners.open_of(partition)}


async def survivor(log: MemoryLog, per_second: int = 500, failing: EventLog | None = None) -> Survivor:
    """Return a node that has just joined. It beats only when it must look. Its failover writes to ``failing``."""
    engine, bus = Engine(), MemoryBus()
    owners = MemoryOwners(engine, log)
    heart = Heart("a", MemoryMembers(engine, bus), bus, NodeTimes(8.0), clock=trio.current_time)
    claims, revived = Claims(owners, heart), list[StreamKey]()

    async def revive(key: StreamKey) -> None:
        await trio.lowlevel.checkpoint()
        revived.append(key)

    failover = Failover(
        owners, claims, heart, failing or log, per_second=per_second, lease=8, max_event_bytes=LIMIT, revive=revive
    )
    await heart.look()
    await trio.sleep(0.1)
    return Survivor(engine, log, owners, heart, claims, failover, revived)


async def test_runs_of_dead_nodes_are_closed(autojump_clock: MockClock) -> None:
    """The runs of a dead, a released and an unknown owner are closed and released; those of a living node are not."""
    async with MemoryLog() as log:
        a = await survivor(log)
        await a.leave_open("u", Token(3, DEAD))
        await a.leave_open("uu", Token(3, None))
        await a.leave_open("uuu", None)
        await a.leave_open("alive", Token(3, Incarnation("a", 0, 1)))
        a.engine.nodes["other"] = NodeInfo(OTHER, 1)
        await a.heart.look()
        a.engine.tokens["alive"] = Token(3, OTHER)
        taking = [user for user in ("u", "uu", "uuu") if share(user, ("a", "other")) == "a"]
        await a.failover.sweep()
        assert await a.open_users() == {"u", "uu", "uuu", "alive"} - {*taking}
        assert a.failover.taken_over == len(taking)
        del a.engine.nodes["other"]
        await a.heart.look()
        await a.failover.sweep()
        assert await a.open_users() == set()
        assert a.claims.owned == {}
        assert {user: token.incarnation for user, token in a.engine.tokens.items()} == dict.fromkeys(a.engine.tokens)


async def test_closed_runs_are_counted_once(autojump_clock: MockClock) -> None:
    """Runs and tool calls that the failover closes are counted when that is committed, and not again."""
    async with MemoryLog() as inner:
        log = FaultyLog(inner)
        a = await survivor(inner, failing=log)
        await a.leave_open("u", Token(3, DEAD))
        log.fail("append")
        for _ in range(3):
            await a.failover.sweep()
        counted = a.failover.meter.statistics()
        assert counted.runs == {("r", "interrupted"): 1, ("r2", "interrupted"): 1}
        assert {tool: calls.counts for tool, calls in counted.tool_seconds.items()}.keys() == {("r2", "interrupted")}
        assert counted.run_seconds["r"].seconds == 0.2


async def test_own_users_are_revived(autojump_clock: MockClock) -> None:
    """Open runs of a user that the node has claimed are closed by the session itself, which is made for that."""
    async with MemoryLog() as log:
        a = await survivor(log)
        key = await a.leave_open("u", None)
        await a.claims.own("u")
        await a.failover.sweep()
        assert a.revived == [key]
        assert await a.open_users() == {"u"}
        assert a.engine.tokens["u"].incarnation == a.heart.incarnation


async def test_failover_keeps_its_rate(autojump_clock: MockClock) -> None:
    """At most ``failover_per_second`` users are taken over per second."""
    async with MemoryLog() as log:
        a = await survivor(log, per_second=50)
        for number in range(120):
            await a.leave_open(f"u{number}", Token(1, DEAD))
        begun = trio.current_time()
        await a.failover.sweep()
        assert trio.current_time() - begun == pytest.approx(120 / 50)
        assert a.failover.taken_over == 120


async def test_one_bad_stream_stops_nobody(autojump_clock: MockClock) -> None:
    """A user whose stream is damaged does not keep the others from being closed."""
    async with MemoryLog() as log:
        a = await survivor(log)
        await a.leave_open("u", Token(1, DEAD))
        await a.leave_open("uu", Token(1, DEAD))
        append = log.append

        async def damaged(batches: Sequence[Batch]) -> None:
            if batches[0].key.user == "u":
                raise LogUnavailable("refused")
            await append(batches)

        log.append = damaged  # type: ignore[method-assign]  # a fault
        await a.failover.sweep()
        assert await a.open_users() == {"u"}


async def test_search_follows_changes_and_repeats(autojump_clock: MockClock) -> None:
    """The search begins when a node goes, and again after some leases."""
    async with MemoryLog() as log:
        a = await survivor(log)
        a.engine.nodes["dead"] = NodeInfo(DEAD, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.heart.run)
            nursery.start_soon(a.failover.run)
            await trio.sleep(1)
            await a.leave_open("u", Token(1, DEAD))
            await trio.sleep(13)
            assert await a.open_users() == set()
            await a.leave_open("v", Token(1, None))
            await trio.sleep(SWEEP_LEASES * 8 - 10)
            assert await a.open_users() == {"v"}
            await trio.sleep(20)
            assert await a.open_users() == set()
            nursery.cancel_scope.cancel()


async def test_failed_search_is_repeated(autojump_clock: MockClock) -> None:
    """A search that the engine interrupts is repeated soon."""
    async with MemoryLog() as log:
        a = await survivor(log)
        await a.leave_open("u", Token(1, DEAD))
        streams, failures = log.streams, [1, 2]

        async def failing(after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
            if failures:
                failures.pop()
                raise LogUnavailable("away")
            return await streams(after, limit)

        log.streams = failing  # type: ignore[method-assign]  # a fault
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.heart.run)
            nursery.start_soon(a.failover.run)
            a.failover.wake()
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert await a.open_users() == set()


async def test_closed_runs_are_told(autojump_clock: MockClock) -> None:
    """A stream that got events which close its runs is told to the consumers of the node that closed them."""
    async with MemoryLog() as log:
        a = await survivor(log)
        key, told = await a.leave_open("u", Token(3, DEAD)), list[StreamKey]()
        a.failover.on_closed.append(told.append)
        await a.failover.sweep()
        await a.failover.sweep()
        assert told == [key]
