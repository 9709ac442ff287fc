"""``greenroom serve``: serve an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport._extras import ExtraMissing
from transport.cli._apps import load_app
from transport.cli._options import add_server_options, settings_in
from transport.cli._terminal import TerminalReporter, say

if TYPE_CHECKING:
    import argparse

    from transport._process import Reporter
    from transport.app import Greenroom
    from transport.cli._options import AddParser


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
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    app = load_app(options.app)
    app.override(settings_in(options))
    reporter = TerminalReporter("" if app.agents else f"{options.app} has no agent: register one with @app.agent")
    try:
        from transport.http.serving import serve  # noqa: PLC0415 - needs the extra http
    except ExtraMissing as missing:
        say(f"serving without pages: {missing}")
        trio.run(serve_without_pages, app, reporter)
    else:
        trio.run(serve, app, reporter)


async def serve_without_pages(app: Greenroom, reporter: Reporter) -> None:
    """Serve the WebSocket endpoint of an app until SIGTERM or SIGINT, then drain. Needs no extra."""
    async with app.running() as server:
        await server.until_signal(reporter)
