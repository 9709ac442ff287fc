"""websockets on trio, set up as ``with_websockets.py``: no compression, no keepalive, bytes not str."""

from __future__ import annotations

import logging
from typing import Any

import _work
import orjson
import trio
from websockets.trio.server import ServerConnection, serve


async def handle(connection: ServerConnection) -> None:
    """Send each job's events."""
    seq = 0
    async for message in connection:
        job = _work.job(message)
        due = job.first_due(trio.current_time())
        for _ in range(job.events):
            if job.rate:
                await trio.sleep_until(due)
                due += 1 / job.rate
            seq += 1
            await connection.send(orjson.dumps(_work.event(seq)), text=True)


async def main() -> None:
    """Serve until the process is ended."""
    options = _work.options(__doc__)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # whoever looks whether the port is open says nothing
    settings: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None}
    await serve(handle, options.port, host="127.0.0.1", backlog=_work.BACKLOG, **settings)


if __name__ == "__main__":
    trio.run(main)
