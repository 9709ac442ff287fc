"""The work of ``log.py``: append to one log and read it back.

Prints a JSON object for each size of batch and commit.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import trio

from actors import Batch, EventLog, StreamKey, open_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

EACH = (1, 10, 100, 1000)
SESSIONS = (1, 20, 200)
MOST = 20_000
"""Maximum number of events in one commit. Larger sizes are left out."""
APPEND_SECONDS, READ_SECONDS = 0.15, 0.05
PAGE_EVENTS, PAGE_BYTES = 256, 64 * 1024
"""The limits of one page for a client that catches up."""
TEXT = "Searching the knowledge base for documents that say something about the question of the user ..."


def lines(first: int, count: int) -> list[bytes]:
    """Return events of about 200 bytes."""
    now = time.time_ns() // 1_000_000
    rest = b'"type":"agent_output","run_id":"r-0123456789abcdef","data":{"text":"%b"}}' % TEXT.encode()
    return [b'{"seq":%d,"ts":%d,%b' % (seq, now, rest) for seq in range(first, first + count)]


async def timed(seconds: float, step: Callable[[], Awaitable[int]]) -> tuple[float, float]:
    """Repeat a step for some seconds, or until it does nothing. Return events per second and µs of CPU per event."""
    began, cpu, events = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds and (done := await step()):
        events += done
    return events / (time.perf_counter() - began), (time.process_time() - cpu) * 1e6 / events


def prepared(keys: list[StreamKey], each: int) -> Iterator[list[Batch]]:
    """Prepare commits to append: as many as can be made in the time of appending them, and at least two."""
    state = b"[%d,[]]" % (time.time_ns() // 1_000_000)
    until = time.perf_counter() + APPEND_SECONDS
    made: list[list[Batch]] = []
    while time.perf_counter() < until or len(made) < 2:
        first = 1 + len(made) * each
        made.append([Batch(key, first, lines(first, each), state) for key in keys])
    return iter(made)


async def cell(log: EventLog, sessions: int, each: int) -> dict[str, float]:
    """Append batches of ``each`` events of ``sessions`` sessions in one commit, then read one of the sessions."""
    keys = [StreamKey("bench", f"s-{sessions}-{each}-{number}") for number in range(sessions)]
    for key in keys:
        await log.make(key)
    commits = prepared(keys, each)
    position = 0

    async def append() -> int:
        batches: list[Batch] = next(commits, list[Batch]())
        await log.append(batches)
        return len(batches) * each

    async def read() -> int:
        nonlocal position
        page = await log.read(keys[0], position, PAGE_EVENTS, PAGE_BYTES)
        position = position + len(page) if page else 0
        return len(page) or len(await log.read(keys[0], position, 1, PAGE_BYTES))

    await append()
    rate, cpu = await timed(APPEND_SECONDS, append)
    read_rate, read_cpu = await timed(READ_SECONDS, read)
    return {"append": rate, "append_us": cpu, "read": read_rate, "read_us": read_cpu}


async def main(url: str) -> None:
    """Measure every size up to ``MOST`` events."""
    async with open_log(url) as log:
        for each in EACH:
            for sessions in SESSIONS:
                if each * sessions <= MOST:
                    print(json.dumps({"each": each, "sessions": sessions} | await cell(log, sessions, each)))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
