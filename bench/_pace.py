"""The rate of events that this machine can do: about half of a core, for both sides of a comparison.

*A fixed rate was more than a slow machine could do: events gathered, and no figure was that of a server that keeps up.*
"""

from __future__ import annotations

import math
import statistics
import sys
from typing import TYPE_CHECKING, TypeVar

import _generator
import _loading
import _process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from _generator import Report

MOST = 9500.0
"""Events a second on a machine that is fast enough."""
SHARE = 0.5
"""Share of a core that the server is to use."""
KEPT = 0.9
"""Share of the wanted rate below which a server has not kept up."""
ATTEMPTS = 3
"""Number of rates that are tried, each half of the one before, before a measurement is given up."""
PROBE = _loading.Load(users=500, rate=2.0, events=180, warm=1.0, window=3.0, cut=True, spin=True)
"""A light load, which shows what an event costs here."""

EXPLAINED = (
    f"The rate is chosen for this machine: half of what a core can do here, {MOST:,.0f} events a second at most. "
    "A light load before the measurement shows what a core can do."
)
"""Sentences for the sections of scripts whose rate was not given."""

Measured = TypeVar("Measured")


class Behind(Exception):
    """The server did not keep up with the wanted rate."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--rate``: a fixed rate, instead of one for this machine."""
    said = f"events a second in all (default: half of what a core can do here, {MOST:,.0f} at most)"
    parser.add_argument("--rate", type=float, help=said)


def affordable(report: Report) -> float:
    """Return the rate, in two digits, at which a server uses half of what it gets of its core.

    Other work of the machine counts: while a server waits for its core, it cannot work.
    """
    used, waited = float(report["server_cpu"]), float(report["waited"]) * float(report["seconds"])
    rate = SHARE * used / (used + waited) * 100_000 / _loading.cost(report)
    if rate >= MOST:
        return MOST
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return math.floor(rate / unit) * unit


def check(reports: Iterable[Report], rate: float) -> None:
    """Raise Behind if the events of rounds came at much less than the wanted rate, in the median."""
    reached = statistics.median(map(_loading.rate, reports))
    if reached < KEPT * rate:
        raise Behind(f"the server did {reached:,.0f} of {rate:,.0f} events a second: it cannot keep up on this machine")


def probed(program: Path, tell: Callable[[Report], None]) -> float:
    """Return the affordable rate, measured on a server of its own."""
    with _process.measured() as server:
        outcome = _loading.run(program, PROBE, _loading.Target.of(server), tell)
    return affordable(outcome.rounds[0])


def kept_up(
    fixed: float | None, probe: Callable[[], float], measure: Callable[[float], Measured]
) -> tuple[float, Measured]:
    """Return a rate that the server keeps up with, and what ``measure`` gives at this rate.

    Without a ``fixed`` rate, ``probe`` gives the first one, and after each failure half of it is tried. Raises
    SystemExit with the last failure.
    """
    rate = probe() if fixed is None else fixed
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return rate, measure(rate)
        except (Behind, _generator.Failed) as failure:
            if fixed is not None or attempt == ATTEMPTS:
                raise SystemExit(f"{failure}; try a lower --rate, or a machine without other work") from None
            print(f"at {rate:,.0f} events a second: {failure}; once more at half of that", file=sys.stderr)
            rate /= 2
    raise AssertionError("the last attempt returns or raises")
