"""Faults that only a file has: kill -9, other processes, full disks, and reads beside writes."""

# ruff: noqa: ASYNC240 - a few small files, and no other task that would have to wait

from __future__ import annotations

import contextlib
import resource
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import pytest
import trio
from _processes import started
from eventlog.sqlite_files import ALL, KEY, OTHER, TS, refusal

from actors.errors import LogCorrupt, LogUnavailable
from actors.eventlog import Batch, Retention, SqliteLog, open_log
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

WRITER = """
import sys, trio
from actors.eventlog import StreamKey, _sqlite_index, open_log
from actors.testing import event_batch

_sqlite_index.LOT = 20

async def main():
    keys = [StreamKey("alice", str(i)) for i in range(3)]
    async with open_log(sys.argv[1]) as log:
        for key in keys:
            await log.make(key)
        first = 1
        while True:
            await log.append([event_batch(key, first, 7, b"%d" % first) for key in keys])
            first += 7
            print(first - 1, flush=True)

trio.run(main)
"""


@contextlib.contextmanager
def writer_process(path: Path, query: str = "") -> Generator[subprocess.Popen[str]]:
    """Run another process that appends to the log and prints the last seq after each append."""
    command = [sys.executable, "-c", WRITER, f"sqlite:{path}{query}"]
    with started(command, stdout=subprocess.PIPE) as process:
        yield process


def printed_seq(process: subprocess.Popen[str]) -> int:
    """Return the next seq that the writer process prints."""
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize(("appends", "query"), [(1, ""), (5, ""), (40, ""), (200, "?commit=inline")])
async def test_kill_9_loses_no_append(tmp_path: Path, appends: int, query: str) -> None:
    """After a writing process is killed by kill -9, its log has every append that had returned.

    An append that had not returned is in the log completely or not at all.
    """
    path = tmp_path / "x.db"
    with writer_process(path, query) as process:
        acknowledged = [printed_seq(process) for _ in range(appends)][-1]
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with SqliteLog(path) as log:
        heads = [await log.make(key) for key in await log.streams()]
        assert len(heads) == 3
        assert len({(head.latest, head.state) for head in heads}) == 1
        assert heads[0].latest >= acknowledged
        assert heads[0].latest % 7 == 0
        assert heads[0].state == b"%d" % (heads[0].latest - 6)
        for key in await log.streams():
            lines = await log.read(key, 0, ALL, ALL)
            assert [line.split(b",")[0] for line in lines] == [b'{"seq":%d' % i for i in range(1, heads[0].latest + 1)]


async def test_log_in_use_is_refused(tmp_path: Path) -> None:
    """Opening a log that another process has open is refused, and the error contains the id of that process.

    After the death of that process the log can be opened.
    """
    path = tmp_path / "x.db"
    with writer_process(path) as process:
        printed_seq(process)
        error = await refusal(path)
        assert isinstance(error, LogUnavailable)
        assert str(process.pid) in str(error)
        process.kill()
        process.wait()
        async with SqliteLog(path) as log:
            assert await log.streams()


async def test_log_cannot_be_opened_twice(tmp_path: Path) -> None:
    """A process cannot open the same log twice, not even through a symbolic link."""
    alias = tmp_path / "alias.db"
    alias.symlink_to(tmp_path / "x.db")
    async with SqliteLog(tmp_path / "x.db") as log:
        assert isinstance(await refusal(alias), LogUnavailable)
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 1)])
    async with SqliteLog(alias) as log:
        assert (await log.make(KEY)).latest == 1


async def test_log_is_complete_after_reopening(tmp_path: Path) -> None:
    """A log that is closed and opened again has the same heads and events. Only a lock file remains beside its file."""
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 5, b"open")])
        kept = await log.trim(KEY, Retention(events=2), TS)
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 5, b"open")])
        gone = await log.trim(OTHER, Retention(events=0), TS)
    async with SqliteLog(tmp_path / "x.db") as log:
        assert [await log.head(KEY), await log.head(OTHER)] == [kept, gone]
        await log.append([event_batch(KEY, 6, 1), event_batch(OTHER, 6, 1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db", "x.db-lock"]


async def test_trim_deletes_from_the_file(tmp_path: Path) -> None:
    """If a trim drops only some events of a batch, it deletes their text from the batch's row in the file too."""
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        await log.append([Batch(KEY, 1, [event_line(i, text=f"secret-{i}.") for i in range(1, 6)], b"")])
        await log.trim(KEY, Retention(events=2), TS)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((body,),) = connection.execute("SELECT body FROM batches")
    assert b"secret-3." not in body
    assert b"secret-4." in body


async def test_malformed_lines_are_refused(tmp_path: Path) -> None:
    """An event line that contains a line feed or lacks a ``ts`` is refused, and nothing is stored."""
    async with SqliteLog(tmp_path / "x.db") as log:
        before = await log.make(KEY)
        for line in (b'{"seq":1,"ts":1,\n"a":1}', b'{"seq":1}', b"no json", b"[]", b'{"seq":1,"ts":"1"}'):
            with pytest.raises(LogCorrupt):
                await log.append([Batch(KEY, 1, [line], b"")])
        assert await log.head(KEY) == before
        await log.append([Batch(KEY, 1, [b'{"ts": 5, "seq": 1}'], b"")])
        assert (await log.make(KEY)).oldest_ts == 5


@pytest.mark.parametrize("query", ["", "?commit=inline"])
async def test_full_disk(tmp_path: Path, query: str) -> None:
    """An append to a full disk raises LogUnavailable and stores nothing. It succeeds when there is room again."""
    async with open_log(f"sqlite:{tmp_path}/x.db{query}") as log:
        await log.make(KEY)
        await log.make(OTHER)
        await log.append([event_batch(KEY, 1, 1, b"1")])
        before = [await log.head(KEY), await log.head(OTHER)]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        large = Batch(OTHER, 1, [event_line(1, text="x" * 3_000_000)], b"")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(LogUnavailable) as caught:
                await log.append([event_batch(KEY, 2, 1), large])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert [await log.head(KEY), await log.head(OTHER)] == before
        await log.append([event_batch(KEY, 2, 1), large])
        assert len(await log.read(OTHER, 0, 1, 1)) == 1


@pytest.mark.parametrize("commit", ["thread", "inline"])
async def test_file_locked_by_another_program(tmp_path: Path, commit: Literal["thread", "inline"]) -> None:
    """A log that another program has locked is unavailable until the lock is released."""
    async with SqliteLog(tmp_path / "x.db", commit=commit, busy_seconds=0.01) as log:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="locked"):
                await log.append([event_batch(KEY, 1, 1)])
            other.execute("ROLLBACK")
        await log.append([event_batch(KEY, 1, 1)])


async def test_reads_during_writes(tmp_path: Path) -> None:
    """A read during an append returns all events of that append or none."""
    async with SqliteLog(tmp_path / "x.db") as log, trio.open_nursery() as nursery:
        await log.make(KEY)
        for first in range(1, 200, 2):
            nursery.start_soon(log.append, [event_batch(KEY, first, 2)])
            lines = await log.read(KEY, 0, ALL, ALL)
            assert len(lines) % 2 == 0


async def test_close_finishes_appends(tmp_path: Path) -> None:
    """If ``close`` is cancelled, it still finishes the appends that were called before it."""
    log = SqliteLog(tmp_path / "x.db")
    await log.open()
    await log.make(KEY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [event_batch(KEY, 1, 50)])
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.close()
    async with SqliteLog(tmp_path / "x.db") as log:
        assert (await log.make(KEY)).latest == 50
