"""A cluster: the cost of the log in Valkey, of clients at another node than their session, and of a second node.

Each repetition takes fresh nodes with a fresh server of Valkey through each case. A session of another node is a
mirror, which the owner's commits reach over Valkey: the CPU time of both nodes is compared with that of one node whose
clients are at their session. The number of mirrors is raised at a fixed rate of events. Two nodes with twice the users
are compared with one node. Beside that: the median duration of lone commits on SQLite and Valkey, the commands of a
commit, and Socket.IO, which keeps its events in streams of the same server.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import _generator
import _live
import _process
import _results
import _running
import _verdicts
from _cluster_cases import BESIDE, CORES, PEER, VALKEY, Case, beside, cases, commits, measure
from _goals import Aim
from _peer_loads import WARM_SECONDS
from _peer_tables import Column
from _verdicts import Goal

if TYPE_CHECKING:
    from collections.abc import Callable

    from _goals import Measured

NODES_AND_GENERATOR = 3
COMMITS = ("sqlite", "valkey")
COMMIT_COLUMNS = (Column("one event, p50 ms", "p50", 3), Column("commands of a commit of 20 sessions", "commands", 2))
CASE_COLUMNS = (
    Column("events/s", "rate", 0),
    Column("CPU s per 100k, nodes", "nodes", 3),
    Column("of it the first", "first", 3),
    Column("and the second", "second", 3),
    Column("Valkey", "valkey", 3),
    Column("p50 ms", "p50", 2),
    Column("p99 ms", "p99", 2),
)
PEER_COLUMNS = (
    Column("paced, CPU s per 100k", "paced cpu", 2),
    Column("paced p50 ms", "paced p50", 2),
    Column("paced p99 ms", "paced p99", 2),
    Column("burst, CPU s per 100k", "burst cpu", 3),
    Column("burst, events/s", "burst rate", 0),
)


def aims(few: int, many: int, cores: int) -> list[Aim]:
    """Return the goals, with ``few`` and ``many`` mirrors. ``cores``: the cores of this machine.

    With a core for each of two nodes and the generator, the events per second of two nodes count. With fewer, their CPU
    time per event: a ratio of 1 is twice the events where each has a core.
    """
    found = [
        Aim(Goal("commands of a commit of many sessions", 1), "commands", "valkey"),
        Aim(Goal("commit of one event, p50, valkey beside sqlite", 2, "ms", 3), "p50", "valkey", "sqlite"),
    ]
    for load in ("paced", "burst"):
        goal = Goal(f"{load}, CPU of both nodes, clients at the other one, beside one node", 1.3, "s per 100k", 3)
        found.append(Aim(goal, "nodes", f"{load}, the other node", f"{load}, one node"))
    goal = Goal(f"CPU of both nodes, {many:,} mirrors beside {few:,}", 1.2, "s per 100k", 3)
    found.append(Aim(goal, "nodes", f"{many} mirrors", f"{few} mirrors"))
    for load in ("paced", "burst"):
        two, one = f"{load}, two nodes", f"{load}, one node"
        if not _verdicts.has_spare_core(cores, NODES_AND_GENERATOR - 1):
            goal = Goal(f"{load}, CPU per event, two nodes beside one (1.8 times the events)", 1.11, "s per 100k", 3)
            found.append(Aim(goal, "nodes", two, one))
        elif load == "burst":
            found.append(
                Aim(Goal("burst, events/s, two nodes beside one", 1.8, "", 0, at_least=True), "rate", two, one)
            )
    for load in ("paced", "burst"):
        goal = Goal(f"{load}, CPU with Valkey's, beside {PEER.name}", 1, "s per 100k", 3)
        found.append(Aim(goal, f"{load} cpu", VALKEY.name, PEER.name))
    return found


def table(measured: Measured, names: list[str], columns: tuple[Column, ...], header: str) -> str:
    """Return a table with a line for each name that was measured."""
    lines = [
        [name, *(column.cell([one[column.figure] for one in measured[name]]) for column in columns)]
        for name in names
        if name in measured
    ]
    return _results.table([header, *(column.header for column in columns)], lines)


def report(measured: Measured, todo: list[Case], goals: list[Aim]) -> list[str]:
    """Return the tables, and a verdict for each goal."""
    names = [one.name for one in todo]
    waited = [one["waited"] / 100 for name in names for one in measured.get(name, ())]
    return [
        table(measured, list(COMMITS), COMMIT_COLUMNS, "commits"),
        table(measured, names, CASE_COLUMNS, "load and place of the clients"),
        table(measured, [one.name for one in BESIDE], PEER_COLUMNS, "one server with its Valkey, on one core"),
        _results.table(_verdicts.HEADER, [aim.line(measured) for aim in goals]),
        *([_verdicts.note_on_machine(waited)] if waited else []),
    ]


def main() -> None:
    """Measure all cases."""
    parser = _running.parser(__doc__, 3)
    add = parser.add_argument
    add("--seconds", type=float, default=2, help="how long a paced load is measured (default: %(default)s)")
    add("--mirrors", type=int, nargs=2, default=[1000, 20_000], metavar="N", help="(default: %(default)s)")
    add("--rate", type=float, default=4000, help="events a second of all mirrors together (default: %(default)s)")
    add("--only", nargs="+", default=[], metavar="WORD", help="measure only what has one of these words in its name")
    options = parser.parse_args()
    files = _process.allow_files()
    few, many = sorted(_verdicts.sessions_that_fit(size, files) for size in options.mirrors)
    todo = cases(options.seconds, (few, many), options.rate)
    measured: dict[str, list[dict[str, float]]] = {}
    with _generator.compiled() as program, _live.shown() as live:
        absent = {one.name: one.missing() for one in BESIDE if one.missing()}
        servers = [one for one in BESIDE if one.name not in absent]
        steps: dict[str, Callable[[], dict[str, float]]] = {name: partial(commits, name) for name in COMMITS}
        steps |= {case.name: partial(measure, program, case, live) for case in todo}
        steps |= {one.name: partial(beside, program, one, options.seconds, live) for one in servers}
        for repetition in range(options.repetitions):
            for name, step in steps.items():
                if not options.only or any(word in name for word in options.only):
                    live.begin(f"{repetition + 1} of {options.repetitions}: {name}")
                    measured.setdefault(name, []).append(step())
    explained = EXPLAINED.format(
        repetitions=options.repetitions, seconds=options.seconds, rate=options.rate, warm=WARM_SECONDS
    )
    notes = [f"Not installed: {name} ({', '.join(missing)})." for name, missing in absent.items()]
    parts = [explained, *notes, *report(measured, todo, aims(few, many, len(CORES)))]
    _running.publish(options.results, "cluster", "A cluster on Valkey", parts)


EXPLAINED = """
Medians of {repetitions} interleaved repetitions with their range, each with fresh nodes and a fresh server of Valkey,
which writes to its file each second. All users check that no event is missing, doubled or out of order. Each node has a
core of its own as far as there are enough; Valkey and the load generator run where there is room. A paced load is
500 users at 20 events/s each, measured for {seconds:g} s, from {warm:g} s after the last run has begun; a burst is 200
events to each of 200 users. Two nodes have twice the users. *The other node*: the first node runs all sessions, and all
clients are at the second. Mirrors have {rate:,.0f} events/s in all. In the table beside Socket.IO, CPU time has
that of the Valkey server, on the same core, and paced clients never sleep while they are measured.
"""

if __name__ == "__main__":
    main()
