"""``greenroom copy``: copy a log to another kind of log, or to another place."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import orjson
import trio

from actors import ConfigError, LogError, open_log
from actors.spi import copy_log
from actors.valkey.address import without_password
from transport.cli._options import valkey_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator

    from actors import EventLog
    from actors.cluster.looking import SeenNode
    from actors.spi import CopyReport
    from transport.cli._options import AddParser

_SECONDS = 0.2
"""Minimum time between two lines of progress on a terminal."""


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
    if _url(source) == _url(target):
        raise ConfigError(f"{without_password(source)} and {without_password(target)} are the same log")
    async with _unused(source, exists=True) as one, _unused(target) as two:
        progress = _Progress()
        try:
            return await copy_log(one, two, progress.show)
        finally:
            progress.end()


def _url(log: str) -> str:
    return f"sqlite:{log}" if ":" not in log or Path(log).is_file() else log


def _opened(log: str, *, exists: bool = False) -> EventLog:
    url = _url(log)
    if url == "memory:":
        raise ConfigError("log 'memory:' ends with its process: it cannot be copied")
    path = url.removeprefix("sqlite:").partition("?")[0]
    if exists and url.startswith("sqlite:") and not Path(path).is_file():
        raise ConfigError(f"there is no file {path}")
    return open_log(url, valkey=valkey_options(url))


@asynccontextmanager
async def _unused(log: str, *, exists: bool = False) -> AsyncGenerator[EventLog]:
    """Open a log inside the block. Raise LogError if a server uses it. A SQLite log refuses a second program itself."""
    async with _opened(log, exists=exists) as opened:
        if opened.statistics().engine == "valkey":
            nodes: tuple[SeenNode, ...] = await import_module("actors.cluster.looking").seen_nodes(opened)
            if beating := [node.name for node in nodes if node.is_beating]:
                names = ", ".join(beating)
                raise LogError(f"{without_password(log)} is in use by {names}: end all servers of both logs first")
        yield opened


class _Progress:
    """A line on the terminal that is overwritten. If stderr is no terminal, nothing is shown."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, done: int, sessions: int, events: int) -> None:
        """Show the numbers of finished sessions, of all sessions, and of copied events."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            text = f"greenroom: {done} of {sessions} sessions, {events} events copied"
            sys.stderr.write(f"\r{text.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(text)

    def end(self) -> None:
        """Clear the line."""
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
