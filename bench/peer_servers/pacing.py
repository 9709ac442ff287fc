"""The empty pacing loops of trio and of uvloop: the timers of the paced work, without sending.

Prints the CPU seconds of ``--events`` timers for each of ``--users``, ``--rate`` a second, as JSON. The cost of a
server above this is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from importlib import import_module
from typing import Any

import attrs
import trio

SETTLING = 0.2
"""Seconds until the first timer may be due. By then every task has begun; that is not counted."""


@attrs.frozen
class Pace:
    """``events`` timers for each of ``users``, ``rate`` per second."""

    users: int
    events: int
    rate: float

    def first_due(self, now: float) -> float:
        """Return the time of a user's first timer."""
        return now + SETTLING + random.random() / self.rate  # noqa: S311 - a phase, no secret


async def on_trio(pace: Pace) -> float:
    """Return the CPU seconds on trio."""

    async def user() -> None:
        due = pace.first_due(trio.current_time())
        for _ in range(pace.events):
            await trio.sleep_until(due)
            due += 1 / pace.rate

    async with trio.open_nursery() as nursery:
        for _ in range(pace.users):
            nursery.start_soon(user)
        await trio.sleep(SETTLING / 2)
        before = time.process_time()
    return time.process_time() - before


async def on_asyncio(pace: Pace) -> float:
    """Return the CPU seconds on asyncio."""

    async def user() -> None:
        due = pace.first_due(time.monotonic())
        for _ in range(pace.events):
            await asyncio.sleep(due - time.monotonic())
            due += 1 / pace.rate

    async with asyncio.TaskGroup() as group:
        for _ in range(pace.users):
            group.create_task(user())
        await asyncio.sleep(SETTLING / 2)
        before = time.process_time()
    return time.process_time() - before


def main() -> None:
    """Measure one of the runtimes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runtime", choices=["trio", "uvloop"])
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    pace = Pace(options.users, options.events, options.rate)
    if options.runtime == "trio":
        seconds = trio.run(on_trio, pace)
    else:
        uvloop: Any = import_module("uvloop")
        seconds = uvloop.run(on_asyncio(pace))
    print(json.dumps({"cpu": seconds}))


if __name__ == "__main__":
    main()
