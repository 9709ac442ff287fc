"""``greenroom serve``: serve an app."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import trio

from actors import ConfigError
from transport._extras import ExtraMissing
from transport._sources import Given
from transport.cli._apps import load_app
from transport.cli._logging import early_format, use_log_format
from transport.cli._options import add_server_options, settings_in
from transport.cli._reloading import serve_again
from transport.cli._terminal import TerminalReporter, say
from transport.cli._workers import WorkerReporter, serve_in_workers
from transport.server.listening import Listeners
from transport.settings import Settings

if TYPE_CHECKING:
    import argparse

    from transport._process import Reporter
    from transport.app import Greenroom
    from transport.cli._options import AddParser
    from transport.workers._process import Addresses
    from transport.workers.launch import Launch
    from transport.workers.place import WorkerPlace


def add_to(add_parser: AddParser) -> None:
    """Add the command ``serve`` to the parser."""
    parser = add_parser(
        "serve",
        help="serve an app",
        description="Serve an app until SIGTERM or Ctrl-C, then let its runs finish. A second Ctrl-C ends at once.",
        epilog="example: greenroom serve app:app --port 8765 --log sqlite:greenroom.db --set run_seconds=60",
    )
    parser.add_argument("app", metavar="MODULE:APP", help="place of the app; the current folder is searched first")
    add_server_options(parser, "sqlite:greenroom.db unless the app says otherwise")
    parser.add_argument("--workers", metavar="N", help="number of processes; needs a log that they share (default: 1)")
    reload = "start the server again when a Python file or greenroom.toml below the current folder has changed"
    parser.add_argument("--reload", action="store_true", help=f"{reload}; for developing")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    place: WorkerPlace | None = options.place
    given = settings_in(options)
    use_log_format(early_format(given))
    if options.reload and place is None:
        return _serve_again(options)
    app = load_app(options.app)
    app.override(given)
    use_log_format(app.settings.log_format, None if place is None else place.number)
    warning = "" if app.agents else f"{options.app} has no agent: register one with @app.agent"
    if place is None and app.settings.workers > 1:
        return serve_in_workers(app, options.launch, TerminalReporter(warning))
    is_worker = place is not None and place.number > 0
    if place is not None and not is_worker and warning:
        say(warning)
    if place is not None and is_worker and app.settings.node_name:
        app.override([worker_name(app.settings, place.number)])
    reporter = TerminalReporter(warning) if place is None else WorkerReporter(place)
    listeners = Listeners() if place is None else place.listeners
    try:
        from transport.http.serving import serve  # noqa: PLC0415 - needs the extra http
    except ExtraMissing as missing:
        if not is_worker:
            say(f"serving without pages: {missing}")
        trio.run(serve_without_pages, app, reporter, listeners)
    else:
        trio.run(serve, app, reporter, None, listeners, 0 if place is None else place.number)
    return 0


def _serve_again(options: argparse.Namespace) -> int:
    """Serve an app in another process, which is started again after each change of a file. Return the exit status."""
    given = settings_in(options)
    if any(each.name == "workers" and each.value != 1 for each in given):
        raise ConfigError("--reload is for one process: leave out --workers")
    settings, names = Settings.load().overridden(given), {each.name for each in given}
    base: Launch = options.launch
    launch = attrs.evolve(
        base,
        # Python takes a compiled file for current if the second and the size of its source are the same.
        environment={**base.environment, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    def launch_at(addresses: Addresses | None) -> Launch:
        more = ["--workers", "1", *(() if "drain_seconds" in names else ("--set", "drain_seconds=0"))]
        if addresses is not None and not settings.port:  # clients come back to the same ports
            more += ["--port", _port_of(addresses.ws_url)]
        if addresses is not None and addresses.page_url is not None and not settings.http_port:
            more += ["--http-port", _port_of(addresses.page_url)]
        return attrs.evolve(launch, arguments=(*launch.arguments, *more))

    reporter = TerminalReporter()

    def on_ready(addresses: Addresses) -> None:
        reporter.on_ready(addresses.ws_url, addresses.page_url)

    return trio.run(serve_again, launch_at, say, on_ready)


def _port_of(url: str) -> str:
    return str(urlsplit(url).port)


def worker_name(settings: Settings, number: int) -> Given:
    """Return the setting ``node_name`` of a worker: the given name and the number of the worker."""
    return Given("node_name", f"{settings.node_name}-{number}", settings.source("node_name"))


async def serve_without_pages(app: Greenroom, reporter: Reporter, given: Listeners) -> None:
    """Serve the WebSocket endpoint of an app until SIGTERM or SIGINT, then drain. Needs no extra."""
    async with app.running(listeners=given.endpoint) as server:
        await server.until_signal(reporter)
