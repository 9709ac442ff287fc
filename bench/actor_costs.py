"""The actor runtime beside other libraries: messages, actors that come and go, and the memory of idle ones.

Every measurement has a fresh process on one core; each repetition takes all libraries in turn, and a ratio is the
median of the ratios within each repetition. What is measured of each library is in ``actor_subjects/``, one script
each. ``--results FILE`` writes the tables into their section of that file and a plot beside it. The other libraries
come with the ``bench`` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _process
import _results
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

Measured = dict[tuple[str, str, int], list[dict[str, float]]]
COSTS, MANY = "costs", "many"


@attrs.frozen
class Subject:
    """One library: its script in ``actor_subjects``, the most actors that it is given at once, and its environment."""

    script: str
    sizes: int
    environment: dict[str, str] = attrs.field(factory=dict[str, str])


SIZES = (1_000, 10_000, 100_000)
SELDOM = 100_000
"""From that size on there are fewer repetitions."""
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
    """Run one measurement in its own process. SystemExit with what it says when it fails."""
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
    """Take every measurement of every library, ``repetitions`` times."""
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
    """What one thing costs, what many at once cost, and how that stands to the goals."""
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
    return f"{first}\n\n{_results.table(header, rows)}\n\n{goals(measured, sizes)}"


MANY_DIGITS = {"spawn": 1, "stop": 1, "bytes": 0, "used": 0}


def goals(measured: Measured, sizes: Sequence[int]) -> str:
    """Each goal, what was measured, and whether it is met."""
    rows: list[list[str]] = []
    compared = [(key, 0, key) for key in ("tell", "ask")]
    compared += [("spawn", size, f"spawn of {size:,}") for size in sizes if size <= SUBJECTS[BETTER].sizes]
    compared.append(("turn", 0, "spawn and stop, one after the other"))
    for key, count, what in compared:
        within = _within(measured, COSTS if count == 0 else MANY, count, key)
        text = f"{_results.spread(within, 2)} times as fast as {BETTER}"
        rows.append(
            [f"{what}: 2 times as fast as tapio-py, its better variant", text, _verdict(statistics.median(within), 2)]
        )
    for key, what in (("bytes", "as it was spawned"), ("used", "with a nursery, after an ask")):
        most = {size: _median(measured, OURS, MANY, size, key) for size in sizes}
        rows.append([f"idle actor {what}: 6 KB at most", _of(most, "bytes"), _verdict(-max(most.values()), -6_144)])
    flat = {size: _median(measured, OURS, MANY, size, "bytes") for size in sizes}
    growth = max(flat.values()) / min(flat.values())
    rows.append(["flat: the most within 1.25 times the least", f"{growth:.2f} times", _verdict(-growth, -1.25)])
    stops = {size: _median(measured, OURS, MANY, size, "stop") for size in sizes}
    growth = stops[max(sizes)] / stops[min(sizes)]
    text = f"{_of(stops, 'µs each')}: {growth:.2f} times"
    rows.append(
        ["stopping is linear: each of the most within 1.25 times each of the fewest", text, _verdict(-growth, -1.25)]
    )
    return _results.table(["goal", "measured", "met"], rows)


def _verdict(value: float, least: float) -> str:
    return "yes" if value >= least else "**no**"


def _of(by_size: dict[int, float], unit: str) -> str:
    values, sizes = (", ".join(f"{number:,.0f}" for number in numbers) for numbers in (by_size.values(), by_size))
    return f"{values} {unit} for {sizes}"


def _within(measured: Measured, what: str, count: int, key: str) -> list[float]:
    ours, theirs = (_values(measured, name, what, count, key) for name in (OURS, BETTER))
    checked = _values(measured, "tapio-py", what, count, key)
    if checked:
        assert statistics.median(theirs) <= statistics.median(checked), (
            f"{key}: the other variant of tapio-py is better"
        )
    return [their / our for our, their in zip(ours, theirs, strict=True)]


def plot(measured: Measured, sizes: Sequence[int], target: Path) -> None:
    """Draw costs and memory as an SVG without a background, in greys that show on white and on black."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    grey, green = "#808080", "#2a9d5c"
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    matplotlib.rcParams.update(dict.fromkeys(names, grey) | {"svg.hashsalt": "greenroom"})
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, 4, figsize=(12, 3), layout="constrained")
    for axis, key in zip(axes, ("tell", "ask", "turn"), strict=False):
        medians = [_median(measured, name, COSTS, 0, key) for name in SUBJECTS]
        axis.barh(list(SUBJECTS), medians, color=[green if name == OURS else grey for name in SUBJECTS])
        axis.invert_yaxis()
        axis.set_title({"turn": "spawn and stop"}.get(key, key) + ", µs of CPU")
    for name, style in ((OURS, "o-"), (BETTER, "s--"), ("trio", "^:")):
        known = [size for size in sizes if size <= SUBJECTS[name].sizes]
        values = [_median(measured, name, MANY, size, "bytes") / 1024 for size in known]
        axes[3].semilogx(known, values, style, color=green if name == OURS else grey, label=name)
    axes[3].set_ylim(bottom=0)
    axes[3].set_title("KB per idle actor, by their number")
    axes[3].legend(frameon=False, fontsize="small")
    for axis in axes:
        axis.patch.set_alpha(0)
    figure.savefig(target, transparent=True, metadata={"Date": None})


def _values(measured: Measured, library: str, what: str, count: int, key: str) -> list[float]:
    return [one[key] for one in measured.get((library, what, count), [])]


def _median(measured: Measured, library: str, what: str, count: int, key: str) -> float:
    return statistics.median(_values(measured, library, what, count, key))


def _spread(measured: Measured, library: str, what: str, count: int, key: str, digits: int) -> str:  # noqa: PLR0913, PLR0917 - a cell of a table
    return _results.spread(_values(measured, library, what, count, key), digits)


def main() -> None:
    """Measure all of it."""
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
