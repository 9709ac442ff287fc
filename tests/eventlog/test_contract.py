"""The contract of event logs, tested with every engine and with ``FaultyLog``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.errors import LogUnavailable
from actors.eventlog import EventLog, MemoryLog, SqliteLog, StreamKey, _sqlite_index, open_log
from actors.eventlog.base import CommitLimit
from actors.testing import EventLogContract, FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = StreamKey("alice", "s1")


class TestMemoryLog(EventLogContract):
    """The memory log keeps the contract."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with MemoryLog() as log:
            yield log


class TestSqliteLog(EventLogContract):
    """The SQLite log keeps the contract: with both levels of durability, and with inline commits."""

    @pytest.fixture(params=["synchronous=NORMAL", "synchronous=FULL", "commit=inline"])
    async def log(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
        async with open_log(f"sqlite:{tmp_path}/x.db?{request.param}") as log:
            yield log


class TestSqliteLogInLots(EventLogContract):
    """The SQLite log keeps the contract while only some rows of a stream are in the index."""

    @pytest.fixture
    async def log(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EventLog]:
        monkeypatch.setattr(_sqlite_index, "LOT", 3)
        async with SqliteLog(tmp_path / "x.db", commit="inline") as log:
            yield log


class TestFaultyLog(EventLogContract):
    """A faulty log without a requested fault keeps the contract."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with FaultyLog(MemoryLog()) as log:
            yield log


class LogWithoutConsumers(MemoryLog):
    """A log that keeps no positions of consumers."""

    start_consumer = EventLog.start_consumer
    consumer_positions = EventLog.consumer_positions
    unread_streams = EventLog.unread_streams
    acknowledge = EventLog.acknowledge
    consumers = EventLog.consumers
    remove_consumer = EventLog.remove_consumer


class TestLogWithoutConsumers(EventLogContract):
    """A log can do without consumers."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with LogWithoutConsumers() as log:
            yield log


async def test_requested_failures() -> None:
    """A FaultyLog fails exactly as many calls as a test requests, and a failed call changes nothing."""
    async with FaultyLog(MemoryLog()) as log:
        await log.make(KEY)
        log.fail("append", 2)
        log.fail("read")
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await log.append([event_batch(KEY, 1, 1)])
        await log.append([event_batch(KEY, 1, 1)])
        with pytest.raises(LogUnavailable):
            await log.read(KEY, 0, 1, 1)
        assert len(await log.read(KEY, 0, 1, 1)) == 1
        assert log.statistics().commits == 1


async def test_held_call(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A call that a FaultyLog holds back waits until the test releases it. If it is cancelled, it changes nothing."""
    async with FaultyLog(MemoryLog()) as log:
        await log.make(KEY)
        log.hold("append")
        with trio.move_on_after(1) as scope:
            await log.append([event_batch(KEY, 1, 1)])
        assert scope.cancelled_caught
        hold = log.hold("append")
        nursery.start_soon(log.append, [event_batch(KEY, 1, 2)])
        await hold.reached.wait()
        await wait_all_tasks_blocked()
        assert (await log.make(KEY)).latest == 0
        hold.released.set()
        await wait_all_tasks_blocked()
        assert (await log.make(KEY)).latest == 2


async def test_contract_finds_a_wrong_outlives_process() -> None:
    """The contract's tests fail for a log that keeps its events after ``close`` although ``outlives_process`` is False.

    With such a log the start of a run could be executed twice after a crash.
    """

    class Keeping(MemoryLog):
        async def open(self) -> None:
            if self._streams is None:
                await super().open()

        async def close(self) -> None:
            await trio.lowlevel.checkpoint()

    check = EventLogContract().test_log_forgets_all_unless_it_outlives_its_process
    async with Keeping() as log:
        with pytest.raises(AssertionError, match="the contract requires None"):
            await check(log)
        log.outlives_process = True
        await check(log)


async def test_wrapper_has_the_limits_of_the_wrapped_log() -> None:
    """A FaultyLog is committed to as the log inside it would be, and shows that log as the innermost one."""
    inner = MemoryLog()
    inner.max_commit, inner.tries_again, inner.divide = CommitLimit(5, 100), True, lambda key: len(key.user)
    log = FaultyLog(FaultyLog(inner))
    assert (log.max_commit, log.tries_again, log.divide) == (inner.max_commit, True, inner.divide)
    assert log.innermost is inner
