"""The progress line on a terminal: how far a measurement is, and the CPU use of the server and the generator."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

try:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
except ImportError:
    raise SystemExit("the benchmarks need the extra bench: pip install -e '.[bench]'") from None

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator

    from _generator import Report


@attrs.define
class Live:
    """The progress line. It shows nothing if standard error is not a terminal."""

    _progress: Progress
    _task: Any
    _earlier: Report | None = None

    def begin(self, title: str) -> None:
        """Show the title of the next measurement."""
        self._earlier = None
        self._progress.reset(self._task, total=None, description=title, said="")

    def tell(self, report: Report) -> None:
        """Show a progress report of the generator. Ignore other reports."""
        if report["kind"] != "progress":
            return
        earlier, self._earlier = self._earlier, report
        said = f"{report['events']:,} events, {report['resident_kb'] / 1024:,.0f} MB"
        if earlier is not None and report["seconds"] > earlier["seconds"]:
            seconds = report["seconds"] - earlier["seconds"]
            rate = (report["events"] - earlier["events"]) / seconds
            server = (report["server_cpu"] - earlier["server_cpu"]) / seconds
            own = (report["own_cpu"] - earlier["own_cpu"]) / seconds
            said = f"{said}, {rate:,.0f}/s, server {server:.0%}, generator {own:.0%}"
        self._progress.update(self._task, completed=report["events"], total=report["wanted"] or None, said=said)


@contextmanager
def shown() -> Generator[Live]:
    """Show the line while the block runs."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[said]}"))
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        yield Live(progress, progress.add_task("", total=None, said=""))
