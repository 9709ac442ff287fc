"""The outcome of loads of users, as tables, as text for a terminal and as a plot."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from typing import TYPE_CHECKING

import _loading
import _plots
import _results
import _verdicts
import attrs
from _verdicts import Goal

if TYPE_CHECKING:
    from pathlib import Path

    from _generator import Report
    from _loading import Load

HEADER = ("log", "events", "users", "each", "pace", "events/s", "CPU s per 100k", "p50 ms", "p99 ms", "longest ms")
HEADER_REST = ("KB per user", "events per frame", "generator busy")
STORM_HEADER = (
    "storm of",
    "s until all were live",
    "s until all had everything",
    "events missed",
    "recovered",
    "reset",
)
IDLE = Goal("idle session with its connection", 25, "KB", 1)
_BAR = 40
_UNKNOWN = "not known"


@attrs.define
class Measured:
    """The outcome of the repetitions of one load. ``log`` is the log of the server, or its address."""

    log: str
    load: Load
    is_local: bool = True
    """Whether the server's processes are on this machine."""
    connected: list[Report] = attrs.Factory(list["Report"])
    rounds: list[Report] = attrs.Factory(list["Report"])
    storms: list[Report] = attrs.Factory(list["Report"])
    progress: list[Report] = attrs.Factory(list["Report"])
    """Progress reports of the first repetition."""
    errors: Counter[str] = attrs.Factory(Counter[str])

    def tell(self, report: Report) -> None:
        """Store a report of the generator."""
        match report["kind"]:
            case "progress" if len(self.connected) == 1:
                self.progress.append(report)
            case "error":
                self.errors[report["what"]] += 1
            case "connected":
                self.connected.append(report)
            case "round":
                self.rounds.append(report)
            case "storm":
                self.storms.append(report)
            case _:
                pass

    @property
    def title(self) -> str:
        """The name of the load in a plot."""
        pace = f"{self.load.rate:g}/s" if self.load.rate else "burst"
        agent = "" if self.load.agent == "load" else f", {self.load.agent}"
        return f"{self.log}, {self.load.users:,} × {pace}{agent}"  # noqa: RUF001 - times

    def row(self) -> list[str]:
        """Return the cells of its line."""
        load, rounds = self.load, self.rounds
        pace = f"{load.rate:g}/s each" if load.rate else "burst"
        label = [self.log, load.agent, f"{load.users:,}", str(load.events) if load.input is None else _UNKNOWN]
        delays = [_results.spread([one[key] / 1000 for one in rounds], 2) for key in ("p50", "p99", "longest")]
        kb = statistics.median(one["kb_per_user"] for one in self.connected)
        batch = statistics.median(one["events"] / max(1, one["frames"]) for one in rounds)
        return [
            *label,
            pace if load.input is None else _UNKNOWN,
            _results.spread([_loading.rate(one) for one in rounds], 0),
            _results.spread([_loading.cost(one) for one in rounds], 3) if self.is_local else _UNKNOWN,
            *delays,
            f"{kb:.1f}" if self.is_local else _UNKNOWN,
            f"{batch:.1f}",
            f"{max(one['busy'] for one in rounds):.0%}",
        ]


def table(measured: list[Measured]) -> str:
    """Return a table with a line for each load."""
    return _results.table((*HEADER, *HEADER_REST), [one.row() for one in measured])


def goals(measured: list[Measured]) -> str:
    """Return the goals that the standard loads decide."""
    idle = [one["kb_per_user"] for load in measured if load.log == "memory" for one in load.connected]
    return _results.table(_verdicts.HEADER, [IDLE.by_itself(idle)])


def storms(measured: Measured) -> str:
    """Return a table with a line for each reconnect storm, or an empty string if there was none."""
    rows = [
        [
            f"{one['users']:,}",
            f"{one['seconds']:.2f}",
            f"{one['caught_up']:.2f}",
            f"{one['missed']:,}",
            f"{one['recovered']:,}",
            f"{one['resets']:,}",
        ]
        for one in measured.storms
    ]
    return _results.table(STORM_HEADER, rows) if rows else ""


def details(measured: Measured) -> str:
    """Return the ages of events, the server's resources over the run, and the faults, for a terminal."""
    return "\n\n".join(part for part in (histogram(measured), resources(measured), faults(measured)) if part)


def histogram(measured: Measured) -> str:
    """Return the ages of events at their arrival, by octaves."""
    counts = _verdicts.summed(one["histogram"] for one in measured.rounds)
    octaves = [
        (number, sum(counts[number : number + _verdicts.STEPS_PER_OCTAVE]))
        for number in range(0, len(counts), _verdicts.STEPS_PER_OCTAVE)
    ]
    most = max((count for _, count in octaves), default=0)
    lines = [
        f"{_verdicts.step_ms(number):10.3f} ms and more {'#' * round(count * _BAR / most):{_BAR}} {count:,}"
        for number, count in octaves
        if count
    ]
    return "\n".join(["age of events at their arrival:", *lines]) if lines else ""


def resources(measured: Measured) -> str:
    """Return the CPU time and memory of the server over the run."""
    series = measured.progress
    if not measured.is_local or len(series) < 2:
        return ""
    seconds = series[-1]["seconds"] - series[0]["seconds"]
    shares = cpu_shares(series)
    sizes = [one["resident_kb"] / 1024 for one in series]
    return (
        f"server: CPU {statistics.fmean(shares):.0%} of a core, {max(shares):.0%} at most; "
        f"memory {sizes[0]:,.0f} MB at first, {sizes[-1]:,.0f} MB at last, {max(sizes):,.0f} MB at most"
        f" ({seconds:.1f} s)"
    )


def faults(measured: Measured) -> str:
    """Return each kind of fault with its number, or an empty string."""
    if not measured.errors:
        return "errors: none"
    return "\n".join(
        [f"errors: {measured.errors.total():,}"]
        + [f"{n:8,} times: {what}" for what, n in measured.errors.most_common(10)]
    )


def cpu_shares(series: list[Report]) -> list[float]:
    """Return the server's share of a core between each report and the next."""
    return [
        (late["server_cpu"] - early["server_cpu"]) / (late["seconds"] - early["seconds"])
        for early, late in itertools.pairwise(series)
    ]


def plot(measured: list[Measured], target: Path) -> None:
    """Draw the ages of events, and the server's resources over the run."""
    with _plots.figure(target, 3, 3.6) as (ages, cpu, memory):
        for number, one in enumerate(measured):
            colour = _plots.COLOURS[number % len(_plots.COLOURS)]
            ages.plot(
                *_verdicts.older(_verdicts.summed(each["histogram"] for each in one.rounds)),
                color=colour,
                label=one.title,
            )
            at = [each["seconds"] - one.progress[0]["seconds"] for each in one.progress]
            cpu.plot(at[1:], [100 * share for share in cpu_shares(one.progress)], color=colour)
            memory.plot(at, [each["resident_kb"] / 1024 for each in one.progress], color=colour)
        ages.set_xscale("log")
        ages.set_yscale("log")
        ages.set_ylim(bottom=1e-5)
        ages.set_xlim(left=_plots.YOUNGEST_MS)
        ages.set_xlabel("age at arrival, ms")
        ages.set_ylabel("share of events older than that")
        for axis, title in ((cpu, "CPU of the server, %"), (memory, "memory of the server, MB")):
            axis.set_ylim(bottom=0)
            axis.set_xlabel("s of the rounds")
            axis.set_title(title)
        ages.legend(loc="lower left", fontsize=7)
