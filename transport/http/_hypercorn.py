"""Hypercorn as the HTTP server of an ASGI application, inside a trio nursery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]  # a bare dict in its WSGI type

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from starlette.types import ASGIApp

logger = logging.getLogger("greenroom.http")

SHUTDOWN_SECONDS = 2.0
"""Maximum time in seconds that a stopping server waits for requests in progress."""


class PagesFailed(Exception):
    """The HTTP server of the pages ended, although it was not asked to stop.

    If the HTTP server raised an exception, that exception is the cause of this exception.
    """


async def serve_http(
    app: ASGIApp, listeners: Sequence[socket.socket], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve ``app`` until cancelled, then close ``listeners``. Report "started" when connections are accepted.

    Args:
        app: The ASGI application.
        listeners: Bound and listening sockets. This function closes them.
        task_status: For ``nursery.start``.

    Raises:
        PagesFailed: The HTTP server ended by itself. The process should then end too, and be started again.

    Cancellation:
        Waits up to ``SHUTDOWN_SECONDS`` for requests in progress.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}" for listener in listeners]
    config.graceful_timeout = SHUTDOWN_SECONDS
    config.accesslog = None
    config.errorlog = logger
    config.include_server_header = False
    stop = trio.Event()

    async def serve_shielded(*, task_status: trio.TaskStatus[Any]) -> None:
        # A cancellation would cut responses off, so it does not reach Hypercorn: its shutdown trigger ends it.
        with trio.CancelScope(shield=True):
            try:
                # Starlette and Hypercorn type the same ASGI differently: a mapping, and a class for each message.
                await serve(cast("Any", app), config, shutdown_trigger=stop.wait, task_status=task_status)
            except BaseException as error:
                raise PagesFailed("the HTTP server of the pages failed") from error
        if not stop.is_set():
            raise PagesFailed("the HTTP server of the pages ended by itself")

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_shielded)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            stop.set()
