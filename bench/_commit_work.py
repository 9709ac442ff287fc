"""The work of ``cluster.py`` on one log: commits of one event, one after another, and commits of many sessions.

Prints one JSON object: the median duration of a lone commit in ms, and the commands that a commit of many sessions
takes; 0 for a log that sends none.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import trio
from _log_work import lines

from actors import Batch, StreamKey, open_log
from actors.eventlog.valkey import ValkeyLog

if TYPE_CHECKING:
    from actors import EventLog

WARM, SECONDS = 200, 1.5
"""Number of commits that are not counted, and the time for which commits are counted."""
SESSIONS, COMMITS, EACH = 20, 50, 3
"""Sessions in one commit of many, number of these commits, and events of each session in one."""


async def commit(log: EventLog, keys: list[StreamKey], first: int, each: int) -> None:
    """Commit ``each`` events of each session."""
    state = b"[%d,[]]" % (time.time_ns() // 1_000_000)
    await log.append([Batch(key, first, lines(first, each), state) for key in keys])


async def lone(log: EventLog) -> float:
    """Return the median duration of a commit of one event, in ms."""
    key, took = StreamKey("bench", "lone"), list[float]()
    await log.make(key)
    until, seq = time.perf_counter() + SECONDS, 0
    while seq <= WARM or time.perf_counter() < until:
        seq += 1
        began = time.perf_counter()
        await commit(log, [key], seq, 1)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[WARM:])


async def commands(log: EventLog) -> float:
    """Return the number of commands that a commit of many sessions takes."""
    if not isinstance(log, ValkeyLog):
        return 0.0
    keys = [StreamKey("bench", f"many-{number}") for number in range(SESSIONS)]
    for key in keys:
        await log.make(key)
    link, before = log.valkey.commits, log.statistics().commits
    sent = link.commands
    for number in range(COMMITS):
        await commit(log, keys, 1 + number * EACH, EACH)
    return (link.commands - sent) / (log.statistics().commits - before)


async def main(url: str) -> None:
    """Measure the log."""
    async with open_log(url) as log:
        print(json.dumps({"p50": await lone(log), "commands": await commands(log)}))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
