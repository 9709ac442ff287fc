"""FastAPI on uvicorn: uvloop, httptools, websockets without its I/O layer; no compression, no pings, no access log."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import _work
import orjson

fastapi: Any = import_module("fastapi")
uvicorn: Any = import_module("uvicorn")
SETTINGS = {"loop": "uvloop", "http": "httptools", "ws": "websockets-sansio", "ws_per_message_deflate": False}


def main() -> None:
    """Serve until the process is ended."""
    options = _work.options(__doc__)
    emitting = _work.queued if options.queued else _work.direct

    async def handle(connection: Any) -> None:
        seq = 0
        await connection.accept()
        async with emitting(lambda event: connection.send_text(orjson.dumps(event).decode())) as send:
            async for message in connection.iter_text():
                seq = await _work.run(_work.job(message), seq, send)

    handle.__annotations__["connection"] = fastapi.WebSocket
    app = fastapi.FastAPI()
    app.websocket("/")(handle)
    quiet = {"access_log": False, "log_level": logging.ERROR, "ws_ping_interval": None, "timeout_graceful_shutdown": 1}
    uvicorn.run(app, host="127.0.0.1", port=options.port, **SETTINGS, **quiet)


if __name__ == "__main__":
    main()
