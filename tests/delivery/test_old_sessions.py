"""Sessions that no client joins again: retention holds for their logs, and in the end they are removed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from delivery.agents import KEY, server_on
from protocol.wire import greeted, greeted_in_memory

from actors import Head, MemoryLog, Retention, SqliteLog, StreamKey
from actors.errors import Fenced
from actors.sessions._retention import LOT
from actors.testing import FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actors import EventLog

OLD = StreamKey("anonymous", "old")
DAY = 24 * 3600


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    """Return an empty log of each kind."""
    return MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.db")


async def add_old_events(log: EventLog, days: float, count: int = 3) -> None:
    """Add events to the old session. They are ``days`` days old."""
    await log.make(OLD)
    await log.append([event_batch(OLD, 1, count, ts=int((time.time() - days * DAY) * 1000))])


async def oldest_of(log: EventLog) -> int:
    """Return the lowest seq that the log has of the old session, without making the session."""
    head = await log.head(OLD)
    assert head is not None
    return head.oldest


@pytest.mark.parametrize(("days", "kept"), [(6.9, 3), (7.1, 0)])
async def test_old_events_expire(log: EventLog, days: float, kept: int) -> None:
    """Events of a session that is not in memory are deleted after 7 days.

    The session's epoch and newest seq are kept.
    """
    async with server_on(log).running(port=0) as server:
        await add_old_events(log, days)
        before = await log.make(OLD)
        await server.sessions.cleaner.clean()
        head = await log.head(OLD)
        assert head is not None
        assert (head.epoch, head.latest, head.latest - head.oldest + 1) == (before.epoch, 3, kept)


async def test_count_limit_of_old_sessions(log: EventLog) -> None:
    """``retain_events``, the limit on the number of events, also holds for a session that is not in memory."""
    async with server_on(log, retain_events=2).running(port=0) as server:
        await add_old_events(log, 0)
        await server.sessions.cleaner.clean()
        assert await oldest_of(log) == 2


@pytest.mark.parametrize(("days", "forgotten"), [(29, False), (31, True)])
async def test_old_session_is_removed(log: EventLog, days: float, *, forgotten: bool) -> None:
    """A session is removed 30 days after its newest event.

    A client that resumes the session after that gets a reset.
    """
    async with server_on(log).running(port=0) as server:
        await add_old_events(log, days)
        old = await log.make(OLD)
        await server.sessions.cleaner.clean()  # the events go
        await server.sessions.cleaner.clean()  # what is left goes
        assert (await log.head(OLD) is None) == forgotten
        resume = {"epoch": old.epoch, "seq": 3}
        async with greeted(server, "old", resume=resume) as one:
            assert one.welcome["recovered"] == (not forgotten)
            assert one.welcome.get("reset") == ("epoch_changed" if forgotten else None)


async def clean_twice(log: EventLog, **settings: object) -> Head | None:
    """Clean once for the events and once for the session. Return the old session's head, or None if it is removed."""
    async with server_on(log, **settings).running(port=0) as server:
        await server.sessions.cleaner.clean()
        await server.sessions.cleaner.clean()
        return await log.head(OLD)


@pytest.mark.parametrize(("days", "forgotten"), [(29, False), (31, True)])
async def test_close_is_remembered(tmp_path: Path, days: float, *, forgotten: bool) -> None:
    """A closed session is removed 30 days after it was closed, even if its newest event is much older."""
    async with SqliteLog(tmp_path / "log.db") as log:
        await add_old_events(log, 60)
        closed_at = int((time.time() - days * DAY) * 1000)
        await log.mark(OLD, b"[%d,[],%d,[]]" % (closed_at, closed_at))
    assert (await clean_twice(SqliteLog(tmp_path / "log.db")) is None) == forgotten


@pytest.mark.parametrize(("seconds", "forgotten"), [(240, False), (301, True)])
async def test_remembered_command_keeps_a_session(tmp_path: Path, seconds: float, *, forgotten: bool) -> None:
    """A session is not removed while it must still remember a command.

    Otherwise a repeated start command would be executed again.
    """
    async with SqliteLog(tmp_path / "log.db") as log:
        await add_old_events(log, 60)
        at = int((time.time() - seconds) * 1000)
        await log.mark(OLD, b'[1,[],null,[["a",%d,{"run_id":"r"}]]]' % at)
    assert (await clean_twice(SqliteLog(tmp_path / "log.db"), forget_seconds=0) is None) == forgotten


async def test_expired_commands_leave_the_log(tmp_path: Path) -> None:
    """Cleaning removes a session's expired commands from the log, but keeps open runs and the time of its closing."""
    async with SqliteLog(tmp_path / "log.db") as log:
        await add_old_events(log, 1)
        now = time.time_ns() // 1_000_000
        opened = b'["run","r","r",null,"a",5]'
        done = b'["old",%d,{}],["new",%d,{}]' % (now - 400_000, now)
        await log.mark(OLD, b"[7,[%b],9,[%b]]" % (opened, done))
    head = await clean_twice(SqliteLog(tmp_path / "log.db"))
    assert head is not None
    assert head.state == b'[7,[%b],9,[["new",%d,{}]]]' % (opened, now)


async def test_damaged_session_is_skipped(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """If a session in the log is damaged, cleaning logs its name, leaves it as it is, and cleans the other sessions."""
    damaged = StreamKey("anonymous", "damaged")
    async with server_on(log).running(port=0) as server:
        await log.make(damaged)
        await log.mark(damaged, b"no json")
        await add_old_events(log, 8)
        await server.sessions.cleaner.clean()
        head, left = await log.head(OLD), await log.head(damaged)
        assert (head and head.oldest, left and left.state) == (4, b"no json")
    assert "session 'damaged' of 'anonymous' could not be cleaned up" in caplog.text


@pytest.mark.parametrize(("count", "looks"), [(LOT, [LOT]), (LOT + 1, [LOT, 1])])
async def test_sessions_are_looked_at_together(count: int, looks: list[int]) -> None:
    """Cleaning looks at up to 50 sessions at once, and only at those that need a cleaning alone."""

    class Counting(MemoryLog):
        def __init__(self) -> None:
            super().__init__()
            self.together: list[int] = []
            self.alone: set[StreamKey] = set()

        async def head(self, key: StreamKey) -> Head | None:
            self.alone.add(key)
            return await super().head(key)

        async def heads(self, keys: Sequence[StreamKey]) -> Sequence[Head | None]:
            self.together.append(len(keys))
            return [await MemoryLog.head(self, key) for key in keys]

    log = Counting()
    async with server_on(log).running(port=0) as server:
        await add_old_events(log, 8)
        for number in range(count - 1):
            await log.make(StreamKey("anonymous", f"new-{number}"))
        await server.sessions.cleaner.clean()
    assert (log.together, log.alone) == (looks, {OLD})


async def test_session_of_another_node_is_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    """If another node of a cluster has an old session, cleaning leaves the session to that node, without a warning."""

    class Shared(MemoryLog):
        refused = 0

        async def remove(self, key: StreamKey) -> None:
            self.refused += 1
            raise Fenced("another node owns this user now")

    log = Shared()
    async with server_on(log).running(port=0) as server:
        await add_old_events(log, 40)
        await server.sessions.cleaner.clean()
        await server.sessions.cleaner.clean()
        assert log.refused == 1
        assert await log.head(OLD) is not None
    assert "could not be cleaned up" not in caplog.text


async def test_unexpected_exception_of_the_log(autojump_clock: trio.testing.MockClock) -> None:
    """An unexpected exception that the log raises during cleaning or trimming ends no session."""

    class Odd(MemoryLog):
        rounds = trims = 0

        async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> list[StreamKey]:
            self.rounds += after is None
            raise RuntimeError("odd")

        async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
            self.trims += 1
            raise KeyError(key)

    log = Odd()
    async with server_on(log, retain_events=2, idle_seconds=1000).running(port=0) as server:
        async with (await server.sessions.get("anonymous", "s1")).lease():
            for _ in range(4):
                await (await server.sessions.get("anonymous", "s1")).emit("x")
            await trio.sleep(8000)
            assert log.rounds > 1
            assert log.trims > 1
            assert (server.sessions.statistics().spawned, server.sessions.statistics().crashed) == (1, 0)


async def test_session_in_memory_is_not_cleaned(log: EventLog) -> None:
    """The cleaner, which removes old events and sessions, does not touch a session that is in memory."""
    async with server_on(log, forget_seconds=0).running(port=0) as server, greeted(server) as one:
        head = await log.make(KEY)
        while time.time() * 1000 <= head.touched + 1:
            await trio.lowlevel.checkpoint()
        await server.sessions.cleaner.clean()
        assert await log.head(KEY) == head
        await one.say("still here")


async def test_join_during_removal(nursery: trio.Nursery) -> None:
    """A client that joins a session while it is being removed waits, and then gets a reset and an empty session."""

    class Slow(FaultyLog):
        reached, released = trio.Event(), trio.Event()

        async def remove(self, key: StreamKey) -> None:
            self.reached.set()
            await self.released.wait()
            await super().remove(key)

    log = Slow(MemoryLog())
    async with server_on(log, forget_seconds=0).running(port=0) as server:
        await add_old_events(log, 31)
        await server.sessions.cleaner.clean()
        nursery.start_soon(server.sessions.cleaner.clean)
        await log.reached.wait()
        old = await log.make(OLD)
        welcomes: list[str] = []

        async def come() -> None:
            async with greeted_in_memory(server, "old", resume={"epoch": old.epoch, "seq": 3}) as one:
                welcomes.append(one.welcome["reset"])
                await one.say("anew")
                assert [event["seq"] for event in await one.events_until(1)] == [1]

        async with trio.open_nursery() as comers:
            comers.start_soon(come)
            await trio.testing.wait_all_tasks_blocked()
            assert welcomes == []
            log.released.set()
        assert welcomes == ["epoch_changed"]


async def test_cleaning_is_repeated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Old sessions are cleaned within a minute of the server's start, then every hour, even if the log fails once."""

    class Failing(FaultyLog):
        rounds = 0

        async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> list[StreamKey]:
            self.rounds += after is None
            if self.rounds == 1:
                self.fail("read")
                await self.read(OLD, 0, 1, 1)
            return list(await super().streams(after, limit))

    log = Failing(MemoryLog())
    async with server_on(log).running(port=0):
        await add_old_events(log, 8)
        await trio.sleep(61)
        assert log.rounds == 1
        assert await oldest_of(log) == 1
        await trio.sleep(3600)
        assert log.rounds == 2
        assert await oldest_of(log) == 4
