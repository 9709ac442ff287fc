"""The file of a SQLite log: found fit, locked, opened, given its tables; every way that this can fail in one line."""

from __future__ import annotations

import contextlib
import fcntl
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
from actors.eventlog._sqlite_layout import APPLICATION_ID, SCHEMA, bring_up_to_date, show_as_new
from actors.failures import log_line

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger("greenroom.eventlog")

CHECK_SECONDS = 5.0
"""How long the check of a file may hold up its opening: some GiB on a machine of today. More is not checked."""
_STEPS_PER_LOOK = 1_000

WAL_BYTES = 16 * 1024 * 1024
"""Size to which the write-ahead log is cut back once all of it is in the file: four times what it grows to where no
other program reads for long. SQLite itself never makes it smaller while the log is open."""

_MAGIC, _HEADER_BYTES, _LARGEST_PAGE = b"SQLite format 3\0", 100, 65_536

_BOOT = Path("/proc/sys/kernel/random/boot_id")


LOOK_SECONDS = 1.0
"""How often the size of the write-ahead log is looked at, while something is written."""
LARGE_WAL_BYTES = 256 * 1024 * 1024
"""A write-ahead log of this size is told as a warning, once: another program must be reading for long."""


@attrs.define
class WalWatch:
    """Watches the size of the write-ahead log of the file at ``path``; for one caller at a time."""

    _path: Path
    size: int = 0
    """In bytes, when it was last looked at; 0 where there is none."""
    _next_at: float = 0.0
    _told: bool = False

    def look(self) -> None:
        """Look at the size, unless that was done a moment ago; warn where it is large."""
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + LOOK_SECONDS
        try:
            self.size = _beside(self._path.resolve(), "-wal").stat().st_size
        except OSError:
            self.size = 0
        is_large = self.size >= LARGE_WAL_BYTES
        if is_large and not self._told:
            text = "%s: the write-ahead log has %d MiB, and cannot shrink while another program goes on reading"
            log_line(logger, logging.WARNING, text, self._path, self.size >> 20)
        self._told = is_large


@attrs.define
class Database:
    """An open log file: one connection that writes, one that reads, and the lock that keeps other processes out."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    _owned: contextlib.ExitStack

    def close(self) -> None:
        """Close both connections, then let the lock go. What was appended is on the disk then, if the disk takes it."""
        with contextlib.suppress(sqlite3.Error):  # where it does not, the next one who opens it takes precautions
            _note_risk(self.writer, "")
        self._owned.close()


def open_database(path: Path, synchronous: str, busy_seconds: float) -> Database:
    """Open the log at ``path``; make it if it is missing.

    Raises a ``LogError`` that names the path; then nothing stays open, locked or changed.
    """
    _check_kind(path)
    with contextlib.ExitStack() as owned, translated(path):
        target = path.resolve()
        owned.callback(os.close, _lock(path, target))
        _check_whole(path, target)
        writer = owned.enter_context(contextlib.closing(_connect(target, busy_seconds)))
        try:
            version = _version(writer, path)
        except (LogCorrupt, LogSchemaTooNew, sqlite3.DatabaseError) as error:
            if not isinstance(error, sqlite3.OperationalError):
                _lock_path(target).unlink(missing_ok=True)  # nobody can use it: leave no trace beside another's file
            raise
        _check_sound(writer, path)
        _set_up(writer, path, synchronous, version)
        reader = owned.enter_context(contextlib.closing(_connect(target, busy_seconds)))
        return Database(writer, reader, owned.pop_all())


def open_for_reading(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the log at ``path`` to read, also beside a server that has it open; nothing in it changes.

    A log of an older layout is shown in the newest one. Raises as :func:`open_database` does.
    """
    if not path.is_file():
        raise LogUnavailable(f"{path}: there is no such log")
    target = path.resolve()
    with contextlib.ExitStack() as owned, translated(path):
        if not _is_locked(target):  # else it is whole, or its owner has said so; and its locks are not to be touched
            _check_whole(path, target)
        uri = f"file:{quote(str(target))}?mode=ro"
        if _is_beyond_writing(target):
            _check_alone(path, target)
            uri += "&immutable=1"  # nobody can be writing there, and SQLite has no place for its own files
        connection = owned.enter_context(
            contextlib.closing(
                sqlite3.connect(uri, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=True)
            )
        )
        version = _version(connection, path)
        _check_sound(connection, path)
        show_as_new(connection, version)
        owned.pop_all()
        return connection


def _is_beyond_writing(target: Path) -> bool:
    """Whether SQLite can neither make the index of a write-ahead log beside the file, nor finds one there."""
    return not os.access(target.parent, os.W_OK, effective_ids=True) and not _beside(target, "-shm").exists()


def _check_alone(path: Path, target: Path) -> None:
    """Refuse a file with a write-ahead log: opened as one that cannot change, SQLite would leave out what is in it."""
    log = _beside(target, "-wal")
    if log.exists() and log.stat().st_size:
        raise LogUnavailable(
            f"{path}: its newest events are in {log.name}, which cannot be read in a folder that may not be written:"
            " copy both files to one that may"
        )


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}{ending}")


def _is_locked(target: Path) -> bool:
    """Whether a server has the log open."""
    try:
        descriptor = os.open(_lock_path(target), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn SQLite's errors into the log's, with their cause."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise LogCorrupt(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise _as_log_error(path, error) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """One write transaction: committed at the end, or rolled back whole."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite has rolled back by itself where the disk was full
            connection.execute("ROLLBACK")


def _as_log_error(path: Path, error: sqlite3.Error) -> LogError:
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
    """Refuse a file that ends before its header says: SQLite takes what is missing of the last page for zeros.

    Only where there is no write-ahead log, which may hold what is missing. The header is described in
    https://www.sqlite.org/fileformat2.html#the_database_header.
    """
    log = _beside(target, "-wal")
    if not target.exists() or (log.exists() and log.stat().st_size):
        return
    with target.open("rb") as file:
        header, size = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC) or header[24:28] != header[92:96]:
        return  # no database, or one whose header does not count its pages: SQLite has the word
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    whole = pages * (_LARGEST_PAGE if page == 1 else page)
    if size < whole:
        raise LogCorrupt(f"{path} is cut short: it has {size} bytes and should have {whole}")


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file whose index does not say what its table says: a hit in an index page would hide a stream's end.

    Events below would then be taken for the newest, and others get the numbers of those that are hidden. Rows have
    checksums and are looked at whenever they are read; an index can only be held against its table, all at once.
    """
    until = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_PER_LOOK)
    try:
        finding = _value(connection, "PRAGMA integrity_check(1)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        log_line(
            logger, logging.INFO, "%s is too large to be checked in %g s; it is taken as it is", path, CHECK_SECONDS
        )
        return
    finally:
        connection.set_progress_handler(None, 0)
    if finding != "ok":
        raise LogCorrupt(f"{path} is damaged: {' '.join(str(finding).split())}")


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the paths of everything that an open log has open."""
    target = path.resolve()
    return target, *(_beside(target, ending) for ending in ("-wal", "-shm", "-lock"))


def _lock_path(target: Path) -> Path:
    return _beside(target, "-lock")


def _lock(path: Path, target: Path) -> int:
    """Lock the log for this process, and say whose it is where it is another's.

    The lock is on a file beside the log: closing a second descriptor of the log itself would take SQLite's own locks
    away (POSIX). It goes with the process, however that ends; the file stays.
    """
    try:
        descriptor = os.open(_lock_path(target), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace")
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise LogUnavailable(f"{path} is in use by process {owner or 'unknown'}") from error
        raise LogUnavailable(f"{path} cannot be locked: {error.strerror}") from error
    return descriptor


def _connect(target: Path, busy_seconds: float) -> sqlite3.Connection:
    # One thread at a time uses it, not always the same one; transactions are begun by hand.
    return sqlite3.connect(target, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Find the layout of the database, 0 for an empty one; raises where it is not a log that this version reads."""
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
    if version < SCHEMA:
        with transaction(connection):
            bring_up_to_date(connection, version)
    _renew_epochs(connection, path)
    _note_risk(connection, "" if synchronous == "FULL" else _boot())
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")


def _renew_epochs(connection: sqlite3.Connection, path: Path) -> None:
    """Give every stream another epoch where the machine has ended under a log that it might not have written out.

    The newest events may be gone with it, and other ones get their numbers: a client that had seen those must not go on
    as if nothing had happened.
    """
    boot = _value(connection, "SELECT boot FROM risk")
    if boot in ("", _boot()):
        return
    with transaction(connection):
        count = connection.execute("UPDATE streams SET epoch = lower(hex(randomblob(8)))").rowcount
    log_line(
        logger, logging.WARNING, "%s: the machine ended while it was open; %d sessions begin a new epoch", path, count
    )


def _note_risk(connection: sqlite3.Connection, boot: str) -> None:
    """Note in which boot appends may be lost, and have it on the disk before the first of them; none where empty."""
    connection.execute("PRAGMA synchronous = FULL")
    with transaction(connection):
        connection.execute("UPDATE risk SET boot = ?", (boot,))


def _boot() -> str:
    """Name this boot of the machine; where it has no name, each call gives another one, so that none is taken on."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return secrets.token_hex(8)


def _value(connection: sqlite3.Connection, statement: str) -> object:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]
