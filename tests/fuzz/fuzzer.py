"""A coverage-guided fuzzer for all targets: it runs each in a process of its own, and keeps what it has found.

Usage: ``python tests/fuzz/fuzzer.py [--seconds 3600] [TARGET …]``. The seconds are shared by the targets. At the end
the corpus in the tree has the inputs that reach new code, and a table has the figures.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz import corpus
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fuzz.target import Target

_CHILD = Path(__file__).parent / "instrumented.py"
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_INPUT_SECONDS = 30
"""Maximum time for one input. A longer time counts as a crash."""
_MAX_MEGABYTES = 2048


@attrs.frozen
class Figures:
    """The result of fuzzing one target."""

    target: str
    executions: int
    edges: int
    """Number of different branches of the code that were reached."""
    features: int
    """Number of different branches, each with how often one input took it."""
    crashes: tuple[bytes, ...]
    """The inputs for which the contract was broken: none, or one, since the process then ends."""
    inputs: tuple[bytes, ...]
    """The corpus: the seeds, what was known, and what was found."""
    output: str
    """The end of the process's output."""


def fuzz(target: Target, *, seconds: float = 0, runs: int = -1, seed: int = 0) -> Figures:
    """Fuzz one target for a time, or for a number of executions.

    ``seed`` other than 0 makes the choices of the fuzzer the same each time.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, found = Path(folder) / "inputs", Path(folder) / "found"
        inputs.mkdir()
        found.mkdir()
        _write(inputs, (*target.seeds, *corpus.load(target.name)))
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        options = [
            f"-max_total_time={int(seconds)}",
            f"-runs={runs}",
            f"-seed={seed}",
            f"-max_len={target.longest}",
            f"-timeout={_INPUT_SECONDS}",
            f"-rss_limit_mb={_MAX_MEGABYTES + _own_peak()}",
            *([f"-dict={words}"] if target.words else []),
            f"-artifact_prefix={found}/",
            "-print_final_stats=1",
        ]
        done = _run(target, [*options, str(inputs)])
        coverage = _COVERAGE.findall(done.stderr)
        edges, features = map(int, coverage[-1]) if coverage else (0, 0)
        executions = sum(map(int, _EXECUTIONS.findall(done.stderr)))
        crashes = _contents(found)
        if done.returncode and not crashes:
            raise RuntimeError(f"the fuzzer of {target.name} failed:\n{done.stderr[-4000:]}")
        output = done.stdout[-4000:] + done.stderr[-4000:]
        return Figures(target.name, executions, edges, features, crashes, _contents(inputs), output)


def _own_peak() -> int:
    """Return the peak memory of this process in MB. The kernel counts it as the peak of a child too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _run(target: Target, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    function = target.check
    command = [sys.executable, str(_CHILD), function.__module__, function.__name__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _write(folder: Path, inputs: Iterable[bytes]) -> None:
    for number, data in enumerate(dict.fromkeys(inputs)):
        (folder / f"{number:05}").write_bytes(data)


def _contents(folder: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.iterdir()))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the named targets, or all of them. Return 1 if a contract was broken."""
    parser = argparse.ArgumentParser(description="Fuzz the targets, and store their corpora in the tree.")
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=3600, help="time for all targets together")
    given = parser.parse_args(arguments)
    targets = [TARGETS[name] for name in given.targets or TARGETS]
    share = given.seconds / sum(target.weight for target in targets)
    broken = 0
    print(f"{'target':<16} {'executions':>11} {'edges':>7} {'features':>9} {'corpus':>7} {'crashes':>8}", flush=True)
    for target in targets:
        figures = fuzz(target, seconds=share * target.weight)
        kept = corpus.store(target.name, corpus.smallest(target, figures.inputs)) if not figures.crashes else 0
        print(
            f"{target.name:<16} {figures.executions:>11} {figures.edges:>7} {figures.features:>9} "
            f"{kept:>7} {len(figures.crashes):>8}",
            flush=True,
        )
        for crash in figures.crashes:
            broken = 1
            print(f"broken by {crash!r}:\n{figures.output}", flush=True)
    return broken


if __name__ == "__main__":
    sys.exit(main())
