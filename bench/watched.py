"""The cost of being seen: many sessions with and without an operator who watches them.

In every second round the metrics are scraped once a second, and the inspector is open: its overview and its list of
runs are fetched once a second, too. The rounds alternate on one server, with the same connections and the same runs.
In a last round, which costs more, the steps of the pages' tasks are measured.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _pace
import _process
import _results
import _running
import _verdicts
import attrs
from _verdicts import Goal

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from _generator import Report
    from _live import Live
    from _process import Server

COST = Goal("CPU per event, watched beside not watched", 1.05, "s per 100k", 3)
STEP = Goal("the longest step of the pages, CPU time", 5, "ms")
HEADER = ("the operator", "events/s", "CPU s per 100k", "p50 ms", "p99 ms", "longest ms", "looks a round")
PATHS = ("/metrics", "/inspect/api/overview", "/inspect/api/runs")
"""Pages that an operator's programs fetch once a second."""
INTERVAL_SECONDS = 1.0
WARM_SECONDS = 1.0
STARTS_PER_SECOND = 100
"""Lower bound of the runs that a server starts per second beside the load. No run may end before the last round."""


@attrs.define
class Watcher:
    """An operator's programs: while :attr:`on` is set, they fetch all pages once a second."""

    port: int
    on: threading.Event = attrs.field(factory=threading.Event, init=False)
    looks: int = attrs.field(default=0, init=False)
    """Number of times that all pages were fetched, since the last :meth:`turned`."""
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)
    fault: str = attrs.field(default="", init=False)

    def turned(self, *, on: bool) -> int:
        """Begin or stop to watch. Return the number of looks since the last call."""
        looks, self.looks = self.looks, 0
        if on:
            self.on.set()
        else:
            self.on.clear()
        return looks

    @contextmanager
    def running(self) -> Generator[None]:
        """Run the programs inside the block. Raises SystemExit at its end if a page was not served."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            self.on.set()
            thread.join()
        if self.fault:
            raise SystemExit(self.fault)

    def _watch(self) -> None:
        while not self.fault:
            self.on.wait()
            if self._over.is_set():
                return
            begun = time.monotonic()
            try:
                self._look()
            except (OSError, HTTPException) as error:  # else the other rounds would be measured unwatched
                self.fault = f"the pages cannot be read: {error!r}"
            self._over.wait(max(0.0, begun + INTERVAL_SECONDS - time.monotonic()))

    def _look(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        for path in PATHS:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                self.fault = f"{path} answered {answer.status}: {body[:200].decode(errors='replace')}"
        connection.close()
        self.looks += 1


@attrs.frozen
class Round:
    """One round: its report, and the number of looks of the operator in it."""

    report: Report
    looks: int


def row(title: str, rounds: list[Round]) -> list[str]:
    """Return the line of the rounds of one kind."""
    reports = [one.report for one in rounds]
    delays = [_results.spread([one[key] / 1000 for one in reports], 2) for key in ("p50", "p99", "longest")]
    rates = _results.spread([_loading.rate(one) for one in reports], 0)
    costs = _results.spread([_loading.cost(one) for one in reports], 3)
    return [title, rates, costs, *delays, _results.spread([float(one.looks) for one in rounds], 0)]


def load(sessions: int, rate: float, seconds: float, rounds: int) -> _loading.Load:
    """Return a load of ``sessions`` whose runs emit ``rate`` events per second in all, for all rounds."""
    lasting = sessions / STARTS_PER_SECOND + rounds * (WARM_SECONDS + seconds + 1) + 5
    each = rate / sessions
    return _loading.Load(
        users=sessions,
        events=math.ceil(lasting * each),
        rate=each,
        rounds=rounds,
        warm=WARM_SECONDS,
        window=seconds,
        cut=True,
        keep=True,
        spin=True,
    )


@attrs.define
class Measurement:
    """The rounds of one load, without and with the operator in turns, and one more in which steps are measured."""

    load: _loading.Load
    server: Server
    watcher: Watcher
    live: Live
    rounds: list[Round] = attrs.field(factory=list[Round], init=False)
    step_ms: float = attrs.field(default=0.0, init=False)
    """The longest step of the pages in the last round."""

    def run(self, program: Path) -> Measurement:
        """Run all rounds. Raises Behind if the server does not keep up."""
        with self.watcher.running():
            _loading.run(program, self.load, _loading.Target.of(self.server), self._note)
        self.step_ms = self.server.statistics()["longest_step"] * 1000
        self.rounds.pop()
        _pace.check([one.report for one in self.rounds], self.load.rate * self.load.users)
        return self

    def _note(self, report: Report) -> None:
        """Keep a round's report, and let the operator watch in the next round if this was one without."""
        self.live.tell(report)
        if report["kind"] != "round":
            return
        over, last = len(self.rounds) + 1, self.load.rounds - 1
        self.rounds.append(Round(report, self.watcher.turned(on=over % 2 == 1 or over == last)))
        if over == 1:
            _pace.check([report], self.load.rate * self.load.users)
        if over == last:
            self.server.statistics()


def measure(program: Path, wanted: _loading.Load, live: Live) -> Measurement:
    """Measure a load on a fresh server. Raises Behind if it does not keep up."""
    live.begin(f"{wanted.users:,} sessions")
    pages = _process.free_port()
    with _process.measured(pages=pages) as server:
        return Measurement(wanted, server, Watcher(pages), live).run(program)


def main() -> None:
    """Measure both kinds of rounds."""
    parser = _running.parser(__doc__, 4)
    parser.add_argument("--sessions", type=int, default=10_000, help="(default: %(default)s)")
    _pace.add_option(parser)
    parser.add_argument("--seconds", type=float, default=20, help="measured for so long (default: %(default)s)")
    options = parser.parse_args()
    sessions = _verdicts.sessions_that_fit(options.sessions, _process.allow_files())
    rounds = 2 * options.repetitions + 1
    with _generator.compiled() as program, _live.shown() as live:
        rate, measured = _pace.kept_up(
            options.rate,
            lambda: _pace.probed(program, live.tell),
            lambda rate: measure(program, load(sessions, rate, options.seconds, rounds), live),
        )
    alone, watched = measured.rounds[::2], measured.rounds[1::2]
    costs = [[_loading.cost(one.report) for one in kind] for kind in (watched, alone)]
    parts = [
        EXPLAINED.format(sessions=sessions, rate=rate, repetitions=options.repetitions, seconds=options.seconds),
        *([] if options.rate else [_pace.EXPLAINED]),
        _loading.NEVER_SLEEPS,
        _results.table(HEADER, [row("does not watch", alone), row("watches", watched)]),
        _results.table(_verdicts.HEADER, [COST.beside(*costs), STEP.by_itself([measured.step_ms])]),
        _verdicts.note_on_generator([one.report["busy"] for one in measured.rounds]),
        _verdicts.note_on_machine([one.report["waited"] for one in measured.rounds]),
    ]
    _running.publish(options.results, "watched", "Watched by an operator", parts)


EXPLAINED = """
{sessions:,} sessions with a connection and a run each, which emit {rate:,.0f} events a second together. In every second
round `/metrics` is scraped once a second, and the inspector's overview and its list of runs are fetched once a second;
*looks a round* counts that, from the start of a round to its end. Measured for {seconds:g} s of each round; medians of
{repetitions} rounds of each kind with their range; the ratio is of neighbours. The longest step is that of a last round
with the operator, and of all tasks that answer requests for pages.
"""

if __name__ == "__main__":
    main()
