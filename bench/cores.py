"""A second server process: its gain and its cost.

Two independent servers, each on its own core with half of the users, are compared with one server that has as many
users as one of the two: the same load per process, alone and with another process beside it. CPU time per event is
taken at a fixed pace, events per second at full speed. The latter needs a third core for the load generator, and is
left out if there is none.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _plots
import _process
import _results
import _running
import _verdicts
import attrs
from _verdicts import Goal

if TYPE_CHECKING:
    from pathlib import Path

    from _generator import Report
    from _live import Live

COST = Goal("CPU per event, two processes beside one", 1.05, "s per 100k", 3)
SPEED = Goal("events/s, two processes beside one", 1.8, digits=0, at_least=True)
HEADER = ("processes", "users", "events each", "pace", "events/s", "CPU s per 100k", "p99 ms")
CORES = sorted(os.sched_getaffinity(0))


@attrs.frozen
class Case:
    """A number of server processes under the same load each."""

    servers: int
    paced: bool

    def load(self, users: int, rate: float, seconds: float) -> _loading.Load:
        """Return the load on all processes: ``users`` for each."""
        if not self.paced:
            return _loading.Load(users=users * self.servers, events=200, rounds=3)
        events = round(rate * (seconds + 6))
        return _loading.Load(users=users * self.servers, events=events, rate=rate, warm=1, window=seconds, cut=True)


def measure(program: Path, case: Case, load: _loading.Load, live: Live) -> list[Report]:
    """Put the load on fresh servers, each on its own core. The generator has the other cores, or shares all."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_process.measured(core=CORES[number % len(CORES)])) for number in range(case.servers)
        ]
        spare = CORES[2:] or CORES
        words = ",".join(map(str, spare))
        return _loading.run(program, load, _loading.Target.of(*servers), live.tell, words).rounds


def row(case: Case, load: _loading.Load, rounds: list[Report]) -> list[str]:
    """Return the line of a case."""
    pace = f"{load.rate:g}/s each" if case.paced else "burst"
    rates = _results.spread([_loading.rate(one) for one in rounds], 0)
    costs = _results.spread([_loading.cost(one) for one in rounds], 3)
    tails = _results.spread([one["p99"] / 1000 for one in rounds], 2)
    return [str(case.servers), f"{load.users:,}", str(load.events), pace, rates, costs, tails]


def plot(measured: dict[Case, list[Report]], target: Path) -> None:
    """Draw the CPU time per event of one process and of two."""
    with _plots.figure(target, 1, 2) as (axis,):
        for case, rounds in measured.items():
            if case.paced:
                name = f"{case.servers} process{'es' if case.servers > 1 else ''}"
                costs = [_loading.cost(one) for one in rounds]
                axis.plot(costs, [name] * len(costs), "o", color=_plots.COLOURS[case.servers - 1])
        axis.margins(x=0.1, y=0.5)
        axis.set_xlim(left=0)
        axis.set_xlabel("CPU s per 100k events, paced, each repetition")


def main() -> None:
    """Measure all cases."""
    parser = _running.parser(__doc__, 3)
    parser.add_argument("--users", type=int, default=400, help="users of each process (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="paced events a second of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="paced for so long (default: %(default)s)")
    options = parser.parse_args()
    spare = _verdicts.has_spare_core(len(CORES), 2)
    cases = [Case(1, paced=True), Case(2, paced=True)]
    cases += [Case(1, paced=False), Case(2, paced=False)] if spare else []
    measured: dict[Case, list[Report]] = {case: [] for case in cases}
    loads = {case: case.load(options.users, options.rate, options.seconds) for case in cases}
    with _generator.compiled() as program, _live.shown() as live:
        for repetition in range(options.repetitions):
            for case in cases:
                live.begin(f"{case.servers} processes, {repetition + 1} of {options.repetitions}")
                measured[case] += measure(program, case, loads[case], live)
    alone, both = (list(map(_loading.cost, measured[case])) for case in cases[:2])
    goals = [COST.beside(both, alone)]
    if spare:
        goals.append(SPEED.beside(*(list(map(_loading.rate, measured[case])) for case in (cases[3], cases[2]))))
    else:
        goals.append(SPEED.undecided(f"no core to spare: {len(CORES)} for two servers and the load generator"))
    parts = [
        EXPLAINED.format(repetitions=options.repetitions),
        _results.table(HEADER, [row(case, loads[case], rounds) for case, rounds in measured.items()]),
        _results.table(_verdicts.HEADER, goals),
        _verdicts.note_on_generator([one["busy"] for rounds in measured.values() for one in rounds]),
    ]
    _running.publish(options.results, "cores", "Two processes", parts, lambda image: plot(measured, image))


EXPLAINED = """
Independent servers, each on a core of its own, with the same number of users each; their log is memory. Where there is
no third core, the load generator runs on the servers' cores. Medians of {repetitions} interleaved repetitions with
their range, each on fresh servers.
"""

if __name__ == "__main__":
    main()
