"""A load on a server and its outcome: the load generator's options and reports as classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import _generator
import _process
import attrs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _generator import Report


@attrs.frozen(kw_only=True)
class Load:
    """A load: ``users``, each with a session, a connection, and a run of ``events`` in each round.

    ``rate`` is the events per second of each user, 0 for as fast as possible. The other fields are options of the
    generator, described at the top of its source: ``warm`` and ``window`` bound the measured part of a round in
    seconds, ``lasting`` is the time for which rounds go on beyond ``rounds``, ``apart`` the number of users that are
    not measured. With ``cut`` a round is over when its window is, with ``keep`` too all rounds measure the same runs.
    With ``spin`` the generator never sleeps, so that the server does not pay for waking it.
    """

    users: int
    events: int = 200
    rate: float = 0.0
    agent: str = "load"
    rounds: int = 1
    lasting: float = 0.0
    warm: float = 0.0
    window: float = 0.0
    ramp: int = 0
    storm: int = 0
    away: int = 1000
    opening: int = 256
    apart: int = 0
    apart_events: int = 0
    apart_rate: float = 0.0
    apart_bytes: int = -1
    alternate: bool = False
    input: str | None = None
    tokens: Path | None = None
    tolerant: bool = False
    cut: bool = False
    keep: bool = False
    spin: bool = False
    dialect: str = "greenroom"


@attrs.frozen
class Target:
    """The address of the load. ``pids`` are the server's processes, if they run on this machine."""

    ports: tuple[int, ...]
    pids: tuple[int, ...] = ()
    host: str = "127.0.0.1"
    path: str = "/"

    @classmethod
    def of(cls, *servers: _process.Server) -> Target:
        """Return the target of several servers. Users are distributed over them in turn."""
        return cls(tuple(one.port for one in servers), tuple(one.pid for one in servers))


NEVER_SLEEPS = (
    "The generator never sleeps while it measures: a send that wakes a sleeping receiver is dearer, and no client on "
    "another machine costs that."
)
"""A sentence for the sections of scripts whose loads have ``spin``."""


@attrs.define
class Outcome:
    """The reports of a load."""

    connected: Report = attrs.Factory(dict[str, Any])
    rounds: list[Report] = attrs.Factory(list["Report"])
    storms: list[Report] = attrs.Factory(list["Report"])


def run(
    program: Path,
    load: Load,
    target: Target,
    tell: Callable[[Report], None] = lambda _: None,
    cores: int | str | None = _process.GENERATOR_CORE,
) -> Outcome:
    """Put the load on the target. ``tell`` is called with every report, also with reports of progress.

    Raises SystemExit if an event was missing, doubled or out of order, or if the generator fails.
    """
    outcome = Outcome()
    words = attrs.asdict(load, filter=lambda _, value: value is not None)
    words |= {"port": _joined(target.ports), "host": target.host, "path": target.path}
    if target.pids:
        words["pid"] = _joined(target.pids)
    for report in _generator.reports(program, cores, **words):
        if report.get("faults"):
            raise SystemExit(f"{report['faults']} events were missing, doubled or out of order")
        if report["kind"] == "connected":
            outcome.connected = report
        elif report["kind"] == "round":
            outcome.rounds.append(report)
        elif report["kind"] == "storm":
            outcome.storms.append(report)
        tell(report)
    return outcome


def cost(report: Report) -> float:
    """Return the CPU seconds of the server per 100,000 events of the round."""
    return float(report["server_cpu"]) * 100_000 / float(report["events"])


def rate(report: Report) -> float:
    """Return the events per second."""
    return float(report["events"]) / float(report["seconds"])


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
