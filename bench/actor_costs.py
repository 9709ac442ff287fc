"""The actor runtime beside other libraries: tell, ask, spawn and stop, memory of idle actors, stopping many.

Every measurement has a fresh process on one core; each repetition takes all libraries in turn, and a ratio is the
median of the ratios within each repetition. ``--results FILE`` writes the table into its section of that file and a
plot beside it. The other libraries come with the ``bench`` extra.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import _process
import _results
from _actor_subjects import SUBJECTS

COUNTS = {"tell": 50_000, "ask": 5_000, "spawn": 2_000}
OURS, TAPIO = "greenroom", ("tapio-py", "tapio-py unchecked")
THREADS_AT_MOST = 1_000
"""Idle actors of Pykka, whose actors are threads."""
Measured = dict[tuple[str, str, int], list[dict[str, float]]]


def measure(library: str, what: str, count: int) -> dict[str, float]:
    """Run one measurement in its own process. SystemExit with what it says when it fails."""
    script = str(_process.HERE / "_actor_subjects.py")
    command = ["taskset", "-c", str(_process.GENERATOR_CORE), sys.executable, script, library, what, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        raise SystemExit(f"{library}, {what} {count}: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def run(repetitions: int, sizes: list[int]) -> Measured:
    """Take every measurement of every library, ``repetitions`` times."""
    wanted = [*COUNTS.items(), *(("idle", size) for size in sizes)]
    measured: Measured = {}
    for repetition in range(repetitions):
        for what, count in wanted:
            for library in SUBJECTS:
                if library == "pykka" and what == "idle" and count > THREADS_AT_MOST:
                    continue
                if sys.stderr.isatty():
                    text = f"{repetition + 1} of {repetitions}: {library}, {what} {count:,}"
                    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
                measured.setdefault((library, what, count), []).append(measure(library, what, count))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return measured


def tables(measured: Measured, sizes: list[int]) -> str:
    """Every figure, then the ratios to the better variant of tapio-py."""
    rows: list[list[str]] = []
    for library in SUBJECTS:
        row = [library]
        for what, count in COUNTS.items():
            row.append(_results.spread(_values(measured, library, what, count, "us"), 2))
        for size in sizes:
            for key, digits in (("bytes", 0), ("us", 1)):
                values = _values(measured, library, "idle", size, key)
                row.append(_results.spread(values, digits) if values else "not measured")
        rows.append(row)
    header = ["library", "tell µs", "ask µs", "spawn + stop µs"]
    for size in sizes:
        header += [f"bytes per idle actor, {size:,}", f"stop of {size:,}, µs each"]
    ratios: list[list[str]] = []
    for what, count in COUNTS.items():
        ours = _values(measured, OURS, what, count, "us")
        better = min(TAPIO, key=lambda name: statistics.median(_values(measured, name, what, count, "us")))
        theirs = _values(measured, better, what, count, "us")
        within = [their / our for our, their in zip(ours, theirs, strict=True)]
        ratios.append([what, better, _results.spread(within, 2), "yes" if statistics.median(within) >= 2 else "no"])
    compared = _results.table(["what", "better variant", "times as fast", "goal of 2 met"], ratios)
    return f"{_results.table(header, rows)}\n\n{compared}"


def plot(measured: Measured, target: Path) -> None:
    """Draw the costs as an SVG without a background, in greys that show on white and on black."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    grey = "#808080"
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    matplotlib.rcParams.update(dict.fromkeys(names, grey) | {"svg.hashsalt": "greenroom"})
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, len(COUNTS), figsize=(10, 3), layout="constrained")
    for axis, (what, count) in zip(axes, COUNTS.items(), strict=True):
        medians = [statistics.median(_values(measured, name, what, count, "us")) for name in SUBJECTS]
        axis.barh(list(SUBJECTS), medians, color=["#2a9d5c" if name == OURS else grey for name in SUBJECTS])
        axis.invert_yaxis()
        axis.set_title(f"{what}, µs of CPU")
        axis.patch.set_alpha(0)
    figure.savefig(target, transparent=True, metadata={"Date": None})


def _values(measured: Measured, library: str, what: str, count: int, key: str) -> list[float]:
    return [one[key] for one in measured.get((library, what, count), [])]


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, help="(default: %(default)s)")
    sizes = [1_000, 10_000, 100_000]
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=sizes, help="how many idle actors (default: %(default)s)"
    )
    parser.add_argument("--results", type=Path, help="write the table into this file, and a plot beside it")
    options = parser.parse_args()
    measured = run(options.repetitions, options.sizes)
    text = tables(measured, options.sizes)
    print(text)
    if options.results is not None:
        image = options.results.with_name("actors.svg")
        plot(measured, image)
        said = EXPLAINED.format(repetitions=options.repetitions)
        packages = ("tapio-py", "pykka")
        _results.write(options.results, "actors", "Actors", f"{said}\n{text}\n\n![Costs]({image.name})", packages)


EXPLAINED = """
CPU time, medians of {repetitions} interleaved repetitions with their range; each measurement in a fresh process on one
core. *tapio-py unchecked* is it without the check of each message's contents. Plain trio and asyncio are a task and a
queue: no supervision, no names, no statistics. tapio-py cannot stop one actor from outside: it is told to stop
itself, and the system's end is waited for. Pykka's actors are threads: not more than 1,000 idle ones are made.
"""

if __name__ == "__main__":
    main()
