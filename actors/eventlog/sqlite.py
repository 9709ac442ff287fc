"""The log in a SQLite file, the default engine."""

# ruff: noqa: D102 - the methods' contract is EventLog's

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import trio

from actors.errors import ConfigError, LogUnavailable
from actors.eventlog._sqlite_consumers import SqliteConsumers
from actors.eventlog._sqlite_file import (
    Database,
    WalWatch,
    empty_wal,
    files_of,
    open_database,
    open_for_reading,
    translated,
)
from actors.eventlog._sqlite_inline import InlineCommits
from actors.eventlog._sqlite_scrub import Scrubber, shorten, until_done
from actors.eventlog._sqlite_store import Reader, Writer
from actors.eventlog.base import Head, LogStatistics
from actors.failures import shown, text_of
from actors.loop import forks

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Sequence

    from actors.eventlog.base import Batch, Retention, Revocation, StreamKey, UserUsage

T = TypeVar("T")


class SqliteLog(SqliteConsumers):
    """An event log in a SQLite file. Only one process at a time can have the file open for writing.

    Every batch (consecutive events of one stream) is a row, and every append is a transaction. An append that returned
    survives the death of the process. With ``synchronous="FULL"`` the append survives a power failure too. With
    ``"NORMAL"`` a power failure can lose the last appends, but never only a part of an append.

    All work is done in threads: at most one call writes at a time, and at most one other call reads meanwhile. So a
    slow disk delays events, but nothing else in the process.

    With ``commit="inline"`` appends commit on the thread of the event loop. That costs less CPU time, and events are
    delivered sooner. But while the disk does not take a commit, nothing runs in the process: no event of any user, no
    ping, no page about health. This is for one server on a fast local disk, if each millisecond counts. If another
    program has locked the file, the append is done in a thread.

    Args:
        path: The file. A file that does not exist is made.
        synchronous: ``"NORMAL"`` or ``"FULL"``, as above.
        commit: ``"thread"`` or ``"inline"``, as above. ``"inline"`` needs ``"NORMAL"``.
        busy_seconds: Maximum time that a call waits while another program (for example ``sqlite3`` in a terminal) has
            locked the file. After that time the call raises ``LogUnavailable``.
        read_only: Open an existing log to read it, also while another process has it open. Calls that would change the
            log raise ``LogUnavailable``.

    Raises:
        ConfigError: The path, ``synchronous`` or ``commit`` cannot be used.
    """

    gather_seconds = 0.002  # about the cost of one commit

    def __init__(
        self,
        path: str | os.PathLike[str],
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        *,
        commit: Literal["thread", "inline"] = "thread",
        busy_seconds: float = 5.0,
        read_only: bool = False,
    ) -> None:
        self._path = Path(path)
        if not self._path.name or "\0" in str(path):
            raise ConfigError(f"not a path of a log file: {shown(text_of(path))}")
        if synchronous not in ("NORMAL", "FULL"):
            raise ConfigError(f"synchronous is NORMAL or FULL, not {shown(synchronous)}")
        if commit not in ("thread", "inline"):
            raise ConfigError(f"commit is thread or inline, not {shown(commit)}")
        if (synchronous, commit) == ("FULL", "inline"):
            raise ConfigError("commit=inline needs synchronous=NORMAL: with FULL each commit would stop the event loop")
        self._synchronous = synchronous
        self._commit = commit
        self._busy_seconds = busy_seconds
        self._read_only = read_only
        self._writing, self._reading = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._database: Database | sqlite3.Connection | None = None
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._scrubber: Scrubber | None = None
        self._inline: InlineCommits | None = None
        self._commits = self._batches = self._events = self._reads = self._trims = 0
        self._wal = WalWatch(self._path)

    async def open(self) -> None:
        # This takes both limiters, so that no other call reads or writes while the file is being opened.
        async with self._reading:
            await trio.to_thread.run_sync(self._open, limiter=self._writing)

    async def close(self) -> None:
        # This takes all limiters, so that calls in progress and a checkpoint finish first.
        with trio.CancelScope(shield=True):
            async with self._reading, nullcontext() if self._inline is None else self._inline.paused():
                await trio.to_thread.run_sync(self._close, limiter=self._writing)

    async def make(self, key: StreamKey) -> Head:
        return await self._write(lambda writer: writer.make(key))

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        await self._write(lambda writer: writer.restore(key, epoch, latest, state, touched))

    async def head(self, key: StreamKey) -> Head | None:
        return await self._read(lambda reader: reader.head(key))

    async def append(self, batches: Sequence[Batch]) -> None:
        events = None
        if self._inline is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            events = self._append_inline(batches)
        if events is None:
            events = await self._write(lambda writer: writer.append(batches))
        self._count(batches, events)

    def appender(self) -> Callable[[Sequence[Batch]], None] | None:
        # A subclass that overrides append() must get every append.
        is_inline = self._commit == "inline" and type(self).append is SqliteLog.append
        return self._append_now if is_inline else None

    def _append_now(self, batches: Sequence[Batch]) -> None:
        if (events := self._append_inline(batches)) is None:
            raise LogUnavailable(f"{self._path} is in use, or not open: an append has to wait")
        self._count(batches, events)

    def _count(self, batches: Sequence[Batch], events: int) -> None:
        self._commits += bool(batches)
        self._batches += len(batches)
        self._events += events

    async def mark(self, key: StreamKey, state: bytes) -> None:
        await self._write(lambda writer: writer.mark(key, state))

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        lines = await self._read(lambda reader: reader.read(key, after, limit, size))
        self._reads += 1
        return lines

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        head, dropped = await self._write(lambda writer: writer.trim(key, keep, now))
        self._trims += dropped
        return head

    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        return await self._read(lambda reader: reader.streams(after, limit))

    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        return await self._read(lambda reader: reader.user_streams(user, after, limit))

    async def usage(self, user: str) -> UserUsage:
        return await self._read(lambda reader: reader.usage(user))

    async def oldest_streams(self, user: str, limit: int) -> Sequence[StreamKey]:
        return await self._read(lambda reader: reader.oldest_streams(user, limit))

    async def remove(self, key: StreamKey) -> None:
        while await self._write(lambda writer: shorten(writer, key)):  # other calls go on in between
            pass
        await self._write(lambda writer: writer.remove(key))

    async def forget(self, user: str, *, thorough: bool = False) -> int:
        count = await super().forget(user, thorough=thorough)
        if thorough:
            async with nullcontext() if self._inline is None else self._inline.paused():
                await self._opened(self._scrubber).run(self._alone)
        else:
            emptied = partial(self._alone, lambda writer: empty_wal(writer.connection))
            await until_done(emptied, self._path, self._busy_seconds)
        return count

    async def _alone(self, call: Callable[[Writer], bool]) -> bool:
        async with self._reading:  # its reads would prevent that the write-ahead log is emptied
            return await self._write(call)

    async def revoke(self, revocation: Revocation, now: float) -> None:
        await self._write(lambda writer: writer.revoke(revocation, now))

    async def revocations(self) -> Sequence[Revocation]:
        return await self._read(lambda reader: reader.revocations())

    def statistics(self) -> LogStatistics:
        writer = self._writer
        return LogStatistics(
            engine="sqlite",
            streams=0 if writer is None else writer.remembered,
            commits=self._commits,
            batches=self._batches,
            events=self._events,
            reads=self._reads,
            trims=self._trims,
            wal_bytes=self._wal.size,
        )

    @trio.lowlevel.enable_ki_protection  # a Ctrl-C must not come between a commit and what is remembered of it
    def _append_inline(self, batches: Sequence[Batch]) -> int | None:
        """Append on this thread. Return None, and change nothing, if the append must be done in a thread."""
        if self._inline is None or self._writing.borrowed_tokens:  # a thread writes, or a call waits for its turn
            return None
        with translated(self._path):
            events = self._inline.append(batches)
        self._wal.look()
        return events

    async def _write(self, call: Callable[[Writer], T]) -> T:
        def work() -> T:
            with translated(self._path):
                writer = self._opened(self._writer)
                with nullcontext() if self._inline is None else self._inline.patience(self._busy_seconds):
                    result = call(writer)
            self._wal.look()
            return result

        result = await trio.to_thread.run_sync(work, limiter=self._writing)
        if self._inline is not None:
            self._inline.begin_checkpoint()
        return result

    async def _read(self, call: Callable[[Reader], T]) -> T:
        def work() -> T:
            with translated(self._path):
                return call(self._opened(self._reader))

        return await trio.to_thread.run_sync(work, limiter=self._reading)

    def _opened(self, part: T | None) -> T:
        """Return ``part``, the reader or the writer of the log. Raise ``LogUnavailable`` if ``part`` is None.

        Reader and writer are None if the log is not open. The writer is also None if the log is open for reading only.
        """
        if part is None:
            is_open = self._database is not None
            raise LogUnavailable(f"{self._path} is {'open for reading only' if is_open else 'not open'}")
        return part

    def _open(self) -> None:
        if self._database is not None:
            raise RuntimeError(f"{self._path} is open already")
        # Before the files are open: a child forked in between must know that they are not its own.
        forks.keep_files(self)
        try:
            self._open_files()
        except BaseException:
            forks.release_files(self)
            raise
        self._commits = self._batches = self._events = self._reads = self._trims = 0

    def _open_files(self) -> None:
        if self._read_only:
            self._database = connection = open_for_reading(self._path, self._busy_seconds)
            self._reader = Reader(connection)
        else:
            self._database = database = open_database(
                self._path, self._synchronous, self._busy_seconds, inline=self._commit == "inline"
            )
            self._reader, self._writer = Reader(database.reader), Writer(database.writer)
            self._scrubber = Scrubber(database, self._path, self._busy_seconds)
            if database.checkpointer is not None:
                self._inline = InlineCommits(self._writer, database.checkpointer)

    def _close(self) -> None:
        database, self._database, self._reader, self._writer = self._database, None, None, None
        self._inline = self._scrubber = None
        if database is not None:
            database.close()
        forks.release_files(self)

    # For a forked child process (see actors.loop.forks)

    def files(self) -> Sequence[Path]:
        return files_of(self._path)

    def abandon(self) -> None:
        forks.leak(self._database)
        self._database = self._reader = self._writer = self._inline = self._scrubber = None
