"""picows on uvloop: its core interface, which its documentation calls the faster one, and aiofastnet, its default.

Its ``send`` never waits: data that a client does not read collects in the transport, without a bound. With
``--queued`` a task for each connection drains a bounded queue, and pauses while the transport is full.
"""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import Any

import _work
import orjson

picows: Any = import_module("picows")
uvloop: Any = import_module("uvloop")
TEXT = picows.WSMsgType.TEXT


class Listener(picows.WSListener):  # type: ignore[misc]  # the library is loaded as Any
    """A connection. Each job is a task that sends directly."""

    seq: int
    tasks: set[asyncio.Task[None]]
    transport: Any

    def on_ws_connected(self, transport: Any) -> None:
        """Begin to number its events."""
        self.seq = 0
        self.tasks = set()
        self.transport = transport

    def on_ws_frame(self, _transport: Any, frame: Any) -> None:
        """Start the job that the client asks for."""
        if frame.msg_type != TEXT:
            return
        task = asyncio.create_task(self.run(_work.job(frame.get_payload_as_bytes())))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_ws_disconnected(self, _transport: Any) -> None:
        """End its jobs."""
        for task in self.tasks:
            task.cancel()

    async def run(self, job: _work.Job) -> None:
        """Send the job's events."""
        due = job.first_due(time.monotonic())
        for _ in range(job.events):
            if job.rate:
                await asyncio.sleep(due - time.monotonic())
                due += 1 / job.rate
            self.seq += 1
            self.transport.send(TEXT, orjson.dumps(_work.event(self.seq)))


class Queued(Listener):
    """A connection with a bounded queue between its jobs and its transport."""

    queue: asyncio.Queue[dict[str, Any]]
    writable: asyncio.Event
    sender: asyncio.Task[None]

    def on_ws_connected(self, transport: Any) -> None:
        """Begin to drain the queue."""
        super().on_ws_connected(transport)
        self.queue = asyncio.Queue(_work.BOUND)
        self.writable = asyncio.Event()
        self.writable.set()
        self.sender = asyncio.create_task(_work.drain(self.queue, self.send))

    def on_ws_disconnected(self, transport: Any) -> None:
        """End the task with the connection."""
        super().on_ws_disconnected(transport)
        self.sender.cancel()

    def pause_writing(self) -> None:
        """Pause sending: the transport is full."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Resume sending."""
        self.writable.set()

    async def send(self, event: dict[str, Any]) -> None:
        """Send one event as soon as the transport accepts it."""
        await self.writable.wait()
        self.transport.send(TEXT, orjson.dumps(event))

    async def run(self, job: _work.Job) -> None:
        """Put the job's events into the queue."""
        self.seq = await _work.run(job, self.seq, self.queue.put)


async def main() -> None:
    """Serve until the process is ended."""
    options = _work.options(__doc__)

    def listener(_request: Any) -> Listener:
        return Queued() if options.queued else Listener()

    server = await picows.ws_create_server(listener, "127.0.0.1", options.port, backlog=_work.BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
