"""Lines for the person at the terminal. They go to stderr: programs read stdout."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

import trio

from actors.failures import one_line
from transport._process import Reporter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self, TextIO

T = TypeVar("T")

PATIENCE_SECONDS = 2.0
"""Time after which a command names the reason of its wait, in seconds."""
_PROGRESS_SECONDS = 0.2
"""Minimum time between two lines of progress on a terminal."""

_NAMED_RUNS = 10
"""Maximum number of runs that are named when the server drains. Further runs are only counted."""
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, never bound
"""The names of "every address of this machine", and for each a name that a browser on this machine can open."""


def say(line: str) -> None:
    """Print a line for a person to stderr.

    Characters that a terminal would obey are escaped: a part of the line may come from a server or a client.
    """
    print(_form[0](one_line(line)), file=sys.stderr, flush=True)


def as_text(line: str) -> str:
    """Return a line as people read it."""
    return f"greenroom: {line}"


def write_as(form: Callable[[str], str]) -> None:
    """Write all further lines in another form, such as that of log lines."""
    _form[:] = [form]


_form: list[Callable[[str], str]] = [as_text]


class TerminalReporter(Reporter):
    """Reports the start of a server on stdout for programs and on stderr for people, and the drain on stderr.

    ``warning`` is printed when the server is ready, unless it is empty.
    """

    def __init__(self, warning: str = "") -> None:
        self._warning = warning

    def on_ready(self, ws_url: str, page_url: str | None) -> None:
        """Print ``ready WS_URL HTTP_URL`` on stdout for programs, and a line for people on stderr.

        If there are no pages, ``-`` takes the place of ``HTTP_URL``.
        """
        print(f"ready {ws_url} {page_url or '-'}", flush=True)
        if page_url is None:
            say(f"clients connect to {openable(ws_url)}; Ctrl-C ends the server")
        else:
            say(f"open {openable(page_url)} in a browser; Ctrl-C ends the server")
        if self._warning:
            say(self._warning)

    def on_drain(self, signal_name: str, runs: Sequence[tuple[str, str]], seconds: float) -> None:
        """Print the runs that the server waits for. If there are none, the server ends at once, and prints nothing."""
        if runs:
            named = [f"{agent} in session {session}" for agent, session in runs[:_NAMED_RUNS]]
            more = [f"{len(runs) - _NAMED_RUNS} more"] if len(runs) > _NAMED_RUNS else []
            count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
            say(f"{signal_name}: waiting up to {seconds:g} s for {count} to finish: {', '.join(named + more)}")
            say("press Ctrl-C to end at once; the runs are then closed as interrupted at the next start")


def openable(url: str) -> str:
    """Return a URL with a host that a program on this machine can open, also if the server listens on every address."""
    parts = urlsplit(url)
    local = _LOCAL.get(parts.hostname or "")
    return url if local is None else urlunsplit(parts._replace(netloc=f"{local}:{parts.port}"))


async def told(line: str, call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of ``call``. If it takes longer than :data:`PATIENCE_SECONDS`, print ``line`` meanwhile."""
    failure: Exception | None = None
    results: list[T] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_later, line)
        try:
            results.append(await call())
        except Exception as error:  # noqa: BLE001 - raised below, where no nursery can wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return results[0]


async def _say_later(line: str) -> None:
    await trio.sleep(PATIENCE_SECONDS)
    say(line)


class Progress:
    """A line on the terminal that is overwritten. If stderr is no terminal, nothing is shown.

    Args:
        output: A stream to which the command writes its result meanwhile. If it is a terminal, nothing is shown.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self._is_shown = sys.stderr.isatty() and not (output is not None and output.isatty())
        self._next = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, text: str) -> None:
        """Show how far the work is, at most once in 0.2 s."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_SECONDS
            line = f"greenroom: {one_line(text)}"
            sys.stderr.write(f"\r{line.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(line)

    def sessions(self, done: int, sessions: int, events: int) -> None:
        """Show the numbers of finished sessions, of all sessions, and of events."""
        self.show(f"{done} of {sessions} sessions, {events} events")

    def pages(self, done: int, pages: int) -> None:
        """Show the part of a file that is copied, in percent."""
        self.show(f"{done * 100 // max(pages, 1)} % copied")

    def end(self) -> None:
        """Clear the line."""
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
            self._width = 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines with aligned columns. The first row has the titles."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
