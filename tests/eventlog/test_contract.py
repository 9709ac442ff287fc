"""Every engine keeps the contract; so does the log that injects faults while it injects none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.errors import LogUnavailable
from actors.eventlog import EventLog, MemoryLog, SqliteLog, StreamKey
from actors.testing import EventLogContract, FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = StreamKey("alice", "s1")


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with MemoryLog() as log:
            yield log


class TestSqliteLog(EventLogContract):
    @pytest.fixture(params=["NORMAL", "FULL"])
    async def log(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
        async with SqliteLog(tmp_path / "x.db", request.param) as log:
            yield log


class TestFaultyLog(EventLogContract):
    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with FaultyLog(MemoryLog()) as log:
            yield log


async def test_a_told_failure_happens_once_per_time_and_does_nothing() -> None:
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


async def test_a_held_call_waits_for_its_release_and_a_cancelled_one_does_nothing(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
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


async def test_a_log_that_keeps_its_events_over_a_close_must_not_deny_it() -> None:
    """The contract finds it: agents would be called before their start is known, and again when it is sent again."""

    class Keeping(MemoryLog):
        async def open(self) -> None:
            if self._streams is None:
                await super().open()

        async def close(self) -> None:
            await trio.lowlevel.checkpoint()

    check = EventLogContract().test_a_log_that_does_not_outlive_its_process_forgets_all_once_closed
    async with Keeping() as log:
        with pytest.raises(AssertionError, match="where the contract wants None"):
            await check(log)
        log.outlives_process = True
        await check(log)
