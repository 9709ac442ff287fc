"""Several workers: the parent, which opens the ports and serves nothing by itself, and a worker's reports to it."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

import trio

from actors import ConfigError, open_log
from actors.failures import class_name
from transport._extras import ExtraMissing
from transport._loopback import require_auth
from transport.cli._terminal import TerminalReporter, say
from transport.protocol.handshake import LARGEST_PORT
from transport.server.listening import Listeners, listening
from transport.server.tls import Certificate
from transport.workers.group import Workers

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from transport._process import Reporter
    from transport.app import Greenroom
    from transport.settings import Settings
    from transport.workers.launch import Launch
    from transport.workers.place import WorkerPlace


def serve_in_workers(app: Greenroom, launch: Launch, reporter: Reporter) -> int:
    """Serve an app in several processes until SIGTERM or SIGINT. Return the exit status of this process.

    Args:
        app: The app. It is not run in this process: its settings choose the ports, and the number of workers.
        launch: How a worker is started.
        reporter: Gets a report when all workers are ready.

    Raises:
        ConfigError: The app's log cannot be shared by processes, or a setting does not fit.
        OSError: A port is in use.
        RestartLimit: A worker ended again and again before it was ready.
    """
    settings = app.settings
    _require_shared_log(app)
    require_auth(settings.host, app.auth)
    Certificate.of(settings)  # a wrong file is refused here, once
    with ExitStack() as stack:
        endpoint = stack.enter_context(listening(settings.host, settings.port))
        pages: Sequence[socket.socket] = ()
        own: list[Sequence[socket.socket]] = []
        if _has_pages():
            pages = stack.enter_context(listening(settings.host, settings.http_port, "http_port"))
            own += [
                stack.enter_context(listening(settings.host, port, "worker_http_port"))
                for port in _ports_of_workers(settings)
            ]
        workers = Workers(launch, settings.workers, Listeners(endpoint, pages, own), settings.drain_seconds, say)
        return trio.run(_run, workers, reporter, settings.tls_cert is not None)


async def _run(workers: Workers, reporter: Reporter, reloads: bool) -> int:  # noqa: FBT001 - for trio.run
    # Without a certificate SIGHUP ends this process, as it ends a server without workers.
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, *((signal.SIGHUP,) if reloads else ()))
    with trio.open_signal_receiver(*numbers) as signals:
        return await workers.run(lambda at: reporter.on_ready(at.ws_url, at.page_url), signals)


def _require_shared_log(app: Greenroom) -> None:
    log = app.log
    name = log if isinstance(log, str) else f"a {class_name(log)}"
    if not (open_log(log) if isinstance(log, str) else log).shared_by_processes:
        raise ConfigError(
            f"{app.settings.workers} workers need a log that processes can share, such as valkey://HOST, and not "
            f"{name}: set log, or workers=1"
        )


def _ports_of_workers(settings: Settings) -> range:
    """Return the ports at which each worker serves its own pages. Empty if there are none."""
    first = settings.worker_http_port
    if first + settings.workers - 1 > LARGEST_PORT:
        raise ConfigError(f"worker_http_port {first} leaves no port for each of {settings.workers} workers")
    return range(first, first + settings.workers) if first else range(0)


def _has_pages() -> bool:
    """Return whether workers serve pages. If not, say why."""
    try:
        import_module("transport.http.serving")  # needs the extra http
    except ExtraMissing as missing:
        say(f"serving without pages: {missing}")
        return False
    return True


class WorkerReporter(TerminalReporter):
    """Reports the start of a worker to its parent, and the drain on stderr."""

    def __init__(self, place: WorkerPlace) -> None:
        super().__init__()
        self._place = place

    def on_ready(self, ws_url: str, page_url: str | None) -> None:
        """Tell the parent, which prints the addresses when all workers are ready."""
        self._place.report_ready(ws_url, page_url)
