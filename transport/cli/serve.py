"""``greenroom serve``: serve an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport._extras import ExtraMissing
from transport._sources import Given
from transport.cli._apps import load_app
from transport.cli._options import add_server_options, settings_in
from transport.cli._terminal import TerminalReporter, say
from transport.cli._workers import WorkerReporter, serve_in_workers
from transport.server.listening import Listeners

if TYPE_CHECKING:
    import argparse

    from transport._process import Reporter
    from transport.app import Greenroom
    from transport.cli._options import AddParser
    from transport.settings import Settings
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
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    app = load_app(options.app)
    app.override(settings_in(options))
    place: WorkerPlace | None = options.place
    warning = "" if app.agents else f"{options.app} has no agent: register one with @app.agent"
    if place is None and app.settings.workers > 1:
        return serve_in_workers(app, options.launch, TerminalReporter(warning))
    if place is not None and app.settings.node_name:
        app.override([worker_name(app.settings, place.number)])
    reporter = TerminalReporter(warning) if place is None else WorkerReporter(place)
    given = Listeners() if place is None else place.listeners
    try:
        from transport.http.serving import serve  # noqa: PLC0415 - needs the extra http
    except ExtraMissing as missing:
        if place is None:
            say(f"serving without pages: {missing}")
        trio.run(serve_without_pages, app, reporter, given)
    else:
        trio.run(serve, app, reporter, None, given)
    return 0


def worker_name(settings: Settings, number: int) -> Given:
    """Return the setting ``node_name`` of a worker: the given name and the number of the worker."""
    return Given("node_name", f"{settings.node_name}-{number}", settings.source("node_name"))


async def serve_without_pages(app: Greenroom, reporter: Reporter, given: Listeners) -> None:
    """Serve the WebSocket endpoint of an app until SIGTERM or SIGINT, then drain. Needs no extra."""
    async with app.running(listeners=given.endpoint) as server:
        await server.until_signal(reporter)
