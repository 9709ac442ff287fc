"""An app that runs as long as the web application around it: ``lifespan``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from actors import ConfigError, RestartLimit
from actors.eventlog.memory import MemoryLog
from actors.failures import shown
from transport._running import Host
from transport.hosting._guest import in_guest
from transport.hosting._hosted import running_library
from transport.hosting._signals import goodbye_first, is_worker, stop_web_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from actors import EventLog
    from transport.app import Greenroom
    from transport.hosting._guest import Guest

Lifespan: TypeAlias = "Callable[[Any], AbstractAsyncContextManager[Any]]"
"""A lifespan of FastAPI and Starlette."""
_WEB_SERVERS = frozenset({"uvicorn", "hypercorn", "gunicorn", "fastapi"})
"""Programs, also as ``python -m``, with an option ``--workers``: the number of processes that run the application."""


def lifespan(
    app: Greenroom,
    *,
    log: str | EventLog | None = None,
    drain_first: bool = True,
    then: Lifespan | None = None,
) -> Lifespan:
    """Return a lifespan for a web application, which runs the app: ``FastAPI(lifespan=lifespan(app))``.

    The app starts before the web application takes its first request. At the end it drains: clients are sent away, and
    runs go on for up to ``drain_seconds``, after which they are cancelled. Then ``then`` ends, and then the app.

    Args:
        app: The app.
        log: The log to use in place of the log that was passed to ``Greenroom``.
        drain_first: Whether SIGTERM and SIGINT first send the clients away, and then reach the web server. It takes at
            most 3 seconds. Without it, a web server such as uvicorn closes the connections before the app can say when
            its clients should come back.
        then: The web application's own lifespan, for example with its database. It runs inside the app's: it can start
            runs, and what it opened is there until the last run has ended.

    Raises:
        ConfigError: ``then`` is no lifespan. At the start of the web application also the errors of :func:`hosted`, and
            if ``WEB_CONCURRENCY``, ``--workers`` or the configuration of uvicorn or hypercorn asks for several workers
            while the log is in memory.
        RestartLimit: At the end, if the app's supervision gave up. The web server is then stopped as by SIGTERM.
    """
    if then is not None and not callable(then):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"then must be a lifespan: a function with @asynccontextmanager, not {shown(then)}")

    @asynccontextmanager
    async def run(web_app: Any) -> AsyncGenerator[Any]:
        _require_one_worker(log or app.log)
        running = _on_trio(app, log) if running_library() == "trio" else _on_asyncio(app, log, drain_first)
        async with running as drain, _inner(then, web_app) as state:
            yield state
            await drain()

    return run


@asynccontextmanager
async def _on_trio(app: Greenroom, log: str | EventLog | None) -> AsyncGenerator[Callable[[], Any]]:
    """Run the app, and yield the function that drains it."""
    async with app.running_in(partial(Host, "trio"), log=log) as server:
        yield partial(server.end_runs, app.settings.drain_seconds)


@asynccontextmanager
async def _on_asyncio(
    app: Greenroom,
    log: str | EventLog | None,
    drain_first: bool,  # noqa: FBT001 - the public name's own keyword
) -> AsyncGenerator[Callable[[], Any]]:
    """Run the app, and yield the function that drains it."""
    guest: Guest | None = None
    try:
        async with in_guest(app, log, stop_web_server) as guest:
            with goodbye_first(guest) if drain_first else nullcontext():
                yield partial(guest.call, guest.server.end_runs, app.settings.drain_seconds)
    except RestartLimit:
        if guest is not None and is_worker():
            guest.loop.call_soon(signal.raise_signal, signal.SIGTERM)
        raise


def _inner(then: Lifespan | None, web_app: Any) -> AbstractAsyncContextManager[Any]:
    """Return the web application's own lifespan."""
    if then is None:
        return nullcontext()
    manager = then(web_app)
    if not isinstance(manager, AbstractAsyncContextManager):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise ConfigError(f"then must be a lifespan: put @asynccontextmanager above {shown(then)}")
    return manager


def _require_one_worker(log: str | EventLog) -> None:
    """Raise ConfigError if the web server has several workers, and each of them would have a log of its own."""
    asked = (asked_workers(sys.argv, os.environ), configured_workers(multiprocessing.current_process()))
    place, workers = max(asked, key=lambda each: each[1])
    if workers > 1 and (log == "memory:" or isinstance(log, MemoryLog)):
        one = "--workers 1" if place == "--workers" else f"{place.rpartition(' ')[2]}=1"
        raise ConfigError(
            f"{place} asks for {workers} workers, and a log in memory belongs to one process: each worker "
            f"would have sessions of its own. Run one worker ({one}), or give them a log that they share: valkey://HOST"
        )


def configured_workers(process: object) -> tuple[str, int]:
    """Return where the web server's own configuration asks for workers, and the number. Pure.

    uvicorn and hypercorn start a worker with ``multiprocessing``, and pass their configuration to it: so it counts also
    if code set it, as in ``uvicorn.run(…, workers=2)``. Without such a configuration, the result is 1.
    """
    config = getattr(process, "_kwargs", {}).get("config")
    server = type(config).__module__.partition(".")[0]
    workers = getattr(config, "workers", 1) if server in _WEB_SERVERS else 1
    return f"{server}'s workers", workers if isinstance(workers, int) else 1


def asked_workers(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, int]:
    """Return where the number of workers of the web server is asked for, and the number. Pure.

    A worker has the arguments of its parent. Another program's arguments mean something else, so they count only if the
    program is a known web server. Without a number that can be read, the result is 1.
    """
    program = Path(arguments[0]) if arguments else Path()
    if _WEB_SERVERS & {program.stem, program.parent.name}:
        for name, value in pairwise((*arguments, "")):
            option, equals, joined = name.partition("=")
            if option in {"--workers", "-w"}:
                return "--workers", _count(joined if equals else value)
    return "WEB_CONCURRENCY", _count(environment.get("WEB_CONCURRENCY", ""))


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 1
