"""The tables of ``peers.py``, in Markdown: every server has its line, also one that is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _results
import _verdicts
import attrs
from _goals import AIMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _goals import Measured
    from _peer_subjects import Server


NOTHING = "-"
"""A cell without a figure."""


@attrs.frozen
class Column:
    """A figure in a table: ``worst`` shows the largest of all repetitions alone, ``scale`` multiplies it."""

    header: str
    figure: str
    digits: int
    worst: bool = False

    def cell(self, values: Sequence[float]) -> str:
        """What stands in the table for the values of all repetitions."""
        if not values:
            return NOTHING
        return f"{max(values):,.{self.digits}f}" if self.worst else _results.spread(values, self.digits)


BURST = (
    Column("events/s", "burst rate", 0),
    Column("CPU s per 100k", "burst cpu", 3),
    Column("p50 ms", "burst p50", 2),
    Column("p99 ms", "burst p99", 2),
    Column("server busy %", "burst server", 0),
    Column("generator busy %", "burst busy", 0, worst=True),
)
PACED = (
    Column("events/s", "paced rate", 0),
    Column("CPU s per 100k", "paced cpu", 2),
    Column("net of pacing", "paced net", 2),
    Column("p50 ms", "paced p50", 2),
    Column("p99 ms", "paced p99", 2),
    Column("longest ms", "paced longest", 1, worst=True),
    Column("idle KB per connection", "paced kb", 1),
    Column("generator busy %", "paced busy", 0, worst=True),
)
TAIL = (
    Column("events/s", "tail rate", 0),
    Column("CPU s per 100k", "tail cpu", 2),
    Column("p50 ms", "tail p50", 2),
    Column("p99 ms", "tail p99", 2),
    Column("longest ms", "tail longest", 1, worst=True),
    Column("generator busy %", "tail busy", 0, worst=True),
)


def figures(servers: Sequence[Server], columns: Sequence[Column], measured: Measured, absent: Mapping[str, str]) -> str:
    """One line for each of ``servers``; one without figures says why, as ``absent`` has it."""
    rows: list[list[str]] = []
    for server in servers:
        found = measured.get(server.name, ())
        cells = [column.cell([one[column.figure] for one in found if column.figure in one]) for column in columns]
        if server.name in absent:
            cells[0] = absent[server.name]
        rows.append([server.title, *cells])
    return _results.table(["server", *(column.header for column in columns)], rows)


def goals(measured: Measured) -> str:
    """Every goal with both sides, their ratio, and whether it is met."""
    return _results.table(_verdicts.HEADER, [aim.line(measured) for aim in AIMS])


def lacking(servers: Sequence[Server]) -> str:
    """What each peer leaves to the application, a line each."""
    return "\n".join(f"- {server.title}: {server.lacks}" for server in servers if server.lacks)


def report(servers: Sequence[Server], measured: Measured, absent: Mapping[str, str]) -> str:
    """All tables, and what each peer leaves to the application."""
    direct = [server for server in servers if not server.variant]
    tables = (
        ("Burst: 200 events to each of 200 users", servers, BURST),
        ("Paced: 500 users, 20 events/s each", servers, PACED),
        ("Paced: 1,000 users, 20 events/s each", direct, TAIL),
    )
    parts = [f"### {title}\n\n{figures(lines, columns, measured, absent)}" for title, lines, columns in tables]
    parts.append(f"### Goals beside peers\n\n{goals(measured)}")
    parts.append(f"### What each leaves to the application\n\n{lacking(servers)}")
    return "\n\n".join(parts)
