"""Commits of a SQLite log on the thread of the event loop, with the checkpoints in another thread.

A commit on the event loop's own thread saves the way to a thread and back. While the commit works, nothing else runs in
the process. So the commit must not wait for the disk or for another program:

- The log must be opened with ``synchronous=NORMAL``. Then a commit only writes to the memory of the operating system.
- Checkpoints (the content of the write-ahead log is copied to the main file) wait for the disk. A thread makes them.
- If another program, or the end of a checkpoint, has locked the file, the caller commits in a thread instead.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from actors.eventlog._sqlite_store import Writer
    from actors.eventlog.base import Batch

PAGES = 1_000
"""Number of pages, written since the last checkpoint, from which the next checkpoint begins: SQLite's own default.

The number of written pages is an estimate: one for four changed rows, and those of the events' bytes.
"""
LARGE_PAGES = 16_000
"""Number of pages in the write-ahead log from which a checkpoint locks the file for its last part.

SQLite can use the file of the write-ahead log from its beginning again only if no commit came during a checkpoint.
*Without the lock the file would grow for as long as the load lasts.*
"""
_PAGE_BITS = 12  # a page has 4,096 bytes
_ROWS_BITS = 2  # most rows of a commit, and of a lot in the index, share their page with others


class InlineCommits:
    """The commits that are made on the thread of the event loop, and the checkpoints that they need.

    All methods except the context manager :meth:`patience` must be called on the thread of the event loop, and only
    while no thread uses the writer.
    """

    def __init__(self, writer: Writer, checkpointer: sqlite3.Connection) -> None:
        self._writer = writer
        self._checkpointer = checkpointer
        self._checkpointing = trio.CapacityLimiter(1)
        self._is_due = False
        self._bytes = self._changes = 0
        # A commit on this thread must never wait for another program.
        set_busy_seconds(writer.connection, 0)

    def append(self, batches: Sequence[Batch]) -> int | None:
        """Append batches, as the writer does. Return None, and change nothing, if another program has locked the file.

        Raises the errors of the writer.
        """
        try:
            events = self._writer.append(batches)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return None
        for batch in batches:
            self._bytes += batch.size
        self.begin_checkpoint()
        return events

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Generator[None]:
        """Let the writer wait up to ``seconds`` for another program's lock, in the ``with`` block in a thread."""
        set_busy_seconds(self._writer.connection, seconds)
        try:
            yield
        finally:
            set_busy_seconds(self._writer.connection, 0)

    def begin_checkpoint(self) -> None:
        """Begin a checkpoint in a thread if enough pages were written since the last checkpoint."""
        changes = self._writer.connection.total_changes
        pages = (changes - self._changes >> _ROWS_BITS) + (self._bytes >> _PAGE_BITS)
        if pages < PAGES or self._is_due:
            return
        self._changes, self._bytes, self._is_due = changes, 0, True
        trio.lowlevel.spawn_system_task(self._checkpoint, name="checkpoint of a SQLite log")

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        """Wait until the running checkpoint has ended, and let no other begin inside the ``async with`` block."""
        async with self._checkpointing:
            yield

    async def _checkpoint(self) -> None:
        try:
            await trio.to_thread.run_sync(self._copy, limiter=self._checkpointing)
        finally:
            self._is_due = False

    def _copy(self) -> None:
        # If the disk is full or fails, the next checkpoint copies these pages too. Commits report a bad disk.
        with contextlib.suppress(sqlite3.Error):
            _, pages, _ = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages >= LARGE_PAGES:
                # Most pages are copied by now. This connection waits for no lock: if a commit is under way, or another
                # program reads, the next checkpoint tries again.
                self._checkpointer.execute("PRAGMA wal_checkpoint(FULL)")


def set_busy_seconds(connection: sqlite3.Connection, seconds: float) -> None:
    """Set the maximum time that a connection waits for a lock of another program."""
    connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
