"""``greenroom verify`` and ``greenroom export``: read a log from outside its server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import trio

from actors import LogCorrupt, open_log, verify_log
from actors.failures import one_line
from actors.spi import StreamWalk
from actors.valkey.address import without_password
from transport.cli._options import valkey_options
from transport.cli._terminal import say

if TYPE_CHECKING:
    import argparse

    from actors import EventLog, StreamKey
    from transport.cli._options import AddParser

_EXPORT_ATTEMPTS = 3
"""Maximum number of attempts to export a session. The export is repeated if a new session took its place."""

FAULTY = 1
"""The exit status if the log has faults, or no session of the given user or name."""


def add_to(add_parser: AddParser) -> None:
    """Add the commands ``verify`` and ``export`` to the parser."""
    verify_parser = add_parser(
        "verify",
        help="check every session in a log",
        description="Check the grammar of every session in a log, also while a server has it open; changes nothing. "
        "Prints a line for each fault and ends with status 1 if there is one.",
        epilog="example: greenroom verify greenroom.db",
    )
    verify_parser.add_argument("log", metavar="LOG", help="a file, sqlite:PATH or valkey://HOST:PORT")
    verify_parser.set_defaults(run=_verify)
    export_parser = add_parser(
        "export",
        help="print a log's events as JSON lines",
        description="Print every event in a log as one JSON object a line, with its user, session and epoch.",
        epilog="example: greenroom export greenroom.db --user alice --session s1 > s1.jsonl",
    )
    export_parser.add_argument("log", metavar="LOG", help="a file, sqlite:PATH or valkey://HOST:PORT")
    export_parser.add_argument("--user", help="only sessions of this user")
    export_parser.add_argument("--session", help="only sessions of this name")
    export_parser.set_defaults(run=_export)


def _verify(options: argparse.Namespace) -> int:
    return trio.run(verify, options.log)


def _export(options: argparse.Namespace) -> int:
    return trio.run(export, options.log, options.user, options.session)


def _open(log: str) -> EventLog:
    """Open a log for reading only. ``log`` is a URL or the path of a file."""
    url = f"sqlite:{log}" if ":" not in log or Path(log).is_file() else log
    return open_log(url, read_only=True, valkey=valkey_options(url))


async def verify(log: str) -> int:
    """Print every fault in a log, and the number of its sessions and events. Return 0, or 1 if there is a fault."""
    async with _open(log) as opened:
        report = await verify_log(opened)
    log = without_password(log)
    for fault in report.faults:
        print(one_line(f"{log}: {fault}"))
    verdict = f"{len(report.faults)} faults" if report.faults else "whole"
    print(f"{log}: {report.sessions} sessions, {report.events} events: {verdict}")
    return FAULTY if report.faults else 0


async def export(log: str, user: str | None, session: str | None) -> int:
    """Print the events of a log as JSON lines.

    Args:
        log: A file, or a URL.
        user: Print only sessions of this user, if not None.
        session: Print only sessions of this name, if not None.

    Returns:
        0, or 1 if a session is damaged, or if the log has no session of this user and this name. This is printed on
        stderr. All sessions that are not damaged are printed in full.
    """
    faults = 0
    opening, log = _open(log), without_password(log)
    async with opening as opened:
        keys = [key for key in await opened.streams() if user in (None, key.user) and session in (None, key.session)]
        for key in keys:
            try:
                await export_session(opened, key)
            except LogCorrupt as error:
                faults += 1
                print(one_line(f"{log}: {key.user!r} {key.session}: {error}"), file=sys.stderr)
    sys.stdout.flush()
    if not keys and (user is not None or session is not None):
        say(f"{log}: {_missing(user, session)}")
        return FAULTY
    return FAULTY if faults else 0


def _missing(user: str | None, session: str | None) -> str:
    """Return a sentence for an export that has found no session."""
    named = "no session" if session is None else f"no session {session!r}"
    return f"there is {named}" + ("" if user is None else f" of user {user!r}")


async def export_session(log: EventLog, key: StreamKey) -> None:
    """Print the events of one session.

    If a server removes the session meanwhile, this is reported on stderr. If there is then a new session of the same
    name, its events are printed too. The ``epoch`` in each line tells the events of the old session from those of the
    new.
    """
    for _ in range(_EXPORT_ATTEMPTS):
        walk = await StreamWalk.of(log, key)
        if walk is None:
            return
        # Spliced in front of the stored bytes, which are not parsed: the first brace of each line is replaced.
        prefix = orjson.dumps({"user": key.user, "session": key.session, "epoch": walk.head.epoch})[:-1]
        while lines := await walk.page():
            sys.stdout.buffer.writelines(prefix + b"," + line[1:] + b"\n" for line in lines)
        if not walk.gone:
            return
        text = f"epoch {walk.head.epoch} was forgotten after event {walk.position} was exported"
        print(f"{key.user!r} {key.session}: {text}", file=sys.stderr)
