"""The cost of a client that stops reading: the delays of the other clients with it and without it.

The session of one client emits much more than its socket holds. In every second round the client never reads, and its
receive buffer has 4 KB. In the other rounds it reads like all clients, so the stall is the only difference. The rounds
alternate on one server, with the same connections of the other clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _plots
import _process
import _results
import _running
import _verdicts
from _verdicts import Goal

if TYPE_CHECKING:
    from pathlib import Path

    from _generator import Report

TAIL = Goal("p99 of the others, with a stalled client beside without", 1.2, "ms", 2)
HEADER = ("the one client", "p50 ms", "p99 ms", "longest ms", "CPU s per 100k")
WARM_SECONDS, WINDOW_SECONDS, SLACK_SECONDS = 1.0, 2.5, 1.0
FLOOD_RATE = 1000
"""Events per second of the one client: its socket is full within the second before the measurement."""


def load(users: int, rate: float, repetitions: int) -> _loading.Load:
    """Return a load of ``users``, and one client beside them that is stalled in every second round."""
    seconds = WARM_SECONDS + WINDOW_SECONDS + SLACK_SECONDS
    return _loading.Load(
        users=users + 1,
        events=round(rate * seconds),
        rate=rate,
        rounds=2 * repetitions,
        warm=WARM_SECONDS,
        window=WINDOW_SECONDS,
        apart=1,
        apart_events=round(FLOOD_RATE * seconds),
        apart_rate=FLOOD_RATE,
        apart_bytes=0,
        alternate=True,
        spin=True,
    )


def row(title: str, rounds: list[Report]) -> list[str]:
    """Return the line of the rounds of one kind."""
    delays = [_results.spread([one[key] / 1000 for one in rounds], 2) for key in ("p50", "p99", "longest")]
    return [title, *delays, _results.spread([_loading.cost(one) for one in rounds], 3)]


def plot(reading: list[Report], stalled: list[Report], target: Path) -> None:
    """Draw the ages of both kinds: the share of events that were older."""
    with _plots.figure(target, 1) as (axis,):
        for title, rounds, colour in (("reads", reading, _plots.GREY), ("never reads", stalled, _plots.OURS)):
            counts = _verdicts.summed(one["histogram"] for one in rounds)
            ages, shares = _verdicts.older(counts)
            axis.plot(ages, shares, color=colour, label=f"the one client {title}")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(left=_plots.YOUNGEST_MS)
        axis.set_xlabel("age of an event at its arrival, ms")
        axis.set_ylabel("share of events older than that")
        axis.legend()


def main() -> None:
    """Measure both kinds of rounds."""
    parser = _running.parser(__doc__, 7)
    parser.add_argument("--users", type=int, default=1000, help="the others (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10, help="events a second of each (default: %(default)s)")
    parser.add_argument("--log", default="memory", help="memory, sqlite or 'sqlite FULL' (default: %(default)s)")
    options = parser.parse_args()
    _process.allow_files()
    wanted = load(options.users, options.rate, options.repetitions)
    with (
        _generator.compiled() as program,
        _live.shown() as live,
        _process.log_url(options.log) as url,
        _process.measured(url) as server,
    ):
        live.begin(f"{options.users:,} users and one")
        rounds = _loading.run(program, wanted, _loading.Target.of(server), live.tell).rounds
    reading, stalled = ([one for one in rounds if one["held"] == held] for held in (0, 1))
    tails = [[one["p99"] / 1000 for one in kind] for kind in (stalled, reading)]
    parts = [
        EXPLAINED.format(
            users=options.users, rate=options.rate, repetitions=options.repetitions, seconds=WINDOW_SECONDS
        ),
        _loading.NEVER_SLEEPS,
        _results.table(HEADER, [row("reads", reading), row("never reads", stalled)]),
        _results.table(_verdicts.HEADER, [TAIL.beside(*tails)]),
        _verdicts.note_on_generator([one["busy"] for one in rounds]),
        _verdicts.note_on_machine([one["waited"] for one in rounds]),
    ]
    _running.publish(
        options.results, "stall", "A client that stalls", parts, lambda image: plot(reading, stalled, image)
    )


EXPLAINED = """
{users:,} users at {rate:g} events a second each, and one client more whose session emits 1,000 a second. It reads like
everybody in one of two rounds and never in the other; the others' delays are measured for {seconds:g} s of each round,
with the stalled client's socket full. Medians of {repetitions} rounds of each kind with their range; the ratio is of
neighbours.
"""

if __name__ == "__main__":
    main()
