"""Greenroom beside its peers: the same events, at the same pace, to the same clients, from one core each.

Every repetition takes each server once through its loads, each with a fresh process: 500 users at 20 events a second
each, a burst of 200 events to each of 200 users, and for some 1000 users at 20 a second. All users check that no event
is missing, doubled or out of order. Ratios are medians of those within each repetition. ``--results FILE`` writes the
tables into their section of that file and a plot beside it. The peers come with the ``bench`` extra and with
``npm install`` in bench/peer_servers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from typing import TYPE_CHECKING

import _generator
import _kills
import _live
import _loading
import _peer_tables
import _plots
import _process
import _running
import _verdicts
import attrs
from _peer_loads import BURST, FIRST, PACED, TAIL, WARM_SECONDS, figures
from _peer_subjects import SERVERS, Server, pacing, versions

if TYPE_CHECKING:
    from pathlib import Path

    from _live import Live

Measured = dict[str, list[dict[str, float]]]


@attrs.frozen
class Bench:
    """The servers' measurements: ``measured`` has the figures of each server, one per repetition."""

    program: Path
    live: Live
    seconds: float
    measured: Measured = attrs.field(factory=dict[str, list[dict[str, float]]])

    def repeat(self, servers: list[Server], said: str) -> None:
        """Measure each of ``servers`` once, and the pacing loops of their runtimes.

        Raises SystemExit with the name of a server that ends, is silent, or delivers wrong events.
        """
        loops = {runtime: self._pacing(runtime, said) for runtime in dict.fromkeys(one.runtime for one in servers)}
        for server in servers:
            try:
                found = self._measure(server, f"{said}: {server.name}")
            except SystemExit as failed:
                raise SystemExit(f"{server.name}: {failed}") from None
            found["paced net"] = found["paced cpu"] - loops[server.runtime]
            self.measured.setdefault(server.name, []).append(found)

    def waited(self) -> list[float]:
        """Return the shares of the time for which the servers waited for their core, of each load."""
        found = (one for of_server in self.measured.values() for one in of_server)
        return [value / 100 for one in found for name, value in one.items() if name.endswith(" waited")]

    def _measure(self, server: Server, said: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for load in (PACED, BURST, TAIL) if server.in_tail else (PACED, BURST):
            self.live.begin(f"{said}, {load.name}")
            with server.running() as target:
                if load.rate:
                    _loading.run(self.program, attrs.evolve(FIRST, dialect=server.dialect), target)
                words = load.words(self.seconds, server.dialect)
                outcome = _loading.run(self.program, words, target, self.live.tell)
            brought = figures(outcome.rounds[load.uncounted :]) | {"kb": outcome.connected["kb_per_user"]}
            found |= {f"{load.name} {name}": value for name, value in brought.items()}
        if server.keeps:
            self.live.begin(f"{said}, killed")
            found |= _kills.figures(_kills.killed(server))
        return found

    def _pacing(self, runtime: str, said: str) -> float:
        self.live.begin(f"{said}: the pacing loop of {runtime}")
        events = max(1, round(PACED.rate * self.seconds))
        command = pacing(runtime, users=PACED.users, events=events, rate=PACED.rate)
        command = ["taskset", "-c", str(_process.SERVER_CORE), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
        if done.returncode:
            raise SystemExit(f"the pacing loop of {runtime}: {done.stderr.strip()}")
        return float(json.loads(done.stdout)["cpu"]) * 100_000 / (PACED.users * events)


def plot(measured: Measured, target: Path) -> None:
    """Draw the burst rate and the cost of a paced event for each measured server."""
    shown = [server for server in SERVERS if server.name in measured]
    titles = [server.title.strip("*") for server in shown]
    panels = (("burst, events/s", "burst rate", "{:,.0f}"), ("paced, CPU s per 100k events", "paced cpu", "{:.2f}"))
    with _plots.figure(target, len(panels), 1 + 0.28 * len(shown)) as axes:
        for axis, (title, figure, said) in zip(axes, panels, strict=True):
            values = [statistics.median(one[figure] for one in measured[server.name]) for server in shown]
            colours = [_plots.OURS if server.ours else _plots.GREY for server in shown]
            bars = axis.barh(titles, values, color=colours)
            axis.bar_label(bars, fmt=said, padding=3)
            axis.margins(x=0.2)
            axis.locator_params(axis="x", nbins=4)
            axis.invert_yaxis()
            axis.set_title(title)
        axes[1].set_yticklabels([])


def main() -> None:
    """Measure the installed servers, or the servers that ``--only`` names."""
    options = _parser().parse_args()
    absent: dict[str, str] = {}
    for server in SERVERS:
        if missing := server.missing():
            absent[server.name] = f"not installed ({', '.join(missing)})"
        elif options.only and server.name not in options.only:
            absent[server.name] = "not measured"
    servers = [server for server in SERVERS if server.name not in absent]
    if not servers:
        raise SystemExit("nothing to measure: " + ", ".join(f"{name} is {absent[name]}" for name in options.only))
    with _generator.compiled() as program, _live.shown() as live:
        bench = Bench(program, live, options.seconds)
        for repetition in range(options.repetitions):
            bench.repeat(servers, f"{repetition + 1} of {options.repetitions}")
    parts = [
        EXPLAINED.format(repetitions=options.repetitions, seconds=options.seconds, warm=WARM_SECONDS),
        f"Versions: {', '.join(versions())}.",
        _peer_tables.report(SERVERS, bench.measured, absent),
        _verdicts.note_on_machine(bench.waited()),
    ]
    _running.publish(options.results, "peers", "Peers", parts, lambda image: plot(bench.measured, image))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0.1 to 600")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = _running.parser(__doc__, 5)
    names = [server.name for server in SERVERS]
    add = parser.add_argument
    add("--seconds", type=_seconds, default=2, help="how long a load is measured (default: %(default)s)")
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    return parser


EXPLAINED = """
Medians of {repetitions} interleaved repetitions with their range. Each repetition takes each server once through every
load, with a fresh process on one core and all users in a process on another. Paced loads are measured for {seconds:g}
s, from {warm:g} s after the last run has begun; a burst is as many rounds as make {seconds:g} s, after one that is not
counted and with the start and the end of every run in it. Every user checks that no event is missing, doubled or out
of order. An event is the same JSON object everywhere, about 210 bytes. Greenroom has the whole product in the path
(session actor, grammar, ring, log, resume; with sqlite it is committed before it is delivered) and pays, in a burst,
for two more events of each run, which are not counted. The peers send straight from the agent, each set up as its
documentation advises for speed, and with the same setting of the garbage collector where it is Python's. *A queue for
each user* is a bounded queue and a task that sends what is in it. Delays are from the emit to the arrival; who cannot
keep the pace emits late, and shows it in events/s. *Net of pacing* is without the CPU time of the runtime's empty
pacing loop: the same timers with nothing to send. The generator never sleeps while it measures: a send that wakes a
sleeping receiver on the same machine made an event that comes alone 9 % dearer where that was tried, and no client on
another machine costs it. What it asks in vain is not counted as busy. Where the generator is busy near 100 %, it and
not the server is the limit; where the server is busy far below 100 % in a burst, it waited for the disk or something
else ran on its core.
"""

if __name__ == "__main__":
    main()
