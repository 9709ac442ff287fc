"""What can be done with a log from outside the server: check it, and give its events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from actors import LogCorrupt, open_log, verify_log
from actors.spi import StreamWalk

if TYPE_CHECKING:
    from actors import EventLog, StreamKey

_ATTEMPTS = 3
"""How often a session is exported that is forgotten and begins anew meanwhile."""
FAULTY = 1


def _opened(log: str) -> EventLog:
    """The log of that URL, or in that file, to read."""
    return open_log(f"sqlite:{log}" if ":" not in log or Path(log).is_file() else log, read_only=True)


async def verify(log: str) -> int:
    """Print every fault in a log, and how much was looked at; 0, or 1 where there is a fault."""
    async with _opened(log) as opened:
        report = await verify_log(opened)
    for fault in report.faults:
        print(f"{log}: {fault}")
    verdict = f"{len(report.faults)} faults" if report.faults else "whole"
    print(f"{log}: {report.sessions} sessions, {report.events} events: {verdict}")
    return FAULTY if report.faults else 0


async def export(log: str, user: str | None, session: str | None) -> int:
    """Print the events of a log, those of one user or of sessions of one name only where given.

    A session that is damaged is named on stderr, with the others printed all the same. Return 0, or 1 where one is.
    """
    faults = 0
    async with _opened(log) as opened:
        for key in await opened.streams():
            if user in (None, key.user) and session in (None, key.session):
                try:
                    await _export(opened, key)
                except LogCorrupt as error:
                    faults += 1
                    print(f"{log}: {key.user!r} {key.session}: {error}", file=sys.stderr)
    sys.stdout.flush()
    return FAULTY if faults else 0


async def _export(log: EventLog, key: StreamKey) -> None:
    """Print the events of one session. Where it is forgotten meanwhile say so on stderr, and go on with the new one."""
    for _ in range(_ATTEMPTS):
        walk = await StreamWalk.of(log, key)
        if walk is None:
            return
        whose = orjson.dumps({"user": key.user, "session": key.session, "epoch": walk.head.epoch})[:-1]
        while lines := await walk.page():
            sys.stdout.buffer.writelines(whose + b"," + line[1:] + b"\n" for line in lines)
        if not walk.gone:
            return
        text = f"epoch {walk.head.epoch} was forgotten after event {walk.position} was exported"
        print(f"{key.user!r} {key.session}: {text}", file=sys.stderr)
