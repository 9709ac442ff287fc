"""The work that every peer in Python is given, the same as that of ``bench/_server.py``: so many events, so fast.

A client sends ``{"k": EVENTS, "rate": EVENTS_A_SECOND}``; rate 0 is as fast as they can be. Each event is, as JSON, the
object that Greenroom sends for the same output: about 210 bytes with its seq and the time of its emission.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[object]]

TEXT = " Searching the knowledge base for documents that say something about the question of the user ..."
RUN = "r-4cb21b85ce46b04a"
BOUND = 64
"""Events that a bounded queue holds: as many as a Greenroom session may have uncommitted (``emit_window``)."""
COLLECTED_AT = 20_000
"""Python's first garbage collection threshold, the default of Greenroom's servers: collections make the tail."""
BACKLOG = 1024
"""Connections that wait to be accepted: the generator opens 256 at once."""


@attrs.frozen
class Job:
    """``events`` to be emitted, ``rate`` a second."""

    events: int
    rate: float

    def first_due(self, now: float) -> float:
        """When the first event is due: the phase is drawn before the first sleep.

        Drawn after it, those that wake late would fall in step.
        """
        return now + (random.random() / self.rate if self.rate else 0)  # noqa: S311 - a phase, not a secret


def job(message: str | bytes | dict[str, Any]) -> Job:
    """What a client asks for."""
    asked = message if isinstance(message, dict) else orjson.loads(message)
    return Job(asked["k"], asked["rate"])


def event(seq: int) -> dict[str, Any]:
    """One event, as an application would hold it."""
    return {
        "seq": seq,
        "ts": time.time_ns() // 1_000_000,
        "type": "agent_output",
        "run_id": RUN,
        "data": {"text": f"{time.monotonic_ns()}{TEXT}"},
    }


async def run(job: Job, seq: int, send: Send) -> int:
    """Send the job's events, numbered from ``seq`` + 1, on asyncio; the last one's number."""
    due = job.first_due(time.monotonic())
    last = seq + job.events
    while seq < last:
        if job.rate:
            await asyncio.sleep(due - time.monotonic())
            due += 1 / job.rate
        seq += 1
        await send(event(seq))
    return last


async def drain(queue: asyncio.Queue[dict[str, Any]], send: Send) -> None:
    """Send what is put into the queue, until the task is cancelled."""
    while True:
        await send(await queue.get())


@asynccontextmanager
async def queued(send: Send) -> AsyncGenerator[Send]:
    """Give a ``send`` that puts into a bounded queue, which a task of its own drains.

    When that task fails, because the client is gone, the block is cancelled: nobody waits for room for ever.
    """
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BOUND)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(drain(queue, send))
        yield queue.put
        task.cancel()


@asynccontextmanager
async def direct(send: Send) -> AsyncGenerator[Send]:
    """The same without a queue: the agent itself sends."""
    yield send


def options(description: str | None) -> argparse.Namespace:
    """The options of every peer, and the setting of Greenroom's servers that is not the peer's own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--queued", action="store_true", help="a bounded queue for each user")
    found = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AT)
    return found
