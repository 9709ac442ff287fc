"""The work of every peer in Python, the same as in ``bench/_server.py``: a number of events at a rate.

A client sends ``{"k": EVENTS, "rate": EVENTS_A_SECOND}``; rate 0 is as fast as possible. Each event is, as JSON, the
object that Greenroom sends for the same output: about 210 bytes with its seq and the time of its emission.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[object]]

TEXT = " Searching the knowledge base for documents that say something about the question of the user ..."
RUN = "r-4cb21b85ce46b04a"
BOUND = 64
"""Events that a bounded queue holds: the uncommitted events of a Greenroom session (``emit_window``)."""
COLLECTED_AT = 20_000
"""Python's first garbage collection threshold, as in Greenroom's servers: collections make the longest delays."""
BACKLOG = 1024
"""Connections that wait to be accepted: the generator opens 256 at once."""


@attrs.frozen
class Job:
    """A number of ``events`` to emit, ``rate`` per second. ``file`` is for :func:`noted`."""

    events: int
    rate: float
    file: str = ""

    def first_due(self, now: float) -> float:
        """Return the time of the first event. Its phase is drawn before the first sleep.

        *Drawn after it, sessions that woke late fell in step.*
        """
        return now + (random.random() / self.rate if self.rate else 0)  # noqa: S311 - a phase, not a secret


def job(message: str | bytes | dict[str, Any]) -> Job:
    """Return the job that a client asks for."""
    asked = message if isinstance(message, dict) else orjson.loads(message)
    return Job(asked["k"], asked["rate"], asked.get("file", ""))


def event(seq: int) -> dict[str, Any]:
    """Return one event, as an application would hold it."""
    return {
        "seq": seq,
        "ts": time.time_ns() // 1_000_000,
        "type": "agent_output",
        "run_id": RUN,
        "data": {"text": f"{time.monotonic_ns()}{TEXT}"},
    }


async def run(job: Job, seq: int, send: Send) -> int:
    """Send the job's events on asyncio, numbered from ``seq`` + 1. Return the last number."""
    due = job.first_due(time.monotonic())
    last = seq + job.events
    while seq < last:
        if job.rate:
            await asyncio.sleep(due - time.monotonic())
            due += 1 / job.rate
        seq += 1
        await send(event(seq))
    return last


@asynccontextmanager
async def noted(file: str, send: Send) -> AsyncGenerator[Send]:
    """Return a ``send`` that notes the time of each event in ``file`` once it is sent.

    The file outlives a killed process.
    """
    with Path(file).open("ab", buffering=0) as notes:  # noqa: ASYNC230 - a few bytes for the page cache

        async def sending(event: dict[str, Any]) -> None:
            await send(event)
            notes.write(f"{event['data']['text'].removesuffix(TEXT)}\n".encode())

        yield sending


async def drain(queue: asyncio.Queue[dict[str, Any]], send: Send) -> None:
    """Send the items of the queue until the task is cancelled."""
    while True:
        await send(await queue.get())


@asynccontextmanager
async def queued(send: Send) -> AsyncGenerator[Send]:
    """Return a ``send`` that puts into a bounded queue, which a task of its own drains.

    If that task fails because the client is gone, the block is cancelled, so that no job waits for room for ever.
    """
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BOUND)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(drain(queue, send))
        yield queue.put
        task.cancel()


@asynccontextmanager
async def direct(send: Send) -> AsyncGenerator[Send]:
    """Return a ``send`` without a queue: the agent itself sends."""
    yield send


def options(description: str | None) -> argparse.Namespace:
    """Return the command line's options, and set up the garbage collector as in Greenroom's servers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--queued", action="store_true", help="a bounded queue for each user")
    parser.add_argument("--store", help="the URL of a Redis server")
    found = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AT)
    return found
