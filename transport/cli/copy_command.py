"""``greenroom copy``: copy a log to another kind of log, or to another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import orjson
import trio

from actors import ConfigError
from actors.spi import copy_log
from actors.valkey.address import without_password
from transport.cli._logs import refuse_memory, require_file, unused, url_of
from transport.cli._terminal import Progress

if TYPE_CHECKING:
    import argparse

    from actors.spi import CopyReport
    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command ``copy`` to the parser."""
    parser = add_parser(
        "copy",
        help="copy a log to another log",
        description="Copy all sessions of a log to an empty log, with their epochs, numbers and states, the revoked "
        "tokens and the positions of consumers, and compare both. No server may have one of the logs open. A copy that "
        "was interrupted goes on when the command is repeated.",
        epilog="example: greenroom copy sqlite:greenroom.db sqlite:/mnt/new/greenroom.db",
    )
    parser.add_argument("source", metavar="FROM", help="a log: a file, or a URL; it is not changed")
    parser.add_argument("target", metavar="TO", help="the other log: a file, or a URL")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.set_defaults(run=_copy)


def _copy(options: argparse.Namespace) -> None:
    report = trio.run(copy, options.source, options.target)
    source, target = without_password(options.source), without_password(options.target)
    if options.json:
        print(orjson.dumps({"from": source, "to": target, **attrs.asdict(report)}).decode())
    else:
        counts = f"{report.sessions} sessions, {report.events} events ({report.copied} copied now)"
        rest = f"{report.revocations} revoked tokens, {report.consumers} consumers"
        print(f"{target}: {counts}, {rest}: the same as {source}")


async def copy(source: str, target: str) -> CopyReport:
    """Copy a log, and show the progress on stderr if it is a terminal.

    Raises:
        ConfigError: A name is not that of a log, or both are the same.
        LogError: The logs differ, or one of them cannot be used, for example since a server has it open.
    """
    if url_of(source) == url_of(target):
        raise ConfigError(f"{without_password(source)} and {without_password(target)} are the same log")
    for log in (source, target):
        refuse_memory(log, "copied")
    require_file(source)
    async with unused(source) as one, unused(target) as two:
        with Progress() as progress:
            return await copy_log(one, two, lambda done, all_, events: progress.show(_far(done, all_, events)))


def _far(done: int, sessions: int, events: int) -> str:
    return f"{done} of {sessions} sessions, {events} events copied"
