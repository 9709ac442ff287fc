"""Where a server's time goes: py-spy samples it under load, and the samples are sorted by the part they belong to.

A part's share of the samples, times the CPU time of an event, is its cost per event. With ``--before DIR``, another
checkout of Greenroom is measured beside this one. py-spy comes with the extra ``bench``, and must be allowed to look
into other processes of its user: on Linux kernel.yama.ptrace_scope must be 0.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _process
import _results
import _running
import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _generator import Report
    from _live import Live

HERE = _process.HERE.parent
SPY = Path(sys.executable).with_name("py-spy")
LOGS = ("memory", "sqlite")
LOADS = {
    "500 users, 20 events/s each": _loading.Load(users=500, events=400, rate=20, warm=0.5, window=4.0, cut=True),
    "a burst of 200 events to each of 200 users": _loading.Load(users=200, rounds=2, lasting=3.0),
}
SAMPLES_PER_SECOND, SAMPLING_SECONDS = 500, 3
COUNTED = 5
"""Number of last rounds whose CPU time is taken. A paced load has only one."""
PARTS = {
    "system call: send": ("WriteBuffer._try",),
    "system call: receive": ("_received",),
    "system call: epoll": ("EpollIOManager.get_events",),
    "emit: encode, number, keep": (
        "encode",
        "Run.output",
        "SessionStream.put",
        "SessionStream._set",
        "SessionStream.admit",
    ),
    "frames and their sending": (
        "Flusher.",
        "Connection.flush",
        "WriteBuffer.",
        "ReadBuffer.",
        "events_message",
        "text_message",
    ),
    "commit": ("Committer.", "SessionStream.", "RecordWriter.", "CommitWaits.", "MemoryLog.", "SqliteLog."),
    "the log's thread": ("Writer.", "SqliteLog._write.<locals>.work"),
    "a run's start and end": ("RunScope.", "RunNode.", "Starts.", "Start.", "RunRecorder."),
    "commands and connections": (
        "Session.",
        "CommandHandlers.",
        "Connection.",
        "WebSocketConnection.",
        "Conversation.",
        "Incarnation.",
    ),
    "the agent, and its timers": ("load (",),
}
"""Prefixes of functions by part. The innermost function of a sample with such a prefix decides."""
REST = "trio: timers, tasks"


@attrs.frozen
class Cost:
    """The outcome of one profile: the CPU time of an event in µs, and each part's share of the samples."""

    microseconds: float
    shares: dict[str, float]


def part_of(stack: str) -> str:
    """Return the part of a sample: a line in py-spy's raw format, outermost function first."""
    for function in reversed(stack.split(";")):
        for part, names in PARTS.items():
            if function.startswith(names):
                return part
    return REST


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Return the share of each part. A sample line has a stack and a number."""
    counts = Counter[str]()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        counts[part_of(stack)] += int(number)
    total = counts.total()
    if not total:
        raise SystemExit("py-spy saw nothing")
    return {part: count / total for part, count in counts.items()}


def look(program: Path, load: _loading.Load, log: str, tree: Path, live: Live) -> Cost:
    """Put the load on a fresh server of that tree, and profile it. Raises SystemExit if that is not allowed."""
    begins = "window" if load.window else "connected"
    port = _process.free_port()
    looking: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder, _process.log_url(log) as url, ExitStack() as owned:
        seen = Path(folder) / "samples"
        words = ["env", f"PYTHONPATH={tree}", sys.executable, str(tree / "bench" / "_server.py"), "--port", str(port)]
        with _process.serving([*words, "--log", url], port) as pid:

            def tell(report: Report) -> None:
                live.tell(report)
                if report["kind"] == begins:
                    looking.append(owned.enter_context(_spy(pid, seen)))

            rounds = _loading.run(program, load, _loading.Target((port,), (pid,)), tell).rounds
            _, complaint = looking[0].communicate()
        if looking[0].returncode:
            raise SystemExit(f"py-spy: {complaint.strip()}")
        cpu, events = (sum(one[name] for one in rounds[-COUNTED:]) for name in ("server_cpu", "events"))
        return Cost(cpu / events * 1e6, shares(seen.read_text().splitlines()))


def _spy(pid: int, seen: Path) -> subprocess.Popen[str]:
    words = [str(SPY), "record", "--nonblocking", "--format", "raw"]
    words += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(SAMPLING_SECONDS)]
    words += ["--output", str(seen), "--pid", str(pid)]
    return subprocess.Popen(words, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - as named


def table(columns: dict[str, list[Cost]]) -> str:
    """Return the cost of each part in µs per event: a column for each kind of server, medians of its profiles."""
    rows = [
        [part, *(f"{statistics.median(_of(cost, part) for cost in costs):.2f}" for costs in columns.values())]
        for part in (*PARTS, REST)
    ]
    whole = [f"**{statistics.median(cost.microseconds for cost in costs):.2f}**" for costs in columns.values()]
    return _results.table(["µs of CPU for an event", *columns], [*rows, ["**altogether**", *whole]])


def _of(cost: Cost, part: str) -> float:
    return cost.shares.get(part, 0.0) * cost.microseconds


def main() -> None:
    """Profile the loads."""
    parser = _running.parser(__doc__, 3)
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout, to be looked at beside this one")
    options = parser.parse_args()
    if not SPY.exists():
        raise SystemExit(f"there is no {SPY.name} beside {sys.executable}: it comes with the extra `bench`")
    trees = {"": HERE} if options.before is None else {" before": options.before.resolve(), "": HERE}
    found: dict[str, dict[str, list[Cost]]] = {name: {} for name in LOADS}
    with _generator.compiled() as program, _live.shown() as live:
        for repetition in range(options.repetitions):
            for name, load in LOADS.items():
                for log in LOGS:
                    for label, tree in trees.items():
                        live.begin(f"{repetition + 1} of {options.repetitions}: {log}{label}, {name}")
                        cost = look(program, load, log, tree, live)
                        found[name].setdefault(f"{log}{label}", []).append(cost)
    parts = [EXPLAINED.format(repetitions=options.repetitions)]
    for name, columns in found.items():
        parts += [f"### {name[0].upper()}{name[1:]}", table(columns)]
    _running.publish(options.results, "where", "Where the time goes", parts)


EXPLAINED = """
py-spy's samples of a server under load, sorted by the innermost function that belongs to one of these parts, times the
CPU time that the system counts for an event meanwhile; medians of {repetitions} looks, each at a fresh server. A thread
that waits for the network is seen in epoll, also while the log's thread works. What trio does for the agent's timers is
in its own line and in the agent's. *before*, where there is such a column, is another version of Greenroom, looked at
in turn with this one.
"""

if __name__ == "__main__":
    main()
