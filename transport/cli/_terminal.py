"""Lines for the person at the terminal. They go to stderr: programs read stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from actors.failures import one_line
from transport._process import Reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED_RUNS = 10
"""Maximum number of runs that are named when the server drains. Further runs are only counted."""
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, never bound
"""The names of "every address of this machine", and for each a name that a browser on this machine can open."""


def say(line: str) -> None:
    """Print a line for a person to stderr.

    Characters that a terminal would obey are escaped: a part of the line may come from a server or a client.
    """
    print(f"greenroom: {one_line(line)}", file=sys.stderr, flush=True)


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
