"""python-socketio on uvicorn: WebSocket only, orjson, uvloop, httptools; no compression, no log.

With ``--store`` its servers tell each other of events by Redis, which keeps none of them.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import _work
import orjson

socketio: Any = import_module("socketio")
uvicorn: Any = import_module("uvicorn")
SETTINGS = {"loop": "uvloop", "http": "httptools", "ws": "websockets-sansio", "ws_per_message_deflate": False}


class Json:
    """orjson with the interface of the standard library's ``json`` that python-socketio needs."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """Return ``value`` as compact JSON."""
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str, **_: Any) -> Any:
        """Return the value of ``text``."""
        return orjson.loads(text)


def main() -> None:
    """Serve until the process is ended."""
    options = _work.options(__doc__)
    # The client of this scheme comes with the server that the benchmark starts.
    url = options.store and options.store.replace("redis://", "valkey://")
    manager = socketio.AsyncRedisManager(url) if url else None
    settings = {"transports": ["websocket"], "json": Json, "http_compression": False, "client_manager": manager}
    server = socketio.AsyncServer(async_mode="asgi", **settings)
    seqs: dict[str, int] = {}

    async def run(sid: str, asked: dict[str, Any]) -> None:
        async def send(event: dict[str, Any]) -> None:
            await server.emit("event", event, to=sid)

        job, seq = _work.job(asked), seqs.get(sid, 0)
        async with _work.noted(job.file, send) if job.file else _work.direct(send) as sending:
            seqs[sid] = await _work.run(job, seq, sending)

    def forget(sid: str, _reason: str) -> None:
        seqs.pop(sid, None)

    server.on("run", run)
    server.on("disconnect", forget)
    quiet = {"access_log": False, "log_level": logging.ERROR, "ws_ping_interval": None, "timeout_graceful_shutdown": 1}
    uvicorn.run(socketio.ASGIApp(server), host="127.0.0.1", port=options.port, **SETTINGS, **quiet)


if __name__ == "__main__":
    main()
