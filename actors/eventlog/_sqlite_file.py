"""The file of a SQLite log: the checks before it is opened, its lock, its connections and its tables.

Every error is a ``LogError`` with a message of one line that names the path.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs

from actors.errors import LogCorrupt, LogError, LogSchemaTooNew, LogUnavailable
from actors.eventlog._sqlite_index import fill, find_damage
from actors.eventlog._sqlite_layout import APPLICATION_ID, SCHEMA, bring_up_to_date, show_as_new
from actors.eventlog._sqlite_lock import beside, is_locked, lock, lock_path
from actors.failures import log_line
from actors.private_files import make_private, warn_if_open_to_others

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger("greenroom.eventlog")

CHECK_SECONDS = 5.0
"""Maximum time for the check of a log file when it is opened, in seconds.

The time is enough for a file of some GiB. If the check takes longer, the file is opened without the check.
"""
_STEPS_PER_LOOK = 1_000
"""Number of steps of SQLite's virtual machine between two looks at the clock, while a log file is checked."""

WAL_BYTES = 16 * 1024 * 1024
"""Size in bytes to which the write-ahead log is cut after its content was copied to the main file.

This is four times the size that the write-ahead log reaches if no other program reads for long. Without this limit
SQLite never shrinks the file of the write-ahead log while the log is open.
"""

LOOK_SECONDS = 1.0
"""Minimum interval between two measurements of the write-ahead log, in seconds.

The size is measured only after a write.
"""
LARGE_WAL_BYTES = 256 * 1024 * 1024
"""Size of the write-ahead log, in bytes, from which one warning is logged.

The write-ahead log grows so large only if another program reads the log file for too long.
"""

# From the description of SQLite's file format.
_MAGIC, _HEADER_BYTES, _LARGEST_PAGE = b"SQLite format 3\0", 100, 65_536

# Linux's random id of the current boot of the machine.
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@attrs.define
class WalWatch:
    """An object that measures the size of a log file's write-ahead log again and again.

    Only one task at a time can use this object.
    """

    _path: Path
    size: int = 0
    """Size of the write-ahead log in bytes, at the last measurement; 0 if the log file has no write-ahead log."""
    _next_at: float = 0.0
    _warned: bool = False

    def look(self) -> None:
        """Measure the write-ahead log, at most once in :data:`LOOK_SECONDS`. Log a warning if that log is large."""
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + LOOK_SECONDS
        try:
            self.size = beside(self._path.resolve(), "-wal").stat().st_size
        except OSError:
            self.size = 0
        is_large = self.size >= LARGE_WAL_BYTES
        if is_large and not self._warned:
            text = "%s: the write-ahead log has %d MiB, and cannot shrink while another program keeps reading"
            log_line(logger, logging.WARNING, text, self._path, self.size >> 20)
        self._warned = is_large


@attrs.define
class Database:
    """An open log file: its connections, and the lock against other processes."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    checkpointer: sqlite3.Connection | None
    """A connection that makes the checkpoints of the write-ahead log. If this is None, the writer makes them."""
    descriptor: int
    """A descriptor of the file. It is closed after all connections (see :class:`.Scrub`)."""
    _owned: contextlib.ExitStack

    def close(self) -> None:
        """Close the connections, then release the lock. If the disk works, all appends are then on the disk."""
        with contextlib.suppress(sqlite3.Error), transaction(self.writer):  # if it fails, the next open() does it
            fill(self.writer)
        with contextlib.suppress(sqlite3.Error):  # if it fails, the risk stays noted and the next open() handles it
            _note_risk(self.writer, "")
        self._owned.close()


def open_database(path: Path, synchronous: str, busy_seconds: float, *, inline: bool = False) -> Database:
    """Open the log file at ``path`` for reading and writing. Make the file if it does not exist.

    With ``inline``, commits make no checkpoints, and the database has a connection for them that waits for no lock.
    Only the owner of a new file may read it. A warning is logged if every user may read an existing file. If this
    raises, nothing stays open or locked, and the log is unchanged.
    """
    _check_kind(path)
    with contextlib.ExitStack() as owned, translated(path):
        target = path.resolve()
        owned.callback(os.close, lock(path, target))
        _check_whole(path, target)
        _make(path, target)
        descriptor = os.open(target, os.O_RDWR)
        owned.callback(os.close, descriptor)
        writer = owned.enter_context(contextlib.closing(_connect(target, busy_seconds)))
        try:
            version = _version(writer, path)
        except (LogCorrupt, LogSchemaTooNew, sqlite3.DatabaseError) as error:
            if not isinstance(error, sqlite3.OperationalError):
                lock_path(target).unlink(missing_ok=True)  # not a log of ours: leave no file beside it
            raise
        _check_sound(writer, path, version)
        _set_up(writer, path, synchronous, version)
        reader = owned.enter_context(contextlib.closing(_connect(target, busy_seconds)))
        checkpointer = owned.enter_context(contextlib.closing(_connect(target, 0))) if inline else None
        if inline:
            writer.execute("PRAGMA wal_autocheckpoint = 0")
        return Database(writer, reader, checkpointer, descriptor, owned.pop_all())


def open_for_reading(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the log file at ``path`` for reading only. Nothing in the file changes.

    A server can have the file open meanwhile. A log of an older layout is read through views of the newest layout.
    Raises the errors of :func:`open_database`.
    """
    if not path.is_file():
        raise LogUnavailable(f"{path}: there is no such log")
    target = path.resolve()
    with contextlib.ExitStack() as owned, translated(path):
        # If a server has the file open, that server has checked it. The server may be in this process: then closing
        # another descriptor of the file would release SQLite's locks (POSIX).
        if not is_locked(target):
            _check_whole(path, target)
        uri = f"file:{quote(str(target))}?mode=ro"
        if _is_beyond_writing(target):
            _check_alone(path, target)
            uri += "&immutable=1"  # no process can write there, and SQLite cannot make its own files there
        connection = owned.enter_context(
            contextlib.closing(
                sqlite3.connect(uri, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=True)
            )
        )
        version = _version(connection, path)
        _check_sound(connection, path, version)
        show_as_new(connection, version)
        owned.pop_all()
        return connection


def _is_beyond_writing(target: Path) -> bool:
    """Return whether SQLite can neither find nor make ``-shm``, the index file that it needs for a write-ahead log.

    In that case SQLite cannot open the log file in the normal way, not even for reading.
    """
    return not os.access(target.parent, os.W_OK, effective_ids=True) and not beside(target, "-shm").exists()


def _check_alone(path: Path, target: Path) -> None:
    """Raise ``LogUnavailable`` if the log file has a write-ahead log that is not empty.

    The log file is opened as immutable after this check. For an immutable file, SQLite ignores the write-ahead log.
    """
    log = beside(target, "-wal")
    if log.exists() and log.stat().st_size:
        raise LogUnavailable(
            f"{path}: its newest events are in {log.name}, which cannot be read in a folder that may not be written:"
            " copy both files to one that may"
        )


@contextlib.contextmanager
def translated(path: Path) -> Generator[None]:
    """Raise a ``LogError`` in place of each SQLite error in the ``with`` block. The SQLite error is its cause."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise LogCorrupt(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise _as_log_error(path, error) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Run the ``with`` block in a write transaction. Commit at the end; if the block raises, undo all its changes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # if the disk was full, SQLite has rolled back by itself
            connection.execute("ROLLBACK")


def empty_wal(connection: sqlite3.Connection) -> bool:
    """Copy the write-ahead log to the file, and empty it. Return False, and do nothing more, if another program reads.

    This waits for no other program.
    """
    before = _value(connection, "PRAGMA busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        return _value(connection, "PRAGMA wal_checkpoint(TRUNCATE)") == 0
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def _as_log_error(path: Path, error: sqlite3.Error) -> LogError:
    # The low byte is the primary error code. The other bytes only add details.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return LogCorrupt(f"{path} is not a Greenroom log: {error}")
    if code == sqlite3.SQLITE_CORRUPT:
        return LogCorrupt(f"{path}: {error}")
    return LogUnavailable(f"{path}: {error}")


def _check_kind(path: Path) -> None:
    if not path.parent.is_dir():
        raise LogUnavailable(f"{path}: there is no directory {path.parent}")
    if path.is_dir():
        raise LogUnavailable(f"{path} is a directory")
    if path.exists() and not path.is_file():
        raise LogUnavailable(f"{path} is not a file")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise LogUnavailable(f"{path} may not be written")


def _check_whole(path: Path, target: Path) -> None:
    """Raise ``LogCorrupt`` for a file that is shorter than its header says. SQLite reads the missing bytes as zeros.

    A file with a write-ahead log is not checked: perhaps the missing pages are in that log. The header is described in
    https://www.sqlite.org/fileformat2.html#the_database_header.
    """
    log = beside(target, "-wal")
    if not target.exists() or (log.exists() and log.stat().st_size):
        return
    with target.open("rb") as file:
        header, size = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC) or header[24:28] != header[92:96]:
        return  # not a database, or its header has no page count: SQLite decides
    # A page of 65,536 bytes does not fit the field of two bytes: 1 stands for it.
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    whole = pages * (_LARGEST_PAGE if page == 1 else page)
    if size < whole:
        raise LogCorrupt(f"{path} is cut short: it has {size} bytes and should have {whole}")


def _check_sound(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raise ``LogCorrupt`` if the file's index does not match its table. ``version`` is the layout of the file.

    *A damaged index page hid the end of a stream: an older event seemed to be the newest, and new events got the
    numbers of the hidden events.* Rows have checksums, which are checked whenever a row is read. An index has no
    checksums: the only check is to compare the whole index with its table.
    """
    until = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_PER_LOOK)
    try:
        finding = _value(connection, "PRAGMA integrity_check(1)")
        # Up to schema 5 the index was one of SQLite's own.
        if finding == "ok" and version == SCHEMA:
            finding = find_damage(connection) or finding
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        text = "%s is too large to be checked within %g s; it is opened without the check"
        log_line(logger, logging.INFO, text, path, CHECK_SECONDS)
        return
    finally:
        connection.set_progress_handler(None, 0)
    if finding != "ok":
        raise LogCorrupt(f"{path} is damaged: {' '.join(str(finding).split())}")


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the paths of all files that a process has open while it has the log at ``path`` open."""
    target = path.resolve()
    return target, *(beside(target, ending) for ending in ("-wal", "-shm", "-lock"))


def _make(path: Path, target: Path) -> None:
    """Make the log file if it does not exist, so that only its owner may read it.

    SQLite gives its files beside the log file (``-wal``, ``-shm``) the mode of the log file.
    """
    try:
        if not make_private(target):
            warn_if_open_to_others(target, logger)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be made: {error.strerror}") from error


def _connect(target: Path, busy_seconds: float) -> sqlite3.Connection:
    # One thread at a time uses the connection, but not always the same thread. Transactions are begun explicitly.
    return sqlite3.connect(target, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the layout number of the database, 0 for an empty file. Raise if Greenroom cannot read this layout."""
    application = _value(connection, "PRAGMA application_id")
    version = _value(connection, "PRAGMA user_version")
    if (application, version, _value(connection, "SELECT count(*) FROM sqlite_master")) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise LogCorrupt(f"{path} is not a Greenroom log but another program's database")
    if not isinstance(version, int) or version < 1:
        raise LogCorrupt(f"{path} has schema {version}, which no Greenroom wrote")
    if version > SCHEMA:
        raise LogSchemaTooNew(f"{path} has schema {version}, this Greenroom reads up to {SCHEMA}: use a newer one")
    return version


def _set_up(connection: sqlite3.Connection, path: Path, synchronous: str, version: int) -> None:
    mode = _value(connection, "PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise LogUnavailable(f"{path}: its file system has no write-ahead log (journal mode {mode})")
    with transaction(connection):
        if version < SCHEMA:
            bring_up_to_date(connection, version)
        fill(connection)
    _renew_epochs(connection, path)
    _note_risk(connection, "" if synchronous == "FULL" else _boot())
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # Removed rows are overwritten: nothing of a forgotten user stays in unused parts of the file.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")


def _renew_epochs(connection: sqlite3.Connection, path: Path) -> None:
    """Give every stream a new epoch (random id) if a crash of the machine has perhaps lost the last appends.

    After a loss, new events get the numbers of the lost events. A client that has seen the lost events notices the new
    epoch and begins anew.
    """
    boot = _value(connection, "SELECT boot FROM risk")
    if boot in ("", _boot()):
        return
    with transaction(connection):
        count = connection.execute("UPDATE streams SET epoch = lower(hex(randomblob(8)))").rowcount
    text = "%s: the machine ended while it was open; %d sessions begin a new epoch"
    log_line(logger, logging.WARNING, text, path, count)


def _note_risk(connection: sqlite3.Connection, boot: str) -> None:
    """Store on the disk whether a crash of the machine can lose appends.

    ``boot`` is the id of the machine's current boot if appends can be lost, and "" if none can be lost.
    """
    # The note must be on the disk before any append that depends on it.
    connection.execute("PRAGMA synchronous = FULL")
    with transaction(connection):
        connection.execute("UPDATE risk SET boot = ?", (boot,))


def _boot() -> str:
    """Return the id of the machine's current boot. Each restart of the machine gets another id.

    On a system that has no boot id, return a new random id each time.
    """
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return secrets.token_hex(8)


def _value(connection: sqlite3.Connection, statement: str) -> object:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]
