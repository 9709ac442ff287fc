"""Where a client continues: the whole table of resume cases, with every log, through the real endpoint."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from _scale import SOAK
from delivery.agents import server_on
from delivery.stalling import stalled_client
from protocol.wire import greeted, greeted_in_memory, memory_client

from actors import MemoryLog, Retention, SqliteLog, StreamKey
from actors.testing import FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from actors import EventLog
    from transport import Server

KEY = StreamKey("anonymous", "s1")
MINE = "the log's own epoch"

LOGS: dict[str, Callable[[Path], EventLog]] = {
    "memory": lambda _: MemoryLog(),
    "sqlite": lambda folder: SqliteLog(folder / "log.db"),
    "sqlite, FULL": lambda folder: SqliteLog(folder / "log.db", "FULL"),
    "sqlite, inline": lambda folder: SqliteLog(folder / "log.db", commit="inline"),
    "faulty": lambda _: FaultyLog(MemoryLog()),
}


@pytest.fixture(params=LOGS if SOAK else ("memory", "sqlite"))
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    """Return an empty log of each kind."""
    return LOGS[request.param](tmp_path)


@attrs.frozen
class Row:
    """One row of the table: the events in the log, the client's hello, and the expected outcome.

    The log had ``events`` events, and the newest ``kept`` of them are left.
    """

    name: str
    events: int
    kept: int
    hello: dict[str, Any]
    reset: str | None
    gets: range
    """Sequence numbers of the replayed events."""

    @property
    def recovered(self) -> bool:
        """Whether exactly the requested events are replayed, without a reset."""
        return "resume" in self.hello and self.reset is None


def resume_at(seq: int, epoch: str = MINE) -> dict[str, Any]:
    """Return the fields of a hello that resumes at a position."""
    return {"resume": {"epoch": epoch, "seq": seq}}


NOTHING = range(0)
TABLE = [
    Row("an empty log, from the start", 0, 99, {}, None, NOTHING),
    Row("an empty log, from now on", 0, 99, {"from": "latest"}, None, NOTHING),
    Row("an empty log, resumed at 0", 0, 99, resume_at(0), None, NOTHING),
    Row("an empty log, resumed ahead", 0, 99, resume_at(1), "ahead", NOTHING),
    Row("an empty log, another epoch", 0, 99, resume_at(0, "x"), "epoch_changed", NOTHING),
    Row("from the start", 9, 99, {}, None, range(1, 10)),
    Row("from now on", 9, 99, {"from": "latest"}, None, NOTHING),
    Row("from 0", 9, 99, resume_at(0), None, range(1, 10)),
    Row("from a position", 9, 99, resume_at(4), None, range(5, 10)),
    Row("one before the newest", 9, 99, resume_at(8), None, range(9, 10)),
    Row("the same position", 9, 99, resume_at(9), None, NOTHING),
    Row("a position ahead by one", 9, 99, resume_at(10), "ahead", range(1, 10)),
    Row("a position far ahead", 9, 99, resume_at(2**53 - 1), "ahead", range(1, 10)),
    Row("a position ahead of what is kept", 9, 3, resume_at(10), "ahead", range(7, 10)),
    Row("trimmed, from the start", 9, 3, {}, None, range(7, 10)),
    Row("trimmed, from 0", 9, 3, resume_at(0), "trimmed", range(7, 10)),
    Row("trimmed, one too early", 9, 3, resume_at(5), "trimmed", range(7, 10)),
    Row("trimmed, just in time", 9, 3, resume_at(6), None, range(7, 10)),
    Row("trimmed, within what is kept", 9, 3, resume_at(8), None, range(9, 10)),
    Row("everything expired, the same position", 9, 0, resume_at(9), None, NOTHING),
    Row("everything expired, one before", 9, 0, resume_at(8), "trimmed", NOTHING),
    Row("everything expired, ahead", 9, 0, resume_at(10), "ahead", NOTHING),
    Row("everything expired, from the start", 9, 0, {}, None, NOTHING),
    Row("another epoch at the same position", 9, 99, resume_at(9, "x"), "epoch_changed", range(1, 10)),
    Row("another epoch at 0", 9, 99, resume_at(0, "x"), "epoch_changed", range(1, 10)),
    Row("another epoch and ahead", 9, 99, resume_at(99, "x"), "epoch_changed", range(1, 10)),
    Row("another epoch and trimmed", 9, 3, resume_at(1, "x"), "epoch_changed", range(7, 10)),
    Row("no epoch at all", 9, 99, resume_at(9, ""), "epoch_changed", range(1, 10)),
    Row("an epoch in another case", 9, 99, resume_at(9, MINE.upper()), "epoch_changed", range(1, 10)),
    Row("a resume wins over from", 9, 99, {**resume_at(4), "from": "latest"}, None, range(5, 10)),
    Row("a reset wins over from", 9, 99, {**resume_at(10), "from": "latest"}, "ahead", range(1, 10)),
    Row("256 events", 257, 999, resume_at(0), None, range(1, 258)),
    Row("more than a page of the log", 1_200, 9_999, resume_at(3), None, range(4, 1_201)),
]


async def fill_log(log: EventLog, row: Row) -> str:
    """Write the row's events into the log without the server. Return the epoch."""
    head = await log.make(KEY)
    for first in range(1, row.events + 1, 7):
        await log.append([event_batch(KEY, first, min(7, row.events + 1 - first))])
    await log.trim(KEY, Retention(events=row.kept, seconds=1e12), 0)
    return head.epoch


@asynccontextmanager
async def server_with_row(log: EventLog, row: Row, ring: int) -> AsyncIterator[tuple[Server, str]]:
    """Run a server with the row's events in its log. Yield the server and the epoch."""
    app = server_on(log, ring_events=ring, retain_seconds=1e10)
    async with app.running(port=0) as server:
        yield server, await fill_log(log, row)


def hello(row: Row, epoch: str, *, strict: bool) -> dict[str, Any]:
    """Return the fields of the row's hello, with the log's real epoch."""
    fields: dict[str, Any] = {**row.hello, "strict": strict}
    if "resume" in fields:
        swapped = {MINE: epoch, MINE.upper(): epoch.upper() + "X"}
        fields["resume"] = {**fields["resume"], "epoch": swapped.get(fields["resume"]["epoch"], "y")}
    return fields


@pytest.mark.parametrize("ring", [2, 1024])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_resume_table(log: EventLog, row: Row, ring: int) -> None:
    """The log and the client's hello decide the welcome, the reset and the old events that the client gets.

    The table of this test has a row for each case.
    """
    async with server_with_row(log, row, ring) as (server, epoch):
        async with greeted(server, **hello(row, epoch, strict=False)) as one:
            oldest = row.events - min(row.events, row.kept) + 1
            assert (one.welcome["epoch"], one.welcome["oldest"], one.welcome["latest"]) == (epoch, oldest, row.events)
            assert (one.welcome["recovered"], one.welcome.get("reset")) == (row.recovered, row.reset)
            await one.say("live")  # the next event shows where the replay ended
            events = await one.events_until(row.events + 1)
            assert [event["seq"] for event in events] == [*row.gets, row.events + 1]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_strict_hello(log: EventLog, row: Row) -> None:
    """If a client's hello is strict and would get a reset, the server closes the connection with 4410.

    Otherwise the client is welcomed as usual.
    """
    async with server_with_row(log, row, 1024) as (server, epoch):
        fields = hello(row, epoch, strict=True)
        if row.reset is None:
            async with greeted(server, **fields) as one:
                assert one.welcome["recovered"] == row.recovered
                await one.say("live")
                events = await one.events_until(row.events + 1)
                assert [event["seq"] for event in events] == [*row.gets, row.events + 1]
            return
        async with memory_client(server) as one:
            await one.send("hello", session="s1", **fields)
            ended = await one.ended()
            assert (ended.code, ended.reason, one.events()) == (4410, row.reset, [])


@pytest.mark.parametrize("name", [name for name in LOGS if name != "faulty"])
async def test_rebuilt_log(name: str, tmp_path: Path) -> None:
    """A log that was lost and made again has another epoch, so a client with a position in the old log gets a reset."""
    async with server_on(LOGS[name](tmp_path)).running(port=0) as server, greeted(server) as one:
        await one.say("a", "b", "c")
        old = one.welcome["epoch"]
    for path in tmp_path.iterdir():  # noqa: ASYNC240 - two files, and nothing else waits
        path.unlink()
    async with server_on(LOGS[name](tmp_path)).running(port=0) as server:
        async with greeted(server) as one:
            await one.say("d", "e", "f", "g")
        async with greeted(server, resume={"epoch": old, "seq": 3}) as one:
            assert one.welcome["epoch"] != old
            assert (one.welcome["recovered"], one.welcome["reset"]) == (False, "epoch_changed")
            assert [event["data"]["text"] for event in await one.events_until(4)] == ["d", "e", "f", "g"]


@pytest.mark.parametrize(
    ("query", "reset"), [("", "epoch_changed"), ("?commit=inline", "epoch_changed"), ("?synchronous=FULL", None)]
)
async def test_power_failure(tmp_path: Path, query: str, reset: str | None) -> None:
    """After a power failure, a client that resumes from an earlier position gets a reset, since events may be lost.

    If the log is opened with ``synchronous=FULL``, no event is lost, and the client gets no reset.
    """
    after = tmp_path / "after"
    after.mkdir()
    async with server_on(f"sqlite:{tmp_path}/log.db{query}").running(port=0) as server, greeted(server) as one:
        await one.say("a", "b", "c")
        for name in ("log.db", "log.db-wal"):
            (after / name).write_bytes((tmp_path / name).read_bytes())
        position = {"epoch": one.welcome["epoch"], "seq": 3}
    with closing(sqlite3.connect(after / "log.db")) as connection, connection:
        connection.execute("UPDATE risk SET boot = 'an earlier boot' WHERE boot <> ''")
    async with server_on(f"sqlite:{after}/log.db{query}").running(port=0) as server:
        async with greeted(server, resume=position) as one:
            assert (one.welcome.get("reset"), one.welcome["latest"]) == (reset, 3)


async def test_removed_session(log: EventLog) -> None:
    """A session that was removed begins again with no events and another epoch, so a resuming client gets a reset."""
    async with server_on(log).running(port=0) as server:
        await log.make(KEY)
        old = await log.head(KEY)
        assert old is not None
        await log.append([event_batch(KEY, 1, 3)])
        await log.remove(KEY)
        async with greeted(server, resume={"epoch": old.epoch, "seq": 3}) as one:
            assert one.welcome["reset"] == "epoch_changed"
            assert one.welcome["latest"] == 0


@pytest.mark.parametrize("ring", [8, 1024])
async def test_event_during_the_replay(log: EventLog, ring: int) -> None:
    """Events that are emitted while a client gets a replay of old events follow the replay without a gap."""
    row = Row("", 3_000, 9_999, resume_at(0), None, range(1, 3_001))
    async with server_with_row(log, row, ring) as (server, epoch), greeted(server, **{"from": "latest"}) as other:
        async with greeted(server, **hello(row, epoch, strict=True)) as one:
            await one.receive("events")  # the replay has begun
            run_id = await other.start("1", "wall", {"count": 500, "size": 20})
            events = await one.events_until(3_502)
            assert [event["seq"] for event in events] == list(range(1, 3_503))
            assert [event["run_id"] for event in events[3_000:]] == [run_id] * 502
        await other.events_until(3_502)


async def test_trim_during_the_replay(log: EventLog) -> None:
    """If a trim deletes events that a client's replay has not reached, the server closes the client's connection.

    The client gets a reset when it reconnects. It never skips events without a reset.
    """
    row = Row("", 2_000, 9_999, resume_at(0), None, NOTHING)
    async with server_with_row(log, row, 8) as (server, epoch):
        async with stalled_client(server, **hello(row, epoch, strict=False)) as slow:
            await slow.receive("events")
            await log.trim(KEY, Retention(events=100, seconds=1e12), 0)
            ended = await slow.ended()
            last = slow.events()[-1]["seq"]
            assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4001, True)
            assert [event["seq"] for event in slow.events()] == list(range(1, last + 1))
            assert last < 1_900
        async with greeted_in_memory(server, resume={"epoch": epoch, "seq": last}) as again:
            assert again.welcome["reset"] == "trimmed"
            assert [event["seq"] for event in await again.events_until(2_000)] == list(range(1_901, 2_001))


async def test_stalled_client_delays_no_other(log: EventLog) -> None:
    """A client that does not read delays no other client. When it reads again, it still gets every event."""
    async with server_on(log, ring_events=16, slow_seconds=1e6, ping_seconds=1e6).running(port=0) as server:
        async with greeted_in_memory(server) as quick, stalled_client(server) as slow:
            for number in range(20):
                await quick.start(f"{number}", "wall", {"count": 50, "size": 2_000})
                await quick.events_until(52 * (number + 1))
            assert [event["seq"] for event in quick.events()] == list(range(1, 1_041))
            assert len(slow.events()) < 200
            assert await slow.events_until(1_040) == quick.events()
