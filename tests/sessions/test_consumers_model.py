"""Whatever happens, a consumer skips no event and keeps the order: random commits, restarts and kills, also kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio
from _processes import started
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Agents, Observed, Sessions, SessionSettings, SqliteLog, StreamKey, SupervisorSpec, open_system
from actors.sessions import _consumer_marks

if TYPE_CHECKING:
    from actors import Consumer

EMIT, TAKE, ACK, CLOSE, KILL, RESTART, TRIM = "emit", "take", "ack", "close", "kill", "restart", "trim"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(EMIT), st.integers(0, 2), st.integers(1, 7)),
        st.tuples(st.just(TAKE), st.just(0), st.integers(1, 9)),
        st.tuples(st.sampled_from([ACK, CLOSE, KILL, RESTART, TRIM]), st.integers(0, 2), st.just(0)),
    ),
    max_size=14,
)


class World:
    """A server with a consumer, and what the consumer must have done.

    Two sessions fit into memory and three are used, so each of them leaves memory now and then. The log keeps two
    events of a session, and those that the consumer has not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.committed: dict[str, int] = defaultdict(int)
        self.acknowledged: dict[str, int] = defaultdict(int)
        self.taken: dict[str, int] = {}
        """The last event of each session that the present consumer has returned."""
        self.is_exact = True
        """Whether the present consumer may return no event that was acknowledged before it began."""
        self.handled: tuple[str, int] | None = None
        self.server = AsyncExitStack()

    async def start(self) -> None:
        self.server = AsyncExitStack()
        limits = SessionSettings(max_sessions=2, retain_events=2, ring_events=1)
        self.sessions = Sessions(SqliteLog(self.path), Agents(), limits)
        system = await self.server.enter_async_context(open_system())
        await system.supervise(SupervisorSpec("rest_for_one", children=self.sessions.children()))
        self.committing = self.sessions.observers.observe(())
        self.consumer = await self.begin(is_exact=True)

    async def begin(self, *, is_exact: bool) -> Consumer:
        self.taken, self.handled, self.is_exact = {}, None, is_exact
        return await self.sessions.consumers.consume("billing", from_start=True).__aenter__()

    async def emit(self, session: str, count: int) -> None:
        handle = await self.sessions.get("alice", session)
        for _ in range(count):
            await handle.emit("n")
            await anext(self.committing)
        self.committed[session] += count

    async def take(self, count: int) -> None:
        for _ in range(min(count, self.unread())):
            item = await anext(self.consumer)
            self.settle()
            assert isinstance(item, Observed), "no event may be missing"
            before = self.taken.get(item.session)
            first = self.acknowledged[item.session] + 1
            if before is not None:
                assert item.event.seq == before + 1
            else:
                assert item.event.seq == first if self.is_exact else item.event.seq <= first
            self.taken[item.session] = item.event.seq
            self.handled = item.session, item.event.seq

    def unread(self) -> int:
        """Return the number of events that the present consumer must still return, at least."""
        read = {name: max(self.taken.get(name, 0), self.acknowledged[name]) for name in self.committed}
        return sum(self.committed[name] - read[name] for name in self.committed)

    def settle(self) -> None:
        if self.handled is not None:
            session, seq = self.handled
            self.acknowledged[session] = max(self.acknowledged[session], seq)

    async def step(self, kind: str, number: int, count: int) -> None:
        session = f"s{number}"
        match kind:
            case "emit":
                await self.emit(session, count)
            case "take":
                await self.take(count)
            case "ack":
                await self.consumer.ack()
                self.settle()
            case "close":
                await self.consumer.aclose()
                self.consumer = await self.begin(is_exact=self.caught_up())
            case "kill":  # what was not stored is lost
                del self.consumer
                self.consumer = await self.begin(is_exact=False)
            case "restart":
                await self.consumer.aclose()
                is_exact = self.caught_up()
                await self.server.aclose()
                await self.start()
                self.is_exact = is_exact
            case _:
                if self.committed[session]:
                    await (await self.sessions.get("alice", session)).history()

    def caught_up(self) -> bool:
        """Return whether this consumer has read all that was acknowledged: else it could not store a position."""
        return self.is_exact or all(self.taken.get(name, 0) >= seq for name, seq in self.acknowledged.items())


async def play(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder) / "x.db")
        await world.start()
        for step in steps:
            await world.step(*step)
        await world.take(1_000)
        assert world.unread() == 0
        await world.consumer.ack()
        assert [one.unread for one in await world.sessions.consumers.usage()] == [0]
        await world.consumer.aclose()
        await world.server.aclose()


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_no_event_is_skipped(steps: list[tuple[str, int, int]]) -> None:
    """A consumer returns every event in the order of its session, and none again that was stored as handled."""
    trio.run(play, steps)


PROGRAM = """
import sys
import trio
from actors import Agents, Sessions, SqliteLog, SupervisorSpec, open_system

async def emit(sessions, name, count):
    handle = await sessions.get("alice", name)
    for number in range(count):
        await handle.emit("n", number)

async def main():
    sessions = Sessions(SqliteLog(sys.argv[1]), Agents())
    async with open_system() as system, trio.open_nursery() as nursery:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        for name in ("s1", "s2"):
            nursery.start_soon(emit, sessions, name, int(sys.argv[2]))
        async with sessions.consumers.consume("billing", from_start=True) as consumer:
            async for item in consumer:
                print(item.session, item.event.seq, flush=True)

trio.run(main)
"""


def test_kill_9(tmp_path: Path) -> None:
    """After kill -9 a consumer skips no event, and returns again at most the events that were not stored."""
    seen: dict[str, int] = defaultdict(int)
    for stop_after in (120, 400):
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "x.db"), "250"]
        with started(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            before: dict[str, int] = {}
            for _, line in zip(range(stop_after), process.stdout, strict=False):
                session, seq = line.split()[0], int(line.split()[1])
                expected = before.get(session, 0) + 1 if session in before else seq
                assert seq == expected
                assert seen[session] + 1 - 2 * _consumer_marks.STORE_EVENTS <= seq <= seen[session] + 1
                before[session] = seq
                seen[session] = max(seen[session], seq)
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")
        for line in filter(None, rest[:-1]):
            seen[line.split()[0]] = max(seen[line.split()[0]], int(line.split()[1]))
    trio.run(check, tmp_path / "x.db", dict(seen))


async def check(path: Path, seen: dict[str, int]) -> None:
    """Check that a last consumer returns all other events of the log."""
    async with open_system() as system:
        sessions = Sessions(log := SqliteLog(path), Agents())
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        latest = {}
        for name in seen:
            head = await log.head(StreamKey("alice", name))
            assert head is not None
            latest[name] = head.latest
        async with sessions.consumers.consume("billing", from_start=True) as consumer:
            while seen != latest:
                item = await anext(consumer)
                assert isinstance(item, Observed)
                assert item.event.seq <= seen[item.session] + 1
                seen[item.session] = max(seen[item.session], item.event.seq)
