"""``greenroom demo``: serve the built-in agent and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport.cli._options import add_server_options, address_in

if TYPE_CHECKING:
    import argparse

    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "demo",
        help="serve the built-in agent and its page",
        description="Ask the standard library: an agent and its page. Every browser is a user of its own.",
        epilog="example: greenroom demo --http-port 8080",
    )
    add_server_options(parser, "sqlite:greenroom-demo.db")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from transport.demo.serving import serve_demo  # noqa: PLC0415 - needs the extras http and jwt

    trio.run(serve_demo, address_in(options), options.log)
