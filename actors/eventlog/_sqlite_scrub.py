"""The removal of old copies of rows from the unused parts of a SQLite file, in lots: other calls go on in between.

SQLite overwrites a row that it deletes (``secure_delete``). But when it moves rows to another page, to join or divide
pages, their old copies stay in the page, in bytes that nothing uses. ``VACUUM`` would write the whole file anew:
*commits of all users waited 4.5 s for a file of 109 MB.* A scrub writes zeros into those bytes, and nowhere else.

- While a lot is looked at, nothing else can write, and the write-ahead log is empty. So the file has the newest version
  of each page.
- Only bytes without content change. So a crash leaves a sound file, whatever was written until then.
- A commit between two lots may write an old copy again: from a page in its cache, or with a page that SQLite moves as a
  whole. Such a page is in the write-ahead log when the next lot begins, and is looked at again in that lot. So when the
  last lot ends, each page was looked at after it was written.

The layout of pages is that of https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import trio

from actors.errors import LogCorrupt, LogUnavailable
from actors.eventlog._sqlite_file import empty_wal, transaction
from actors.eventlog._sqlite_lock import beside

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from actors.eventlog._sqlite_file import Database
    from actors.eventlog._sqlite_store import Writer
    from actors.eventlog.base import StreamKey

LOT_PAGES = 256
"""Number of pages in one lot, besides the pages that were written again since the lot before."""
LOT_ROWS = 200
"""Number of rows that are deleted in one transaction."""

_INTERIOR, _LEAF = (2, 5), (10, 13)
"""The first byte of a page of a tree. Free pages and the further pages of a long row begin with a page number."""
_MOST_PAGES = 1 << 24
"""Number of pages from which the first byte of a page number may be that of a tree's page: a file of 64 GiB."""
_PAUSE = 0.05
"""Pause in seconds after another program prevented that the write-ahead log is emptied."""
_FILE_HEADER, _WAL_HEADER, _FRAME_HEADER = 100, 32, 24


def shorten(writer: Writer, key: StreamKey) -> bool:
    """Delete the :data:`LOT_ROWS` oldest rows of a stream. Return False, and delete nothing, if it has no more rows.

    The newest row stays: the stream's end is read from it.
    """
    writer.fill_index()
    connection = writer.connection
    query = "SELECT s.id, i.first FROM streams s JOIN row_index i ON i.stream = s.id WHERE s.user = ? AND s.session = ?"
    found = connection.execute(f"{query} ORDER BY i.first LIMIT 1 OFFSET {LOT_ROWS}", tuple(key)).fetchone()
    if found is None:
        return False
    ids = "SELECT id FROM row_index WHERE stream = ? AND first < ?"
    with transaction(connection):
        connection.execute(f"DELETE FROM batches WHERE id IN ({ids})", found)  # noqa: S608 - a constant
        connection.execute("DELETE FROM row_index WHERE stream = ? AND first < ?", found)
    return True


async def until_done(attempt: Callable[[], Awaitable[bool]], path: Path, seconds: float) -> None:
    """Call ``attempt`` until it returns True.

    Raise LogUnavailable if another program prevents for longer than ``seconds`` that the write-ahead log is emptied.
    """
    until = trio.current_time() + seconds
    while not await attempt():
        if trio.current_time() >= until:
            raise LogUnavailable(
                f"{path}: another program reads the file, and keeps removed events in its write-ahead log: end that "
                "program, and try again"
            )
        await trio.sleep(_PAUSE)


class Scrubber:
    """The scrubs of an open log file, one at a time."""

    def __init__(self, database: Database, path: Path, busy_seconds: float) -> None:
        self._database = database
        self._path = path
        self._busy_seconds = busy_seconds
        self._scrubbing = trio.Lock()

    async def run(self, alone: Callable[[Callable[[Writer], bool]], Awaitable[bool]]) -> None:
        """Overwrite all bytes of the file that have no content, and empty the write-ahead log.

        Args:
            alone: Calls a function in a thread, while no other call uses the file.

        Raises:
            LogUnavailable: Another program reads the file for too long.
            LogCorrupt: A page is damaged.
        """
        async with self._scrubbing:
            scrub = Scrub(self._database.writer, self._database.descriptor, self._path.resolve())
            try:
                while not scrub.done:
                    await until_done(partial(alone, lambda _: scrub.lot()), self._path, self._busy_seconds)
            finally:
                with trio.CancelScope(shield=True):
                    await alone(lambda _: scrub.end())


class Scrub:
    """A walk over all pages of a log file, which overwrites the bytes without content.

    Args:
        connection: The only connection that writes to the file.
        descriptor: A descriptor of the file. It stays open for longer than all connections: *if a process closes any
            descriptor of a file, it loses SQLite's locks on the file (POSIX).*
        target: The path of the file.
    """

    def __init__(self, connection: sqlite3.Connection, descriptor: int, target: Path) -> None:
        self._connection = connection
        self._file = descriptor
        self._wal = beside(target, "-wal")
        self.position = 1
        """The number of the next page of the first look at all pages."""
        self._again = set[int]()
        self._checkpoint_pages: int | None = None
        self.done = False
        """Whether no byte without content has anything but zeros. This holds at the end of the last lot."""

    def lot(self) -> bool:
        """Look at the next pages. Return False, and do nothing, if another program uses the file.

        No other connection of this process may be in use. The caller calls this until :attr:`done`, then :meth:`end`.

        Raises:
            LogCorrupt: A page is damaged.
        """
        if self._checkpoint_pages is None:  # else a checkpoint could remove what shows which pages were written
            self._checkpoint_pages = self._value("PRAGMA wal_autocheckpoint")
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        if os.fstat(self._file).st_size // self._value("PRAGMA page_size") >= _MOST_PAGES:
            self._connection.execute("VACUUM")
            self.done = empty_wal(self._connection)
            return self.done
        self._again.update(number for number in self._written() if number < self.position)
        if not empty_wal(self._connection):
            return False
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if self._wal.stat().st_size:  # another program has written in this moment
                return False
            self._look_at_pages()
        finally:
            self._connection.execute("ROLLBACK")
            # The next commit must read the pages from the file: those in memory have the old bytes.
            self._connection.execute("PRAGMA shrink_memory")
        if self.done:
            os.fsync(self._file)
        return True

    def end(self) -> bool:
        """Let the connection make checkpoints again. Call this also after an error. Return True."""
        if self._checkpoint_pages is not None:
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
            self._checkpoint_pages = None
        return True

    def _look_at_pages(self) -> None:
        header = os.pread(self._file, _FILE_HEADER, 0)
        size = _number(header, 16, 2)
        size = 65_536 if size == 1 else size
        pages, usable = os.fstat(self._file).st_size // size, size - header[20]
        free = dict(self._free_pages(_number(header, 32, 4), size, pages))
        lot = {*range(self.position, min(self.position + LOT_PAGES, pages + 1)), *self._again}
        for number in sorted(lot):
            if number > pages:  # the file has become shorter
                break
            page = os.pread(self._file, size, (number - 1) * size)
            parts = [(free[number], size)] if number in free else unused_parts(page, number, usable)
            for start, end in parts:
                if page.count(0, start, end) != end - start:
                    os.pwrite(self._file, bytes(end - start), (number - 1) * size + start)
        self.position += LOT_PAGES
        self._again.clear()
        self.done = self.position > pages

    def _value(self, statement: str) -> int:
        value: int = self._connection.execute(statement).fetchone()[0]
        return value

    def _free_pages(self, trunk: int, size: int, pages: int) -> Iterator[tuple[int, int]]:
        """Yield the number of each free page, and the position from which it has no content."""
        seen = 0
        while trunk:
            seen += 1
            if trunk > pages or seen > pages:
                raise LogCorrupt("the list of free pages is damaged")
            page = os.pread(self._file, size, (trunk - 1) * size)
            count = min(_number(page, 4, 4), size // 4 - 2)
            yield trunk, 8 + 4 * count
            for index in range(count):
                yield _number(page, 8 + 4 * index, 4), 0
            trunk = _number(page, 0, 4)

    def _written(self) -> set[int]:
        """Return the numbers of all pages in the write-ahead log."""
        found = set[int]()
        try:
            with self._wal.open("rb") as file:  # SQLite has no locks on this file
                header = file.read(_WAL_HEADER)
                stride = _FRAME_HEADER + _number(header, 8, 4)
                position = _WAL_HEADER
                # Frames of an earlier round of the file have other random numbers.
                while (frame := os.pread(file.fileno(), _FRAME_HEADER, position))[8:16] == header[16:24] != b"":
                    found.add(_number(frame, 0, 4))
                    position += stride
        except FileNotFoundError:
            pass
        return found


def unused_parts(page: bytes, number: int, usable: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a page without content, as positions of their beginning and end.

    Args:
        page: The content of a page that is not free.
        number: The number of the page. The first page begins with the header of the file.
        usable: Number of bytes that SQLite uses of each page.

    Raises:
        LogCorrupt: The page is damaged.
    """
    start = _FILE_HEADER if number == 1 else 0
    if page[start] not in {*_INTERIOR, *_LEAF}:
        return
    cells, content = _number(page, start + 3, 2), _number(page, start + 5, 2) or 65_536
    gap = start + (12 if page[start] in _INTERIOR else 8) + 2 * cells
    if not gap <= content <= usable:
        raise LogCorrupt(f"page {number} is damaged")
    yield gap, content
    block = _number(page, start + 1, 2)  # the parts of deleted rows, in a list
    while block:
        following, size = _number(page, block, 2), _number(page, block + 2, 2)
        if not content <= block <= block + size <= usable or 0 < following <= block:
            raise LogCorrupt(f"page {number} is damaged")
        yield block + 4, block + max(size, 4)
        block = following


def _number(data: bytes, position: int, size: int) -> int:
    return int.from_bytes(data[position : position + size])
