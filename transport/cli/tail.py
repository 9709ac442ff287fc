"""``greenroom tail``: follow a session in the terminal."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, Literal

import orjson
import trio

from actors import ConfigError
from actors.failures import one_line
from transport._border import the_one
from transport.cli._errors import in_one_line
from transport.cli._options import add_settings_option, settings_in
from transport.cli._terminal import PATIENCE_SECONDS, openable, say
from transport.client import Reset, connect
from transport.errors import ConnectionClosedForGood
from transport.protocol.close_codes import NOT_AUTHENTICATED
from transport.settings import Settings

if TYPE_CHECKING:
    import argparse

    from actors import Event
    from transport.cli._options import AddParser
    from transport.client import Client


def add_to(add_parser: AddParser) -> None:
    """Add the command ``tail`` to the parser."""
    parser = add_parser(
        "tail",
        help="follow a session in the terminal",
        description="Print a session's events as they come, one a line, until Ctrl-C. Reconnects after a lost network. "
        "The state of the connection is told on stderr.",
        epilog="example: greenroom tail s1 --url ws://127.0.0.1:8765/ --latest",
    )
    parser.add_argument("session", metavar="SESSION")
    url = "the server's address (default: the settings host and port, ws://127.0.0.1:8765/ without any)"
    parser.add_argument("--url", help=url)
    parser.add_argument("--token", help="the token of the user")
    ca = "authority of the server's certificate, in PEM (default: those that the system trusts)"
    parser.add_argument("--ca", metavar="FILE", help=ca)
    parser.add_argument("--latest", action="store_true", help="only new events")
    parser.add_argument("--json", action="store_true", help="each event as a JSON object")
    add_settings_option(parser)
    parser.set_defaults(run=_tail)


def _tail(options: argparse.Namespace) -> None:
    url = options.url or _own_url(options)
    trusted = None if options.ca is None else _trusted(options.ca)
    try:
        trio.run(follow, url, options.session, options.token, options.latest, options.json, trusted)
    except* KeyboardInterrupt:
        pass  # Ctrl-C is the way to end this command
    except* ValueError as group:
        raise ConfigError(in_one_line(group)) from group
    except* ConnectionClosedForGood as group:
        raise ConfigError(f"refused by {url}: {_reason(group, options.token)}") from group


def _trusted(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigError(f"--ca: {ca} has no certificate that can be read: {error.strerror or error}") from None


def _own_url(options: argparse.Namespace) -> str:
    """Return the address of the server that has the settings of the current folder and environment."""
    settings = Settings.load().overridden(settings_in(options))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "ws" if settings.tls_cert is None else "wss"
    return openable(f"{scheme}://{host}:{settings.port}/")


def _reason(group: BaseException, token: str | None) -> str:
    error = the_one(group)
    missing = token is None and isinstance(error, ConnectionClosedForGood) and error.code == NOT_AUTHENTICATED
    return in_one_line(error) + ("; give a token with --token" if missing else "")


async def follow(  # noqa: PLR0913, PLR0917 - from the command line, in its order
    url: str,
    session: str,
    token: str | None,
    latest: bool,  # noqa: FBT001 - as above
    as_json: bool,  # noqa: FBT001 - as above
    trusted: ssl.SSLContext | None = None,
) -> None:
    """Print the events of a session, one on each line, and the state of the connection to stderr.

    Ends only by an exception: the server has refused the client permanently, or the caller is cancelled.

    Args:
        url: The address of the server.
        session: The name of the session.
        token: The token of the user, if the server asks for one.
        latest: Print only new events instead of all.
        as_json: Print JSON objects instead of lines for people.
        trusted: The TLS context for ``wss:``. None for the system's.

    Raises:
        ConnectionClosedForGood: The server refused the client.
        ValueError: An argument that no server would accept.
    """
    from_: Literal["latest", "oldest"] = "latest" if latest else "oldest"
    async with connect(url, session, token, from_=from_, client="greenroom-tail", ssl_context=trusted) as client:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_report, client, url, session)
                nursery.start_soon(_report_silence, client, url)
                async for event in client.events():
                    print(_printed(event, as_json=as_json), flush=True)
        except BaseException as raised:
            # The nursery wraps the exception in a group; the caller is to get the exception itself.
            one = the_one(raised)
            if one is raised:
                raise
            raise one from one.__cause__


async def _report(client: Client, url: str, session: str) -> None:
    """Print each change of the connection's state to stderr. The same line is not printed twice in a row."""
    newest = f"connecting to {url}"
    say(newest)
    async for state in client.states():
        if state == "live":
            line = f"connected: waiting for events of session {session}"
        elif state == "waiting":
            line = f"not connected, trying again: {client.last_failure}"
        else:
            continue
        if line != newest:
            say(line)
        newest = line


async def _report_silence(client: Client, url: str) -> None:
    """Say that the server does not answer, if the first attempt to connect takes long."""
    await trio.sleep(PATIENCE_SECONDS)
    if client.state == "connecting":
        say(f"{url} does not answer yet: still waiting")


def _printed(event: Event | Reset, *, as_json: bool) -> str:
    if isinstance(event, Reset):
        return orjson.dumps({"reset": event.reason}).decode() if as_json else f"-- reset: {event.reason}"
    return _json(event) if as_json else _line(event)


def _json(event: Event) -> str:
    envelope = {
        name: getattr(event, name)
        for name in ("seq", "ts", "type", "run_id", "parent_run_id", "call_id")
        if getattr(event, name) is not None
    }
    return orjson.dumps({**envelope, "data": event.data}).decode()


def _line(event: Event) -> str:
    """Return the event as one line, without control characters that a terminal would obey."""
    when = dt.datetime.fromtimestamp(event.ts / 1000, dt.UTC).astimezone().strftime("%H:%M:%S")
    source = event.call_id or event.run_id or "-"
    return f"{event.seq:>6} {when} {event.type:<16} {source:<22} {one_line(orjson.dumps(event.data).decode())}"
