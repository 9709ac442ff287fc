"""``greenroom demo``: serve the built-in agent and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport._extras import ExtraMissing
from transport.cli._options import add_server_options, settings_in
from transport.cli._terminal import TerminalReporter

if TYPE_CHECKING:
    import argparse

    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command ``demo`` to the parser."""
    parser = add_parser(
        "demo",
        help="serve the built-in agent and its page",
        description="Ask the standard library: an agent and its page. Every browser is a user of its own.",
        epilog="example: greenroom demo --http-port 8080",
    )
    add_server_options(parser, "sqlite:greenroom-demo.db")
    model = "let this model answer (extra openai; key in OPENAI_API_KEY, server in OPENAI_BASE_URL); default: no model"
    parser.add_argument("--model", default="", metavar="NAME", help=model)
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    given = settings_in(options)
    try:
        from transport.demo.serving import serve_demo  # noqa: PLC0415 - needs the extra demo

        trio.run(serve_demo, TerminalReporter(), given, options.model)
    except* ExtraMissing:
        # The demo needs several extras. The extra that installs them all is of more use than the first that is missing.
        raise ExtraMissing("the demo", "demo") from None
