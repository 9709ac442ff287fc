"""``greenroom tail``: follow a session in the terminal."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import orjson
import trio

from actors import ConfigError
from transport.app import DEFAULT_HOST, DEFAULT_PORT
from transport.cli._errors import in_one_line
from transport.client import Reset, connect

if TYPE_CHECKING:
    import argparse

    from actors import Event
    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "tail",
        help="follow a session in the terminal",
        description="Print a session's events as they come, one a line, until Ctrl-C. Reconnects after a lost network.",
        epilog="example: greenroom tail s1 --url ws://127.0.0.1:8765/ --latest",
    )
    parser.add_argument("session", metavar="SESSION")
    url = "the server's address (default: %(default)s)"
    parser.add_argument("--url", default=f"ws://{DEFAULT_HOST}:{DEFAULT_PORT}/", help=url)
    parser.add_argument("--token", help="the token of the user")
    parser.add_argument("--latest", action="store_true", help="only new events")
    parser.add_argument("--json", action="store_true", help="each event as a JSON object")
    parser.set_defaults(run=_tail)


def _tail(options: argparse.Namespace) -> None:
    try:
        trio.run(follow, options.url, options.session, options.token, options.latest, options.json)
    except* KeyboardInterrupt:
        pass  # Ctrl-C is the way to end this command
    except* ValueError as group:
        raise ConfigError(in_one_line(group)) from group


async def follow(url: str, session: str, token: str | None, latest: bool, as_json: bool) -> None:  # noqa: FBT001 - from the command line, in its order
    """Print the events of a session, one on each line, until the client may not reconnect any more.

    Args:
        url: The address of the server.
        session: The name of the session.
        token: The token of the user, if the server asks for one.
        latest: Print only new events instead of all.
        as_json: Print JSON objects instead of lines for people.
    """
    async with connect(url, session, token, from_="latest" if latest else "oldest", client="greenroom-tail") as client:
        async for event in client.events():
            if isinstance(event, Reset):
                line = orjson.dumps({"reset": event.reason}).decode() if as_json else f"-- reset: {event.reason}"
            else:
                line = _json(event) if as_json else _line(event)
            print(line, flush=True)


def _json(event: Event) -> str:
    envelope = {
        name: getattr(event, name)
        for name in ("seq", "ts", "type", "run_id", "parent_run_id", "call_id")
        if getattr(event, name) is not None
    }
    return orjson.dumps({**envelope, "data": event.data}).decode()


def _line(event: Event) -> str:
    """Return the event as one line. JSON escapes the control characters that a terminal would obey."""
    when = dt.datetime.fromtimestamp(event.ts / 1000, dt.UTC).astimezone().strftime("%H:%M:%S")
    source = event.call_id or event.run_id or "-"
    return f"{event.seq:>6} {when} {event.type:<16} {source:<22} {orjson.dumps(event.data).decode()}"
