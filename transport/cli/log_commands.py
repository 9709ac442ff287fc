"""``greenroom verify`` and ``greenroom export``: read a log from outside its server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import orjson
import trio

from actors import LogCorrupt, verify_log
from actors.failures import one_line
from actors.spi import StreamWalk
from actors.valkey.address import without_password
from transport.cli._logs import reading
from transport.cli._terminal import Progress, say

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
    verify_parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
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
    export_parser.add_argument("--json", action="store_true", help="print JSON lines, as without this option")
    export_parser.set_defaults(run=_export)


def _verify(options: argparse.Namespace) -> int:
    return trio.run(verify, options.log, options.json)


def _export(options: argparse.Namespace) -> int:
    return trio.run(export, options.log, options.user, options.session)


async def verify(log: str, as_json: bool = False) -> int:  # noqa: FBT001, FBT002 - for trio.run
    """Print every fault in a log, and the number of its sessions and events. Return 0, or 1 if there is a fault."""
    async with reading(log) as opened:
        with Progress() as progress:
            report = await verify_log(opened, progress.sessions)
    log = without_password(log)
    if as_json:
        faults = [attrs.asdict(fault) for fault in report.faults]
        counts = {"sessions": report.sessions, "events": report.events, "faults": faults}
        print(orjson.dumps({"log": log, **counts}).decode())
        return FAULTY if faults else 0
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
    async with reading(log) as opened:
        log = without_password(log)
        keys = [key for key in await opened.streams() if user in (None, key.user) and session in (None, key.session)]
        progress = Progress(sys.stdout)
        for number, key in enumerate(keys):
            progress.show(f"{number} of {len(keys)} sessions")
            try:
                await export_session(opened, key)
            except LogCorrupt as error:
                faults += 1
                print(one_line(f"{log}: {key.user!r} {key.session}: {error}"), file=sys.stderr)
    progress.end()
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
