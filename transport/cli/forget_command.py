"""``greenroom forget``: remove everything of a user."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import orjson
import trio

from actors import ConfigError
from actors.valkey.address import without_password
from transport.cli._logs import refuse_memory, require_file, unused
from transport.cli._operator import Operator, add_operator_options
from transport.cli._terminal import told

if TYPE_CHECKING:
    import argparse

    from actors import EventLog
    from transport.cli._options import AddParser

_PATIENCE = 600.0
"""Maximum time in seconds for the removal by a server: it waits for runs to end, and looks at a whole file."""


def add_to(add_parser: AddParser) -> None:
    """Add the command ``forget`` to the parser."""
    parser = add_parser(
        "forget",
        help="remove everything of a user",
        description="Remove all sessions of a user: events, state, positions of consumers, also from unused parts of a "
        "file. With LOG from a log that no server has open; without it by the running server at --url, which also "
        "cancels the user's runs and closes the connections. Revocations of the user stay until their time. Backups "
        "are not changed.",
        epilog="example: greenroom forget ann greenroom.db",
    )
    parser.add_argument("user", metavar="USER")
    parser.add_argument("log", metavar="LOG", nargs="?", help="a file, sqlite:PATH or valkey://HOST:PORT")
    quick = "do not look at the whole of a SQLite file: a few copies of old rows can stay for some time"
    parser.add_argument("--quick", action="store_true", help=quick)
    add_operator_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.set_defaults(run=_forget)


def _forget(options: argparse.Namespace) -> None:
    if options.log is None:
        _forget_at_server(options)
        return
    if options.url is not None:
        raise ConfigError("give either a LOG, or the --url of the server that has it open")
    refuse_memory(options.log, "changed")
    require_file(options.log)
    sessions = trio.run(partial(forget, options.user, options.log, thorough=not options.quick))
    if options.json:
        result = {"user": options.user, "log": without_password(options.log), "sessions": sessions}
        print(orjson.dumps(result).decode())
    else:
        print(f"{without_password(options.log)}: {sessions} sessions were removed")


def _forget_at_server(options: argparse.Namespace) -> None:
    operator = Operator.of(options)
    post = partial(operator.post, "forget", _PATIENCE, user=options.user, thorough=not options.quick)
    waiting = f"{operator.url} is still removing everything of the user"
    answer = trio.run(told, waiting, lambda: trio.to_thread.run_sync(post))
    counts = {name: answer[name] for name in ("sessions", "connections")}
    if options.json:
        print(orjson.dumps({"user": options.user, "url": operator.url, **counts}).decode())
    else:
        counted = f"{counts['sessions']} sessions were removed, {counts['connections']} connections closed"
        print(f"{operator.url}: {counted}")


async def forget(user: str, log: str, *, thorough: bool = True) -> int:
    """Remove everything of a user from a log that no server uses. Return the number of removed sessions.

    ``thorough`` is as for :meth:`.EventLog.forget`.

    Raises:
        LogError: A server uses the log, or the log failed.
    """
    async with unused(log) as opened:
        return await told(
            f"still looking at all of {without_password(log)}", lambda: _forgotten(opened, user, thorough)
        )


async def _forgotten(log: EventLog, user: str, thorough: bool) -> int:  # noqa: FBT001 - called in one place
    if log.statistics().engine == "valkey":
        # Imported here, as the engine: other commands need no client library.
        sessions: int = await import_module("actors.cluster.outside").forget_from_outside(log, user)
        return sessions
    return await log.forget(user, thorough=thorough)
