"""Copies of a SQLite log file: a copy while a server uses the file, and a copy that takes the place of a file.

All functions here block. Every error is a ``LogError`` with a message of one line that names a file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import LogError, LogUnavailable
from actors.eventlog._sqlite_file import open_for_reading, transaction, translated
from actors.eventlog._sqlite_lock import beside, is_locked, lock
from actors.private_files import make_private

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

STEP_PAGES = 256
"""Number of pages that one step of a copy takes. Between two steps the progress is shown, and Ctrl-C is heeded."""
BUSY_SECONDS = 2.0
"""Maximum time for which a copy waits while another program has locked the source, in seconds."""
_LOG = "log"
"""Name of the new file in its own folder, before it gets its place."""


def copy_file(source: Path, target: Path, on_progress: Callable[[int, int], None]) -> None:
    """Copy the log file ``source`` to the new file ``target``, as the log is at this moment.

    A server can use the source meanwhile: it is not held up. Its commits are not in the copy, and the write-ahead log
    keeps them beside the file until the copy is done. *A copy that took the newest state in each step would begin anew
    with each commit, and never end.*

    Args:
        source: The file. Its write-ahead log is copied, too.
        target: The other file, which only its owner may read. It has no write-ahead log.
        on_progress: Called with the number of copied pages, and of all pages.

    Raises:
        LogError: The source cannot be read, or the target cannot be written.
    """
    with contextlib.ExitStack() as owned:
        reader = owned.enter_context(contextlib.closing(open_for_reading(source, BUSY_SECONDS)))
        with translated(source):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on, the state of this moment
        with translated(target):
            make_private(target)
            writer = owned.enter_context(contextlib.closing(sqlite3.connect(target, isolation_level=None)))
            reader.backup(
                writer,
                pages=STEP_PAGES,
                progress=lambda _status, remaining, pages: on_progress(pages - remaining, pages),
            )
            writer.execute("PRAGMA journal_mode = DELETE")


def renew_epochs(path: Path) -> None:
    """Give each session in the log file a new epoch. The file is in no use. Its layout can be an older one."""
    with (
        translated(path),
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        transaction(connection),
    ):
        connection.execute("UPDATE streams SET epoch = lower(hex(randomblob(8)))")
        with contextlib.suppress(sqlite3.OperationalError):  # the first layout has no such table
            connection.execute("UPDATE risk SET boot = ''")  # a restart of the machine loses nothing of the copy


def make_single(path: Path) -> None:
    """Put everything of the log file into the file itself, so that it needs no write-ahead log. It is in no use."""
    with translated(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


@contextlib.contextmanager
def new_file(target: Path, *, replaces: bool, keeps_lock: bool = False) -> Generator[Path]:
    """Yield the path of a file to be made. At the end of the ``with`` block it becomes ``target``, in one step.

    If the block raises, the target is unchanged, and nothing is left.

    Args:
        target: The path of the file.
        replaces: Whether the file may take the place of an existing one.
        keeps_lock: Whether no server may open the target inside the block.

    Raises:
        LogUnavailable: A server has the target open, or the folder cannot be written.
        LogError: The target exists, and ``replaces`` is False.
    """
    path = target.resolve()
    if not path.parent.is_dir():
        raise LogUnavailable(f"{target}: there is no directory {path.parent}")
    if path.is_dir():
        raise LogUnavailable(f"{target} is a directory")
    _refuse_existing(target, path, replaces=replaces)
    with contextlib.ExitStack() as owned:
        if keeps_lock:
            owned.callback(os.close, lock(target, path))
        elif is_locked(path):
            raise LogUnavailable(f"{target} is in use by a server: give another name")
        try:
            folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        except OSError as error:
            raise LogUnavailable(f"{target} cannot be made: {error.strerror}") from error
        owned.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder / _LOG
        _refuse_existing(target, path, replaces=replaces)
        _put(folder / _LOG, path, replaces=replaces)


def _refuse_existing(target: Path, path: Path, *, replaces: bool) -> None:
    if path.exists() and not replaces:
        raise LogError(f"{target} exists already: give another name, or --force to replace it")


def _put(new: Path, path: Path, *, replaces: bool) -> None:
    """Move the file ``new`` to its place, and make that durable."""
    try:
        if path.exists():
            _end_write_ahead_log(path)
        if replaces:
            new.replace(path)
        else:
            os.link(new, path)  # unlike a move, this never replaces a file that another program has just made
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be made: {error.strerror}") from error


def _end_write_ahead_log(path: Path) -> None:
    """Take the write-ahead log away from a file that is about to be replaced. No program has the file open.

    *A write-ahead log that a killed server had left would be applied to the new file, and damage it.*
    """
    # First into the file, so that nothing is lost if this process is killed between the two steps.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = DELETE")
    for ending in ("-wal", "-shm"):
        beside(path, ending).unlink(missing_ok=True)
