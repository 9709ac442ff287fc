"""The tables of ``peers.py``, in Markdown. Every server has a line, also one that is not installed."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import _results
import _verdicts
import attrs
from _goals import AIMS, MEMORY, SQLITE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _goals import Measured
    from _peer_subjects import Server


NOTHING = "-"
"""A cell without a figure."""


@attrs.frozen
class Column:
    """A figure in a table. ``worst`` shows only the largest of all repetitions, ``scale`` multiplies it."""

    header: str
    figure: str
    digits: int
    worst: bool = False

    def cell(self, values: Sequence[float]) -> str:
        """Return the cell for the values of all repetitions."""
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


STORED = (
    Column("burst, events/s", "burst rate", 0),
    Column("burst, CPU s per 100k", "burst cpu", 3),
    Column("paced, events/s", "paced rate", 0),
    Column("paced, CPU s per 100k", "paced cpu", 2),
    Column("paced p50 ms", "paced p50", 2),
    Column("paced p99 ms", "paced p99", 2),
)
KILLED = ("lost, connected", "lost, away", "twice", "clients that lost events and were not told")


@attrs.frozen
class Sums:
    """The sums of what several kills of a server cost, as :func:`_kills.figures` names them."""

    _found: Sequence[Mapping[str, float]]

    def cells(self) -> list[str]:
        """Return the cells of the columns ``KILLED``."""
        if not any("away lost" in one for one in self._found):
            return [NOTHING] * len(KILLED)
        lost = [f"{self._of(kind, 'lost'):,} of {self._of(kind, 'emitted'):,}" for kind in ("connected", "away")]
        twice, untold = (self._of("connected", name) + self._of("away", name) for name in ("twice", "untold"))
        return [*lost, f"{twice:,}", f"{untold:,}"]

    def _of(self, kind: str, name: str) -> int:
        return round(sum(one[f"{kind} {name}"] for one in self._found if f"{kind} {name}" in one))


def stored(servers: Sequence[Server], measured: Measured, absent: Mapping[str, str]) -> str:
    """Return the table of the servers that store, and of what is lost if they are killed."""
    rows: list[list[str]] = []
    for server in servers:
        found = measured.get(server.name, ())
        cells = [column.cell([one[column.figure] for one in found if column.figure in one]) for column in STORED]
        if server.name in absent:
            cells[0] = absent[server.name]
        rows.append([server.title, *cells, *Sums(found).cells()])
    return _results.table(["server", *(column.header for column in STORED), *KILLED], rows)


def figures(servers: Sequence[Server], columns: Sequence[Column], measured: Measured, absent: Mapping[str, str]) -> str:
    """Return a line for each of ``servers``. For a server without figures, ``absent`` has the reason."""
    rows: list[list[str]] = []
    for server in servers:
        found = measured.get(server.name, ())
        cells = [column.cell([one[column.figure] for one in found if column.figure in one]) for column in columns]
        if server.name in absent:
            cells[0] = absent[server.name]
        rows.append([server.title, *cells])
    return _results.table(["server", *(column.header for column in columns)], rows)


def goals(measured: Measured) -> str:
    """Return a line for every goal: both sides, their ratio, and whether it is met."""
    return _results.table(_verdicts.HEADER, [aim.line(measured) for aim in AIMS])


KEEPING = """
The same loads, with a Redis server for each peer (Valkey, on the core of the peer, its append-only file written once a
second), whose CPU time is counted, too. Then each server is killed with SIGKILL while it emits 20 events/s to each of
40 clients, and started again with the same store. Half of the clients left a second before, the others are connected.
All come back with their position. *Lost* are events whose emit was over and that no client ever got, of all that were
emitted: the sums of all repetitions. With sqlite an emit is over before its event is stored: a kill takes the events
of the last ms, and the client is told that the run was interrupted. *Told* is a client of socket.io by
`socket.recovered`, and a client of Greenroom by a reset.
"""
TIMES = 1.35
"""The goal for an event that comes alone: so many times the CPU time of socket.io."""
LIMITS = """
In CPU seconds for 100,000 events, medians: trio's empty pacing loop takes {loop:.2f} and socket.io altogether
{socketio:.2f}. Of {TIMES:g} times that, {left:.2f} are left for an event's whole way. One send for each event, which
is all that picows does beside its own loop, is {send:.2f} of it. Greenroom's net is {memory:.2f} from memory and
{sqlite:.2f} through sqlite: {own:.2f} and {own_sqlite:.2f} for actor, grammar, numbering, ring, commit and framing.
1,000 users at 20/s are 20,000 events/s, for which a core has 5.0 s for 100,000; Greenroom took {full:.2f} from memory
and {full_sqlite:.2f} through sqlite. The nearer that is to 5, the more its delays are those of a full core's queue,
and not of the path.

In a burst an event takes {burst:.2f} µs from memory and {burst_sqlite:.2f} through sqlite. The narrowest goals leave it
{times_pysio:.2f} µs (20 times python-socketio), {times_ws:.2f} (3.5 times ws) and, through sqlite,
{times_ws_sqlite:.2f} (2.5 times ws). What these microseconds are is in the next section.
"""


def limits(measured: Measured) -> str:
    """Return the arithmetic of the hardest goals, or an empty string if one of their servers was not measured."""

    def median(server: str, figure: str) -> float:
        return statistics.median(one[figure] for one in measured[server])

    if not {MEMORY, SQLITE, "picows", "socket.io", "ws", "python-socketio"} <= measured.keys():
        return ""
    memory, sqlite, send = (median(server, "paced net") for server in (MEMORY, SQLITE, "picows"))
    loop, socketio = median(MEMORY, "paced cpu") - memory, median("socket.io", "paced cpu")
    text = LIMITS.format(
        loop=loop,
        socketio=socketio,
        TIMES=TIMES,
        left=TIMES * socketio - loop,
        send=send,
        memory=memory,
        sqlite=sqlite,
        own=memory - send,
        own_sqlite=sqlite - send,
        full=median(MEMORY, "tail cpu"),
        full_sqlite=median(SQLITE, "tail cpu"),
        burst=10 * median(MEMORY, "burst cpu"),
        burst_sqlite=10 * median(SQLITE, "burst cpu"),
        times_pysio=1e6 / median("python-socketio", "burst rate") / 20,
        times_ws=1e6 / median("ws", "burst rate") / 3.5,
        times_ws_sqlite=1e6 / median("ws", "burst rate") / 2.5,
    )
    return f"### What limits the figures\n{text}"


def lacking(servers: Sequence[Server]) -> str:
    """Return the features that each peer leaves to the application, a line each."""
    return "\n".join(f"- {server.title}: {server.lacks}" for server in servers if server.lacks)


def report(servers: Sequence[Server], measured: Measured, absent: Mapping[str, str]) -> str:
    """Return all tables and the missing features of each peer."""
    alone = [server for server in servers if not server.stores]
    full = [server for server in alone if server.in_tail]
    tables = (
        ("Burst: 200 events to each of 200 users", alone, BURST),
        ("Paced: 500 users, 20 events/s each", alone, PACED),
        ("Paced: 1,000 users, 20 events/s each", full, TAIL),
    )
    parts = [f"### {title}\n\n{figures(lines, columns, measured, absent)}" for title, lines, columns in tables]
    keeping = [server for server in servers if server.keeps]
    parts.append(f"### Equal promises: servers that store\n{KEEPING}\n{stored(keeping, measured, absent)}")
    parts.append(f"### Goals beside peers\n\n{goals(measured)}")
    if explained := limits(measured):
        parts.append(explained)
    parts.append(f"### What each leaves to the application\n\n{lacking(servers)}")
    return "\n\n".join(parts)
