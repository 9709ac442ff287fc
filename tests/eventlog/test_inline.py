"""Commits on the thread of the event loop: ``SqliteLog(commit="inline")``."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from actors.errors import ConfigError, LogUnavailable
from actors.eventlog import Batch, SqliteLog, StreamKey, _sqlite_file, _sqlite_inline, open_log
from actors.eventlog._sqlite_inline import InlineCommits
from actors.eventlog._sqlite_store import Writer
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY = StreamKey("alice", "s1")
ALL = 1 << 30


@pytest.mark.parametrize(("commit", "is_inline"), [("thread", False), ("inline", True)])
async def test_thread_of_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Literal["thread", "inline"], *, is_inline: bool
) -> None:
    """With ``commit="inline"`` an append commits on the thread of the event loop, otherwise in another thread.

    A Ctrl-C does not interrupt the commit.
    """
    threads: list[int] = []
    append = Writer.append

    def noted(self: Writer, batches: Sequence[Batch]) -> int:
        threads.append(threading.get_ident())
        assert not is_inline or trio.lowlevel.currently_ki_protected()
        return append(self, batches)

    monkeypatch.setattr(Writer, "append", noted)
    async with SqliteLog(tmp_path / "x.db", commit=commit) as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 1)])
    assert [thread == threading.get_ident() for thread in threads] == [is_inline]


async def test_locked_file_stops_nothing(tmp_path: Path) -> None:
    """If another program has locked the file, an inline append waits in a thread, and other tasks continue."""
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log, trio.open_nursery() as nursery:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            nursery.start_soon(log.append, [event_batch(KEY, 1, 1)])
            await trio.testing.wait_all_tasks_blocked()
            # If the append waited on this thread, the lock would never end.
            other.execute("ROLLBACK")
    async with SqliteLog(tmp_path / "x.db", read_only=True) as log:
        assert len(await log.read(KEY, 0, ALL, ALL)) == 1


async def test_appender_never_waits(tmp_path: Path) -> None:
    """The appender of an inline log raises if the append has to wait, and changes nothing. Other logs have none."""

    class Counting(SqliteLog):
        async def append(self, batches: Sequence[Batch]) -> None:
            await super().append(batches)

    assert SqliteLog(tmp_path / "x.db").appender() is None
    assert Counting(tmp_path / "x.db", commit="inline").appender() is None
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log:
        append = log.appender()
        assert append is not None
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="has to wait"):
                append([event_batch(KEY, 1, 1)])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.mark, KEY, b"state")  # a thread waits for the lock
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(LogUnavailable, match="has to wait"):
                    append([event_batch(KEY, 1, 1)])
                other.execute("ROLLBACK")
        append([event_batch(KEY, 1, 1, b"state")])
        assert (log.statistics().commits, len(await log.read(KEY, 0, ALL, ALL))) == (1, 1)


async def test_appends_keep_their_order(tmp_path: Path) -> None:
    """An inline append that comes while a thread writes follows the calls that were made before it."""
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log, trio.open_nursery() as nursery:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for seq in range(1, 5):
                nursery.start_soon(log.append, [event_batch(KEY, seq, 1)])
                await trio.testing.wait_all_tasks_blocked()
            other.execute("ROLLBACK")
    async with SqliteLog(tmp_path / "x.db", read_only=True) as log:
        assert len(await log.read(KEY, 0, ALL, ALL)) == 4


async def test_cancelled_append_stores_nothing(tmp_path: Path) -> None:
    """An inline append in a cancelled scope stores nothing."""
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log:
        head = await log.make(KEY)
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append([event_batch(KEY, 1, 1)])
        assert scope.cancelled_caught
        assert await log.head(KEY) == head


class Checkpoints:
    """The checkpoints of a log: their statements, whether each ran on the thread of the event loop, and their ends.

    An event is appended in the middle of each checkpoint, as under a constant load.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self._loop = threading.get_ident()
        self.log: SqliteLog | None = None
        self.fails = False
        self.seq = 0
        self.statements: list[tuple[str, bool]] = []
        self.ended = trio.Event()

    def execute(self, statement: str) -> sqlite3.Cursor:
        self.statements.append((statement, threading.get_ident() == self._loop))
        if self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        assert self.connection is not None
        if "PASSIVE" not in statement:
            return self.connection.execute(statement)
        # A reader of the state before the event stops the checkpoint there, as if the event came in its middle.
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM streams").fetchone()
            trio.from_thread.run(self.append)
            return self.connection.execute(statement)

    async def append(self) -> None:
        """Append one event that fills more than 20 pages of the file."""
        assert self.log is not None
        self.seq += 1
        await self.log.append([Batch(KEY, self.seq, [event_line(self.seq, text="x" * 100_000)], b"")])

    async def append_until_ended(self) -> None:
        """Append one event, which begins a checkpoint, and wait for the end of the checkpoint."""
        self.ended = trio.Event()
        await self.append()
        await self.ended.wait()


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    """The checkpoints of the log ``x.db`` that the test opens. One begins after each event."""
    made = Checkpoints(tmp_path / "x.db")
    monkeypatch.setattr(_sqlite_inline, "PAGES", 20)
    init, run = InlineCommits.__init__, InlineCommits._checkpoint  # noqa: SLF001 - the checkpoint has no other sign

    def watched(self: InlineCommits, writer: Writer, connection: sqlite3.Connection) -> None:
        made.connection = connection
        init(self, writer, made)  # type: ignore[arg-type]  # it has the method that is called

    async def noted(self: InlineCommits) -> None:
        await run(self)
        made.ended.set()

    monkeypatch.setattr(InlineCommits, "__init__", watched)
    monkeypatch.setattr(InlineCommits, "_checkpoint", noted)
    return made


async def test_write_ahead_log_under_constant_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Checkpoints
) -> None:
    """The write-ahead log of inline commits stays small, even if a commit comes during each checkpoint.

    All checkpoints run in another thread than the commits.
    """
    monkeypatch.setattr(_sqlite_inline, "LARGE_PAGES", 100)
    monkeypatch.setattr(_sqlite_file, "WAL_BYTES", 100_000)
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log:
        checkpoints.log = log
        await log.make(KEY)
        for _ in range(20):
            await checkpoints.append_until_ended()
        assert (tmp_path / "x.db-wal").stat().st_size < 1_500_000, "of 4 MB of events"
        assert len(await log.read(KEY, 0, ALL, ALL)) == checkpoints.seq == 40
    assert [on_loop for _, on_loop in checkpoints.statements if on_loop] == []


async def test_failed_checkpoint_is_repeated(tmp_path: Path, checkpoints: Checkpoints) -> None:
    """A checkpoint that fails changes nothing for inline commits, and the next checkpoint comes as usual."""
    async with SqliteLog(tmp_path / "x.db", commit="inline") as log:
        checkpoints.log, checkpoints.fails = log, True
        await log.make(KEY)
        for _ in range(2):
            await checkpoints.append_until_ended()
        assert len(checkpoints.statements) == 2
        assert len(await log.read(KEY, 0, ALL, ALL)) == 2


def test_inline_needs_normal() -> None:
    """Inline commits that would wait for the disk are refused, and so is any other place of commits."""
    with pytest.raises(ConfigError, match="commit=inline needs synchronous=NORMAL"):
        SqliteLog("x.db", "FULL", commit="inline")
    for query in ("synchronous=FULL&commit=inline", "commit=inline&synchronous=FULL"):
        with pytest.raises(ConfigError, match="commit=inline needs synchronous=NORMAL"):
            open_log(f"sqlite:x.db?{query}")
    with pytest.raises(ConfigError, match="commit is thread or inline"):
        SqliteLog("x.db", commit="later")  # type: ignore[arg-type]  # the point of the test
    open_log("sqlite:x.db?synchronous=NORMAL&commit=inline")
    open_log("sqlite:x.db?commit=thread&synchronous=FULL")
