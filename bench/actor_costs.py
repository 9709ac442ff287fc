"""The actor runtime beside other libraries: messages, actors that come and go, and the memory of idle actors.

Every measurement has a fresh process on one core. Each repetition takes all libraries in turn, and a ratio is the
median of the ratios within each repetition. Each library has a script in ``actor_subjects/``. ``--results FILE``
writes the tables into their section of that file and a plot beside it. The other libraries come with the extra
``bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import _plots
import _process
import _results
import _verdicts
import attrs
from _verdicts import Goal

if TYPE_CHECKING:
    from collections.abc import Sequence

Measured = dict[tuple[str, str, int], list[dict[str, float]]]
COSTS, MANY = "costs", "many"


@attrs.frozen
class Subject:
    """A library: its script in ``actor_subjects``, its maximum number of actors, and its environment."""

    script: str
    sizes: int
    environment: dict[str, str] = attrs.field(factory=dict[str, str])


SIZES = (1_000, 10_000, 100_000)
SELDOM = 100_000
"""Number of actors from which there are fewer repetitions."""
SELDOM_REPETITIONS = 2
OURS, BETTER = "greenroom", "tapio-py unchecked"
SUBJECTS = {
    OURS: Subject("greenroom", 100_000),
    "tapio-py": Subject("tapio", 1_000, {"TAPIO_VALIDATE_ON_TELL": "1"}),
    BETTER: Subject("tapio", 10_000, {"TAPIO_VALIDATE_ON_TELL": "0"}),
    "pykka": Subject("pykka", 1_000),
    "trio": Subject("plain_trio", 10_000),
    "asyncio": Subject("plain_asyncio", 10_000),
}


def measure(library: str, what: str, count: int) -> dict[str, float]:
    """Run one measurement in its own process. Raises SystemExit with the output of the process if it fails."""
    subject = SUBJECTS[library]
    command = ["taskset", "-c", str(_process.GENERATOR_CORE)]
    command += [sys.executable, "-m", f"actor_subjects.{subject.script}", what, str(count)]
    done = subprocess.run(  # noqa: S603 - our own script
        command,
        cwd=_process.HERE,
        env=os.environ | subject.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{library}, {what} {count}: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def run(repetitions: int, sizes: Sequence[int]) -> Measured:
    """Run every measurement of every library, ``repetitions`` times."""
    measured: Measured = {}
    for repetition in range(repetitions):
        for what, count in [(COSTS, 0), *((MANY, size) for size in sizes)]:
            if count >= SELDOM and repetition >= SELDOM_REPETITIONS:
                continue
            for library, subject in SUBJECTS.items():
                if count > subject.sizes:
                    continue
                if sys.stderr.isatty():
                    text = f"{repetition + 1} of {repetitions}: {library}, {what} {count or ''}"
                    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
                measured.setdefault((library, what, count), []).append(measure(library, what, count))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return measured


def tables(measured: Measured, sizes: Sequence[int]) -> str:
    """Return the tables: the cost of one thing, the cost of many at once, and the goals."""
    costs = ["tell", "ask", "turn", "life"]
    rows = [[name, *(_spread(measured, name, COSTS, 0, key, 2) for key in costs)] for name in SUBJECTS]
    first = _results.table(["library", "tell µs", "ask µs", "spawn and stop µs", "spawn, ask and stop µs"], rows)
    rows = [
        [name, f"{size:,}", *(_spread(measured, name, MANY, size, key, digits) for key, digits in MANY_DIGITS.items())]
        for name, subject in SUBJECTS.items()
        for size in sizes
        if size <= subject.sizes
    ]
    header = ["library", "actors at once", "spawn µs", "stop µs", "bytes each", "bytes each, used"]
    return "\n\n".join([first, _results.table(header, rows), goals(measured, sizes), limit(measured, min(sizes))])


def limit(measured: Measured, size: int) -> str:
    """Return the note on the narrowest goal."""
    ours, theirs, bare = (_median(measured, name, MANY, size, "spawn") for name in (OURS, BETTER, "trio"))
    return LIMIT.format(size=size, ours=ours, half=theirs / 2, bare=bare).strip()


LIMIT = """
The narrowest goal, half of what tapio-py takes to spawn one of {size:,}, is {half:.1f} µs. A task of trio's and a
memory channel, with nothing that makes an actor of them, take {bare:.1f}; a supervised actor with its mailbox
{ours:.1f}.
"""
MANY_DIGITS = {"spawn": 1, "stop": 1, "bytes": 0, "used": 0}

POOLS = {"pool": "by turns", "pool by key": "by key", "pool by load": "by load"}
"""Name of the figure of each pool, and its rule of routing."""


def goals(measured: Measured, sizes: Sequence[int]) -> str:
    """Return the table of the goals, with the measured figures."""
    compared = [("tell", 0, "tell"), ("ask", 0, "ask")]
    compared += [("spawn", size, f"spawn of {size:,}") for size in sizes if size <= SUBJECTS[BETTER].sizes]
    compared.append(("turn", 0, "spawn and stop, one after the other"))
    rows: list[list[str]] = []
    for key, count, what in compared:
        ours, theirs = (_values(measured, name, MANY if count else COSTS, count, key) for name in (OURS, BETTER))
        rows.append(Goal(f"{what}, CPU beside {BETTER}", 0.5, "µs").beside(ours, theirs))
    single = _values(measured, OURS, COSTS, 0, "tell")
    for key, what in POOLS.items():
        ratios = [each / tell for each, tell in zip(_values(measured, OURS, COSTS, 0, key), single, strict=True)]
        rows.append(Goal(f"tell to a pool of four, {what}, CPU beside a tell to one", 1.3, "times").by_itself(ratios))
    for size in sizes:
        for key, what in (("bytes", "an idle actor"), ("used", "one with a nursery, after an ask")):
            goal = Goal(f"memory of {what}, of {size:,}", 6_144, "bytes", 0)
            rows.append(goal.by_itself(_values(measured, OURS, MANY, size, key)))
    for key, what in (("bytes", "memory of an idle actor"), ("stop", "CPU of a stop")):
        medians = [_median(measured, OURS, MANY, size, key) for size in (max(sizes), min(sizes))]
        goal = Goal(f"{what}, one of {max(sizes):,} beside one of {min(sizes):,}", 1.25, "times")
        rows.append(goal.by_itself([medians[0] / medians[1]]))
    return _results.table(_verdicts.HEADER, rows)


def plot(measured: Measured, sizes: Sequence[int], target: Path) -> None:
    """Draw the costs, and the memory of an actor by their number."""
    with _plots.figure(target, 4) as axes:
        for axis, (key, title) in zip(axes, PLOTTED.items(), strict=False):
            medians = [_median(measured, name, COSTS, 0, key) for name in SUBJECTS]
            colours = [_plots.OURS if name == OURS else _plots.GREY for name in SUBJECTS]
            axis.barh(list(SUBJECTS), medians, color=colours)
            axis.invert_yaxis()
            axis.set_title(f"{title}, µs of CPU")
            if key != "tell":
                axis.set_yticks([])
        for name, colour in zip((OURS, BETTER, "trio"), _plots.COLOURS, strict=False):
            known = [size for size in sizes if size <= SUBJECTS[name].sizes]
            for key, style in (("bytes", "o-"), ("used", "o:")):
                values = [_median(measured, name, MANY, size, key) / 1024 for size in known]
                axes[3].semilogx(known, values, style, color=colour, label=name if key == "bytes" else None)
        axes[3].set_ylim(bottom=0)
        axes[3].set_title("KB each, idle (dotted: used)")
        axes[3].legend(fontsize="small")


PLOTTED = {"tell": "tell", "ask": "ask", "turn": "spawn and stop"}


def _values(measured: Measured, library: str, what: str, count: int, key: str) -> list[float]:
    return [one[key] for one in measured.get((library, what, count), [])]


def _median(measured: Measured, library: str, what: str, count: int, key: str) -> float:
    return statistics.median(_values(measured, library, what, count, key))


def _spread(measured: Measured, library: str, what: str, count: int, key: str, digits: int) -> str:  # noqa: PLR0913, PLR0917 - a cell of a table
    return _results.spread(_values(measured, library, what, count, key), digits)


def main() -> None:
    """Measure all libraries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="actors at once (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="write the tables into this file, and a plot beside it")
    options = parser.parse_args()
    measured = run(options.repetitions, options.sizes)
    text = tables(measured, options.sizes)
    print(text)
    if options.results is not None:
        image = options.results.with_name("actors.svg")
        plot(measured, options.sizes, image)
        said = EXPLAINED.format(repetitions=options.repetitions, seldom=SELDOM_REPETITIONS)
        packages = ("tapio-py", "pykka")
        _results.write(options.results, "actors", "Actors", f"{said}\n{text}\n\n![Costs]({image.name})", packages)


EXPLAINED = """
CPU time, medians of {repetitions} interleaved repetitions with their range (of {seldom} with 100,000 actors); each
line's figures come from processes of their own, on one core.

- *tell*: a message put into a mailbox and handled. *ask*: answered before the next is sent.
- *spawn and stop*: an actor is spawned, stopped, and its end awaited, before the next is spawned. *spawn, ask and
  stop*: the same with one answered message in between, so that what an actor makes on demand is not left out.
- *actors at once*: *spawn* is the CPU until that many have all started, *stop* until all of them have ended, each for
  one of them. *bytes* is the memory of one that nothing was sent to, *used* that of one that has answered an ask and
  waits again, in Greenroom with its nursery open. It is the used ones that are stopped.

*tapio-py unchecked* is it without the check of each message's contents (`validate_on_tell`), its better variant in
everything. It has no call that ends one actor from outside or waits for an end: an actor is told to stop itself, and
the parent that watches it spawns the next one on the signal `Terminated`; with many, `terminate()` of the system is
awaited. *trio* and *asyncio* are a task and a queue: no supervision, no names, no statistics. Pykka's actors are
threads, and `stop()` waits for the end: not more than 1,000 are made.
"""

if __name__ == "__main__":
    main()
