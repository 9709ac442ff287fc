"""Concurrent users over real sockets: how many events a second one server process delivers, and at what cost.

The server runs on one core, all its users in the load generator on another; each user has a session, a connection and
a run. Loads are interleaved: every repetition runs each of them once against a fresh server. Figures are medians over
the repetitions, with their range. ``--results FILE`` writes the table into its section of that file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import _generator
import _process
import _results
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _generator import Report


@attrs.frozen
class Load:
    """One line of the table: ``rate`` events a second for each of ``users``, 0 for as fast as they come."""

    log: str
    users: int
    events: int
    rate: float = 0
    agent: str = "load"
    stalled: int = 0
    ramp: int = 0
    storms: int = 0

    @property
    def label(self) -> tuple[str, ...]:
        """What the line is called."""
        pace = f"{self.rate:g}/s each" if self.rate else "burst"
        return (self.log, self.agent, str(self.users), str(self.events), pace)


STANDARD = (
    Load("memory", 200, 200),
    Load("sqlite", 200, 200),
    Load("memory", 200, 200, agent="custom"),
    Load("memory", 1000, 200),
    Load("sqlite", 1000, 200),
    Load("memory", 500, 100, 20),
    Load("sqlite", 500, 100, 20),
)
HEADER = ("log", "events", "users", "each", "pace", "events/s", "CPU s per 100k", "p50 ms", "p99 ms", "longest ms")
HEADER_REST = ("KB per user", "events per frame", "generator busy")


@attrs.define
class Measured:
    """What the repetitions of one load brought."""

    load: Load
    connected: list[Report] = attrs.Factory(list["Report"])
    rounds: list[Report] = attrs.Factory(list["Report"])
    storms: list[Report] = attrs.Factory(list["Report"])

    def row(self) -> list[str]:
        """The cells of its line."""
        rounds = self.rounds
        rates = [one["events"] / one["seconds"] for one in rounds]
        costs = [one["server_cpu"] * 100_000 / one["events"] for one in rounds]
        delays = [_results.spread([one[key] / 1000 for one in rounds], 2) for key in ("p50", "p99", "longest")]
        kb = statistics.median(one["kb_per_user"] for one in self.connected)
        batch = statistics.median(one["events"] / one["frames"] for one in rounds)
        busy = max(one["busy"] for one in rounds)
        first = [*self.load.label, _results.spread(rates, 0), _results.spread(costs, 3), *delays]
        return [*first, f"{kb:.1f}", f"{batch:.1f}", f"{busy:.0%}"]


def measure(program: Path, measured: Measured, rounds: int) -> None:
    """Run one load once against a fresh server."""
    load, port = measured.load, _process.free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = "memory:" if load.log == "memory" else f"sqlite:{folder}/bench.db"
        with _process.serving(_process.greenroom(port, log), port) as pid:
            options = attrs.asdict(load, filter=attrs.filters.exclude("log", "storms"))
            options |= {"port": port, "pid": pid, "rounds": rounds, "storm": load.storms}
            for report in _generator.reports(program, _process.GENERATOR_CORE, **options):
                _take(measured, report)


def _take(measured: Measured, report: Report) -> None:
    kept = {"connected": measured.connected, "round": measured.rounds, "storm": measured.storms}
    if report["kind"] == "progress":
        _progress(f"{' '.join(measured.load.label)}: {report['events']:,} of {report['wanted']:,} events")
        return
    if report.get("faults"):
        raise SystemExit(f"{report['faults']} events were missing, doubled or out of order")
    kept[report["kind"]].append(report)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Measure the standard loads, or the one that was asked for."""
    options = _parser().parse_args()
    loads: Sequence[Load] = STANDARD
    if options.users is not None:
        names = ("log", "users", "events", "rate", "agent", "stalled", "ramp", "storms")
        loads = (Load(**{name: getattr(options, name) for name in names}),)
    results = [Measured(load) for load in loads]
    with _generator.compiled() as program:
        for _ in range(options.repetitions):
            for measured in results:
                measure(program, measured, options.rounds)
    _progress("")
    text = _results.table((*HEADER, *HEADER_REST), [measured.row() for measured in results])
    print(text)
    for storm in (storm for measured in results for storm in measured.storms):
        print(f"reconnect storm: {storm['users']} users live in {storm['seconds']:.2f} s, {storm['resets']} reset")
    if options.results is not None:
        repetitions, rounds = options.repetitions, options.rounds
        said = EXPLAINED.format(repetitions=repetitions, rounds=rounds)
        _results.write(options.results, "users", "Concurrent users", f"{said}\n{text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--users", type=int, help="one load only: how many users at once")
    add("--events", type=int, default=200, help="events of each user's run (default: %(default)s)")
    add("--rate", type=float, default=0, help="events a second of each user, 0 for a burst (default: %(default)s)")
    add("--log", choices=["memory", "sqlite"], default="memory", help="(default: %(default)s)")
    add(
        "--agent",
        choices=["load", "custom"],
        default="load",
        help="text events, or nested values (default: %(default)s)",
    )
    add("--stalled", type=int, default=0, help="users that never read (default: %(default)s)")
    add("--ramp", type=int, default=0, help="users that connect in a second, 0 for all at once (default: %(default)s)")
    add("--storms", type=int, default=0, help="how often all are cut off and come back (default: %(default)s)")
    add("--rounds", type=int, default=3, help="runs of each user in a repetition (default: %(default)s)")
    add("--repetitions", type=int, default=5, help="(default: %(default)s)")
    add("--results", type=Path, help="write the table into this file")
    return parser


EXPLAINED = """
A user is a session, a connection and a run; events are about 200 bytes: *load* emits text, *custom* a nested value.
Every user checks that no event is missing, doubled or out of order. Medians of {repetitions} interleaved repetitions
of {rounds} rounds, with their range. The whole product is in the path: session actor, grammar, ring, log (with sqlite:
committed before it is delivered), resume. Delays are from the emit to the arrival, of every event. *KB per user* is
what a connected, idle session with its connection adds to the process. Where the generator is busy near 100 %, it and
not the server is the limit.
"""

if __name__ == "__main__":
    main()
