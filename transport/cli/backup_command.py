"""``greenroom backup`` and ``greenroom restore``: copy a log to a file while it is used, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import trio

from actors import ConfigError, SqliteLog
from actors.failures import one_line
from actors.spi import back_up_file, back_up_log, restore_file, restore_log
from actors.valkey.address import without_password
from transport.cli._logs import file_of, reading, refuse_memory, require_file, unused
from transport.cli._terminal import Progress, say

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from actors import LogReport
    from transport.cli._options import AddParser

FAULTY = 1
"""The exit status if the copy was made, and has faults, because the log has them."""


def add_to(add_parser: AddParser) -> None:
    """Add the commands ``backup`` and ``restore`` to the parser."""
    backup_parser = add_parser(
        "backup",
        help="copy a log to a file, also while a server uses it",
        description="Copy a log to a new SQLite file, also while a server uses the log, and check the copy. The file "
        "is there completely, or not at all. A SQLite log is copied as it is at one moment, a log in Valkey session by "
        "session. Ends with status 1 if the log has faults, which the copy then has, too.",
        epilog="example: greenroom backup greenroom.db /mnt/backup/monday.db",
    )
    backup_parser.add_argument("log", metavar="LOG", help="a file, sqlite:PATH or valkey://HOST:PORT")
    backup_parser.add_argument("target", metavar="TO", help="the file to make")
    _add_common(backup_parser, "replace an existing file")
    backup_parser.set_defaults(run=_backup)
    restore_parser = add_parser(
        "restore",
        help="make a log from a backup",
        description="Make a log from a file that greenroom backup has made. Each session gets a new epoch, so clients "
        "that have seen newer events begin anew. No server may have the log open.",
        epilog="example: greenroom restore /mnt/backup/monday.db greenroom.db --force",
    )
    restore_parser.add_argument("backup", metavar="FROM", help="the file of the backup; it is not changed")
    restore_parser.add_argument("log", metavar="TO", help="a file, sqlite:PATH, or valkey://HOST:PORT without sessions")
    _add_common(restore_parser, "replace an existing file, with all its sessions")
    restore_parser.set_defaults(run=_restore)


def _add_common(parser: argparse.ArgumentParser, force: str) -> None:
    parser.add_argument("--force", action="store_true", help=force)
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")


def _backup(options: argparse.Namespace) -> int:
    source, target = options.log, options.target
    refuse_memory(source, "backed up")
    require_file(source)
    return _told(options, trio.run(backup, source, _target_file(source, target), options.force), source, target)


def _restore(options: argparse.Namespace) -> int:
    source, target = options.backup, options.log
    refuse_memory(target, "restored")
    path = file_of(source)
    if path is None:
        raise ConfigError(f"{without_password(source)} is no file: restore takes a file that greenroom backup has made")
    require_file(source)
    if file_of(target) is not None:
        _target_file(source, target)
    elif options.force:
        raise ConfigError("--force is for files: give a log in Valkey without sessions, or another valkey_prefix")
    return _told(options, trio.run(restore, path, target, options.force), source, target)


def _target_file(source: str, target: str) -> Path:
    """Return the file ``target``. Raise ConfigError if it is no file, or is the source itself."""
    path, other = file_of(target), file_of(source)
    if path is None:
        raise ConfigError(f"{without_password(target)} is no file: a backup is a SQLite file")
    if other is not None and other.resolve() == path.resolve():
        raise ConfigError(f"{source} and {target} are the same file")
    return path


async def backup(source: str, target: Path, replaces: bool) -> LogReport:  # noqa: FBT001 - for trio.run
    """Copy a log to a file, and show the progress on stderr if it is a terminal. Return the check of the copy.

    Raises:
        LogError: The log cannot be read, the file cannot be made, or it exists and ``replaces`` is False.
    """
    path = file_of(source)
    with Progress() as progress:
        if path is not None:
            return await back_up_file(path, target, progress.pages, replaces=replaces)
        async with reading(source) as log:
            return await back_up_log(log, target, progress.sessions, replaces=replaces)


async def restore(source: Path, target: str, replaces: bool) -> LogReport:  # noqa: FBT001 - for trio.run
    """Make a log from a backup, and show the progress on stderr if it is a terminal. Return the check of the log.

    Raises:
        LogError: The backup cannot be read, a server uses the log, or the log has sessions and ``replaces`` is False.
    """
    path = file_of(target)
    with Progress() as progress:
        if path is not None:
            return await restore_file(source, path, progress.pages, replaces=replaces)
        async with SqliteLog(source, read_only=True) as log, unused(target) as engine:
            return await restore_log(log, engine, progress.sessions)


def _told(options: argparse.Namespace, report: LogReport, source: str, target: str) -> int:
    """Print the result of a command. Return its exit status."""
    source, target = without_password(source), without_password(target)
    faults = [str(fault) for fault in report.faults]
    if options.json:
        counts = {"sessions": report.sessions, "events": report.events, "faults": faults}
        print(orjson.dumps({"from": source, "to": target, **counts}).decode())
    else:
        print(f"{target}: {report.sessions} sessions, {report.events} events from {source}")
        for fault in faults:
            say(one_line(f"{target}: {fault}"))
    return FAULTY if faults else 0
