"""websockets on asyncio and uvloop, as its FAQ advises for comparisons: no compression, no keepalive, bytes not str."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import _work
import orjson
from websockets.asyncio.server import ServerConnection, serve

uvloop: Any = import_module("uvloop")


async def main() -> None:
    """Serve until the process is ended."""
    options = _work.options(__doc__)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # whoever looks whether the port is open says nothing
    emitting = _work.queued if options.queued else _work.direct

    async def handle(connection: ServerConnection) -> None:
        seq = 0
        async with emitting(lambda event: connection.send(orjson.dumps(event), text=True)) as send:
            async for message in connection:
                seq = await _work.run(_work.job(message), seq, send)

    settings: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None}
    async with serve(handle, "127.0.0.1", options.port, backlog=_work.BACKLOG, **settings) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
