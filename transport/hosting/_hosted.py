"""An app inside a foreign event loop: the block :func:`hosted`, for tests, notebooks and other programs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import sniffio

from actors import ConfigError
from transport._running import Host
from transport.hosting._guest import in_guest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors import EventLog
    from transport._running import Server
    from transport.app import Greenroom


@asynccontextmanager
async def hosted(app: Greenroom, *, log: str | EventLog | None = None) -> AsyncGenerator[Server]:
    """Run the app inside the ``async with`` block, in the event loop of the caller and without a port of its own.

    For tests, notebooks and programs with an event loop of their own. The loop is asyncio's, uvloop or trio's. A web
    application has :func:`lifespan`.

    When the block begins, the log is open, and ``app.sessions`` works. At its end the app drains: it waits up to
    ``drain_seconds`` for runs to finish, and flushes the log. If the block ends by an exception or a cancellation, runs
    are cancelled at once.

    Args:
        app: The app.
        log: The log to use in place of the log that was passed to ``Greenroom``.

    Raises:
        ConfigError: The app is running already, the thread hosts another app, or the caller is in no event loop.
        LogError: The log cannot be opened.
        RestartLimit: The app failed again and again and its supervision gave up. The block is cancelled.
    """
    if running_library() == "trio":
        async with app.running_in(partial(Host, "trio"), log=log) as server:
            yield server
        return
    async with in_guest(app, log) as guest:
        yield guest.server


def running_library() -> str:
    """Return the library of the running event loop: ``asyncio`` or ``trio``. Raise ConfigError if there is none."""
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        library = "none"
    if library not in {"asyncio", "trio"}:
        raise ConfigError(f"an app is hosted in a running event loop, asyncio or trio, not {library}")
    return library
