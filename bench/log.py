"""The log: appends and reads of each engine, and small writes under a real load.

First events per second and CPU time per event, by the size of a batch and of a commit. Then a server under a paced
load with a SQLite log: its statistics count the transactions, and the time that events wait for theirs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

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

    Cells = dict[tuple[str, int, int], list[dict[str, float]]]
    """The figures of the repetitions, by log, events of a batch and sessions of a commit."""

LOGS = ("memory", "sqlite", "sqlite FULL", "sqlite inline")
WAITING_LOGS = ("sqlite", "sqlite FULL")
"""The logs whose commits wait for a thread. Only these waits are in the statistics of a server."""
TRANSACTIONS = Goal("transactions a second, sqlite, paced (one per 2 ms)", 500, "/s", digits=0)
WAITING = Goal("wait for the commit, p50, sqlite, paced", 2, "ms")
HEADER = ("log", "events of a batch", "batches of a commit")
FIGURES = ("append events/s", "append µs of CPU", "read events/s", "read µs of CPU")
PACED_HEADER = (
    "log",
    "users",
    "pace",
    "transactions/s",
    "events of one",
    "wait p50 ms",
    "wait p99 ms",
    "CPU s per 100k",
)


def work(log: str, core: int) -> list[dict[str, Any]]:
    """Measure an engine in a process of its own. Raises SystemExit with the output of the process if it fails."""
    with _process.log_url(log) as url:
        command = ["taskset", "-c", str(core), sys.executable, str(_process.HERE / "_log_work.py"), url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        raise SystemExit(f"{log}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


@attrs.frozen
class Paced:
    """One paced round: figures of the generator and of the server's own statistics for its window."""

    report: Report
    transactions: float
    """Transactions per second."""
    batch: float
    """Events per transaction."""
    waits: list[int]
    """Number of batches by the steps that they waited."""
    step_ms: float

    def waited_ms(self, share: float) -> float:
        """Return the wait that this share of the batches did not exceed."""
        return _verdicts.quantile_of_steps(self.waits, self.step_ms, share)


def paced(program: Path, load: _loading.Load, log: str, live: Live) -> Paced:
    """Put a paced load on a fresh server. Its statistics are taken at both ends of the measured window."""
    taken: list[dict[str, Any]] = []
    with _process.log_url(log) as url, _process.measured(url) as server:

        def tell(report: Report) -> None:
            live.tell(report)
            if report["kind"] in {"window", "window_over"}:
                taken.append(server.statistics())

        (report,) = _loading.run(program, load, _loading.Target.of(server), tell).rounds
    before, after = taken
    logs = [one["sessions"]["log"] for one in taken]
    commits, events = (logs[1][name] - logs[0][name] for name in ("commits", "events"))
    committers = [one["sessions"]["committer"] for one in taken]
    waits = [late - early for early, late in zip(*(one["waits"] for one in committers), strict=True)]
    step_ms = committers[0]["wait_step_seconds"] * 1000
    return Paced(report, commits / (after["at"] - before["at"]), events / commits, waits, step_ms)


def paced_row(log: str, load: _loading.Load, rounds: list[Paced]) -> list[str]:
    """Return the line of a log under the paced load."""
    return [
        log,
        f"{load.users:,}",
        f"{load.rate:g}/s each",
        _results.spread([one.transactions for one in rounds], 0),
        _results.spread([one.batch for one in rounds], 1),
        _results.spread([one.waited_ms(0.5) for one in rounds], 2),
        _results.spread([one.waited_ms(0.99) for one in rounds], 2),
        _results.spread([_loading.cost(one.report) for one in rounds], 3),
    ]


def arithmetic(rounds: list[Paced]) -> str:
    """Return the parts of the median wait for a commit."""
    between, waited = (
        statistics.median(values)
        for values in ([1000 / one.transactions for one in rounds], [one.waited_ms(0.5) for one in rounds])
    )
    return ARITHMETIC.format(between=between, half=between / 2, waited=waited, rest=waited - between / 2)


def cells_table(cells: Cells) -> str:
    """Return the table of all figures of every engine."""
    rows: list[list[str]] = []
    for (log, each, sessions), measured in cells.items():
        columns = (("append", 0), ("append_us", 2), ("read", 0), ("read_us", 2))
        figures = [_results.spread([one[name] for one in measured], digits) for name, digits in columns]
        rows.append([log, f"{each:,}", f"{sessions:,}", *figures])
    return _results.table((*HEADER, *FIGURES), rows)


def plot(cells: Cells, target: Path) -> None:
    """Draw the CPU time of an event by the size of a batch, for each number of sessions in a commit."""
    sizes = sorted({sessions for _, _, sessions in cells})
    with _plots.figure(target, len(sizes)) as axes:
        for axis, sessions in zip(axes, sizes, strict=True):
            for log, colour in zip(LOGS, _plots.COLOURS, strict=False):
                points = [
                    (each, sorted(one["append_us"] for one in measured)[len(measured) // 2])
                    for (name, each, count), measured in cells.items()
                    if (name, count) == (log, sessions)
                ]
                axis.plot(*zip(*points, strict=True), color=colour, marker="o", label=log)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_title(f"batches of a commit: {sessions}")
            axis.set_xlabel("events of a batch")
        axes[0].set_ylabel("µs of CPU per event")
        axes[0].legend()


def main() -> None:
    """Measure the engines and the paced load."""
    parser = _running.parser(__doc__, 3)
    parser.add_argument("--users", type=int, default=500, help="of the paced load (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="events a second of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="paced for so long (default: %(default)s)")
    options = parser.parse_args()
    events = round(options.rate * (options.seconds + 6))
    load = _loading.Load(
        users=options.users, events=events, rate=options.rate, warm=1, window=options.seconds, cut=True
    )
    cells: Cells = {}
    served: dict[str, list[Paced]] = {log: [] for log in WAITING_LOGS}
    with _generator.compiled() as program, _live.shown() as live:
        for repetition in range(options.repetitions):
            for log in LOGS:
                live.begin(f"{log}, {repetition + 1} of {options.repetitions}")
                for cell in work(log, _process.SERVER_CORE):
                    cells.setdefault((log, cell["each"], cell["sessions"]), []).append(cell)
            for log, rounds in served.items():
                live.begin(f"{log}, paced, {repetition + 1} of {options.repetitions}")
                rounds.append(paced(program, load, log, live))
    rounds = served["sqlite"]
    goals = [
        TRANSACTIONS.by_itself([one.transactions for one in rounds]),
        WAITING.by_itself([one.waited_ms(0.5) for one in rounds]),
    ]
    parts = [
        EXPLAINED.format(repetitions=options.repetitions),
        cells_table(cells),
        PACED,
        _results.table(PACED_HEADER, [paced_row(log, load, of_log) for log, of_log in served.items()]),
        _results.table(_verdicts.HEADER, goals),
        arithmetic(rounds),
        _verdicts.note_on_generator([one.report["busy"] for of_log in served.values() for one in of_log]),
    ]
    _running.publish(options.results, "log", "The log", parts, lambda image: plot(cells, image))


EXPLAINED = """
Events of about 200 bytes, appended in one commit after another and read in pages of 256, without a server; CPU time is
that of the process with all its threads. *sqlite* is `synchronous=NORMAL`, *inline* is `commit=inline`. Medians of
{repetitions} repetitions with their range, each in a fresh process with a fresh log.
"""
ARITHMETIC = """
Between two transactions pass {between:.2f} ms, and an event waits half of that for its own to begin: {half:.2f} of the
{waited:.2f} ms. The other {rest:.2f} are the transaction: to the log's thread, there, and back to a core that serves
the users meanwhile. With one transaction in 2 ms the half alone is 1 ms.
"""
PACED = """
The same logs in a server under load, as its own statistics count: an event waits from its emit until it is committed.
"""

if __name__ == "__main__":
    main()
