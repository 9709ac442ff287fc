"""A storm of clients: all are cut off during a run, which goes on, and reconnect with resume at once.

Measures the seconds until every client is live again and has the missed events in order, and how often the log was
read: events in a session's ring need no reading.
"""

from __future__ import annotations

import statistics
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

LIVE = Goal("all live again", 5, "s")
NO_READS = Goal("reads of the log for those within the ring", 0, digits=0)
HEADER = ("log", "clients", "events missed", "s until all are live", "s until all have everything", "ms of CPU each")
RUN_SECONDS, AWAY_SECONDS = 1.0, 3.0
"""How long a run goes on, and how long its client stays away. The cost of the cut itself is over by then."""
OPENING = 4000
"""Connections that are opened at a time: a little less than the backlog of a listening socket."""


@attrs.define
class Storm:
    """The outcome of one storm."""

    report: Report
    reads: int

    @property
    def seconds(self) -> float:
        """Seconds until all clients were live."""
        return float(self.report["seconds"])


def measure(program: Path, load: _loading.Load, log: str, live: Live) -> Storm:
    """Cut all clients of a fresh server off once. Raises SystemExit if a client's position was lost."""
    reads: list[int] = []
    with _process.log_url(log) as url, _process.measured(url) as server:

        def tell(report: Report) -> None:
            live.tell(report)
            if report["kind"] in {"connected", "storm"}:
                reads.append(server.statistics()["sessions"]["log"]["reads"])

        (report,) = _loading.run(program, load, _loading.Target.of(server), tell).storms
    if report["resets"] or report["recovered"] != report["users"]:
        raise SystemExit(f"{report['recovered']} of {report['users']} recovered, {report['resets']} were reset")
    return Storm(report, reads[1] - reads[0])


def row(log: str, storms: list[Storm]) -> list[str]:
    """Return the line of a log."""
    reports = [storm.report for storm in storms]
    users = reports[0]["users"]
    missed = statistics.median(one["missed"] for one in reports)
    figures = [_results.spread([one[key] for one in reports], 2) for key in ("seconds", "caught_up")]
    cpu = _results.spread([one["server_cpu"] * 1000 / one["users"] for one in reports], 2)
    return [log, f"{users:,}", f"{missed:,.0f}", *figures, cpu]


def plot(measured: dict[str, list[Storm]], target: Path) -> None:
    """Draw the duration of each storm."""
    with _plots.figure(target, 1, 2.4) as (axis,):
        for number, (log, storms) in enumerate(measured.items()):
            colour = _plots.COLOURS[number]
            names = [f"{log}, {repetition}" for repetition in range(1, len(storms) + 1)]
            axis.barh(names, [storm.report["caught_up"] for storm in storms], color=colour, alpha=0.4)
            axis.barh(names, [storm.seconds for storm in storms], color=colour)
        axis.axvline(LIVE.bound, color=_plots.GREY, linestyle=":")
        axis.invert_yaxis()
        axis.set_xlabel("seconds until all are live (full) and have everything (pale); the goal is dotted")


def main() -> None:
    """Measure the storms on each log."""
    parser = _running.parser(__doc__, 3)
    parser.add_argument("--users", type=int, default=5000, help="clients (default: %(default)s)")
    parser.add_argument("--events", type=int, default=20, help="events of each one's run (default: %(default)s)")
    parser.add_argument("--logs", nargs="+", default=["memory", "sqlite"], help="(default: %(default)s)")
    options = parser.parse_args()
    files = _process.allow_files()
    users = _verdicts.sessions_that_fit(options.users, files)
    if users < options.users:
        print(f"the system allows {files:,} open files: {users:,} clients instead of {options.users:,}")
    load = _loading.Load(
        users=users,
        events=options.events,
        rate=options.events / RUN_SECONDS,
        rounds=0,
        storm=1,
        away=round(1000 * AWAY_SECONDS),
        opening=OPENING,
    )
    measured: dict[str, list[Storm]] = {log: [] for log in options.logs}
    with _generator.compiled() as program, _live.shown() as live:
        for repetition in range(options.repetitions):
            for log, storms in measured.items():
                live.begin(f"storm {repetition + 1} of {options.repetitions}, {log}")
                storms.append(measure(program, load, log, live))
    storms = [storm for of_log in measured.values() for storm in of_log]
    goals = [
        LIVE.by_itself([storm.seconds for storm in storms]),
        NO_READS.by_itself([storm.reads for storm in storms], always=True),
    ]
    parts = [
        EXPLAINED.format(repetitions=options.repetitions),
        _results.table(HEADER, [row(log, of_log) for log, of_log in measured.items()]),
        _results.table(_verdicts.HEADER, goals),
        _verdicts.note_on_generator([storm.report["busy"] for storm in storms]),
    ]
    _running.publish(options.results, "resume", "Coming back", parts, lambda image: plot(measured, image))


EXPLAINED = """
Every client is cut off once all runs have begun, and comes back 3 s later, when they are over; all open their
connections as fast as the server takes them. Each checks that it was recovered and gets every event that it missed, in
order. Medians of {repetitions} storms with their range, each on a fresh server. The reads are the difference in the
log's own count.
"""

if __name__ == "__main__":
    main()
