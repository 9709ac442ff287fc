"""What can be done with a log from outside the server: check it, and give its events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from actors import Trimmed, open_log, verify_log

if TYPE_CHECKING:
    from actors import EventLog, StreamKey

_PAGE_EVENTS, _PAGE_BYTES = 1_000, 4 * 1024 * 1024
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


async def export(log: str, user: str | None, session: str | None) -> None:
    """Print the events of a log, those of one user or of sessions of one name only where given."""
    async with _opened(log) as opened:
        for key in await opened.streams():
            if user in (None, key.user) and session in (None, key.session):
                await _export(opened, key)
    sys.stdout.flush()


async def _export(log: EventLog, key: StreamKey) -> None:
    head = await log.head(key)
    if head is None:
        return
    whose = orjson.dumps({"user": key.user, "session": key.session, "epoch": head.epoch})[:-1]
    position = head.oldest - 1
    while position < head.latest:
        try:
            lines = await log.read(key, position, _PAGE_EVENTS, _PAGE_BYTES)
        except Trimmed as trimmed:  # by the server, in this very moment
            position = trimmed.oldest - 1
            continue
        except KeyError:
            return
        sys.stdout.buffer.writelines(whose + b"," + line[1:] + b"\n" for line in lines)
        position += len(lines)
