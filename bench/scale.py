"""The cost of one more session: the same total rate of events, from few sessions and from many.

CPU time per event, memory per session and delays. Each size has a fresh server, with a connection and a run for every
session. The largest size is compared with the smallest.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _pace
import _plots
import _process
import _results
import _running
import _verdicts
from _verdicts import Goal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from _live import Live
    from _loading import Outcome

COST = Goal("CPU per event, the most sessions beside the fewest", 1.2, "s per 100k", 3)
HEADER = ("sessions", "events/s", "CPU s per 100k", "p50 ms", "p99 ms", "longest ms", "KB per session")
WARM_SECONDS = 1.0
STARTS_PER_SECOND = 100
"""Lower bound of the runs that a server starts per second beside the load. No run may end before all have begun."""


def load(sessions: int, rate: float, seconds: float) -> _loading.Load:
    """Return a load of ``sessions`` that emit ``rate`` events per second in all, measured for ``seconds``."""
    lasting = sessions / STARTS_PER_SECOND + WARM_SECONDS + seconds + 5
    each = rate / sessions
    return _loading.Load(
        users=sessions,
        events=math.ceil(lasting * each),
        rate=each,
        warm=WARM_SECONDS,
        window=seconds,
        cut=True,
        spin=True,
    )


def row(sessions: int, outcomes: list[Outcome]) -> list[str]:
    """Return the line of a size."""
    rounds = [one.rounds[0] for one in outcomes]
    delays = [_results.spread([one[key] / 1000 for one in rounds], 2) for key in ("p50", "p99", "longest")]
    rates = _results.spread([_loading.rate(one) for one in rounds], 0)
    costs = _results.spread([_loading.cost(one) for one in rounds], 3)
    kb = statistics.median(one.connected["kb_per_user"] for one in outcomes)
    return [f"{sessions:,}", rates, costs, *delays, f"{kb:.1f}"]


def plot(measured: dict[int, list[Outcome]], target: Path) -> None:
    """Draw the three figures by the number of sessions."""
    sizes = sorted(measured)
    figures = {
        "CPU s per 100k events": [[_loading.cost(one.rounds[0]) for one in measured[size]] for size in sizes],
        "p99 ms": [[one.rounds[0]["p99"] / 1000 for one in measured[size]] for size in sizes],
        "KB per session": [[one.connected["kb_per_user"] for one in measured[size]] for size in sizes],
    }
    with _plots.figure(target, len(figures)) as axes:
        for axis, (title, values) in zip(axes, figures.items(), strict=True):
            axis.plot(sizes, [statistics.median(of_size) for of_size in values], color=_plots.OURS, marker="o")
            axis.set_ylim(bottom=0)
            axis.set_title(title)
            axis.set_xlabel("sessions")


def measure(
    program: Path, options: argparse.Namespace, sizes: Sequence[int], rate: float, live: Live
) -> dict[int, list[Outcome]]:
    """Measure all sizes at one rate, in turns. Raises Behind if a server does not keep up.

    The largest size is first: it fails first.
    """
    measured: dict[int, list[Outcome]] = {size: [] for size in sizes}
    for repetition in range(options.repetitions):
        for size in reversed(sizes):
            live.begin(f"{size:,} sessions, {repetition + 1} of {options.repetitions}")
            wanted = load(size, rate, options.seconds)
            with _process.log_url(options.log) as url, _process.measured(url) as server:
                outcome = _loading.run(program, wanted, _loading.Target.of(server), live.tell)
            _pace.check(outcome.rounds, rate)
            measured[size].append(outcome)
    return measured


def main() -> None:
    """Measure all sizes."""
    parser = _running.parser(__doc__, 2)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1000, 20_000], help="(default: %(default)s)")
    _pace.add_option(parser)
    parser.add_argument("--seconds", type=float, default=8, help="measured for so long (default: %(default)s)")
    parser.add_argument("--log", default="memory", help="memory, sqlite or 'sqlite FULL' (default: %(default)s)")
    options = parser.parse_args()
    files = _process.allow_files()
    sizes = sorted({_verdicts.sessions_that_fit(size, files) for size in options.sessions})
    notes = [f"The system allows {files:,} open files: {sizes[-1]:,} sessions instead of {max(options.sessions):,}."]
    with _generator.compiled() as program, _live.shown() as live:
        rate, measured = _pace.kept_up(
            options.rate,
            lambda: _pace.probed(program, live.tell),
            lambda rate: measure(program, options, sizes, rate, live),
        )
    few, many = ([_loading.cost(one.rounds[0]) for one in measured[size]] for size in (sizes[0], sizes[-1]))
    rounds = [one.rounds[0] for outcomes in measured.values() for one in outcomes]
    parts = [
        EXPLAINED.format(repetitions=options.repetitions, seconds=options.seconds, rate=rate, log=options.log),
        *([] if options.rate else [_pace.EXPLAINED]),
        _loading.NEVER_SLEEPS,
        *(notes if sizes[-1] < max(options.sessions) else []),
        _results.table(HEADER, [row(size, outcomes) for size, outcomes in measured.items()]),
        _results.table(_verdicts.HEADER, [COST.beside(many, few)]),
        _verdicts.note_on_generator([one["busy"] for one in rounds]),
        _verdicts.note_on_machine([one["waited"] for one in rounds]),
    ]
    _running.publish(options.results, "scale", "Many sessions", parts, lambda image: plot(measured, image))


EXPLAINED = """
Every session has a connection and a run, which emits its share of {rate:,.0f} events a second; the log is {log}.
Measured for {seconds:g} s, from {WARM_SECONDS:g} s after the last run has begun; medians of {repetitions} interleaved
repetitions with their range, each on a fresh server. *KB per session* is what a session with its connection adds to
the process before its first event.
""".replace("{WARM_SECONDS:g}", f"{WARM_SECONDS:g}")

if __name__ == "__main__":
    main()
