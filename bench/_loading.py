"""A load on a server, and what it brought: the load generator's options and reports as classes."""

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
    """``users``, each with a session, a connection and a run of ``events`` in each round.

    ``rate`` is events a second of each, 0 for as fast as they come. The rest is as the top of the generator's source
    has it: ``window`` and ``warm`` are the measured part of a round in s, ``lasting`` how long rounds go on beyond
    ``rounds``, ``apart`` the users that are not measured.
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
    dialect: str = "greenroom"


@attrs.frozen
class Target:
    """Where the load goes. ``pids`` are the server's processes where they are on this machine."""

    ports: tuple[int, ...]
    pids: tuple[int, ...] = ()
    host: str = "127.0.0.1"
    path: str = "/"

    @classmethod
    def of(cls, *servers: _process.Server) -> Target:
        """All of these; the users take turns."""
        return cls(tuple(one.port for one in servers), tuple(one.pid for one in servers))


@attrs.define
class Outcome:
    """What a load brought, report by report."""

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
    """Put the load on the target; ``tell`` hears every report as it comes, also of progress.

    SystemExit where an event was missing, doubled or out of order, and with what the generator says when it fails.
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
    """CPU seconds of the server for 100,000 of the round's events."""
    return float(report["server_cpu"]) * 100_000 / float(report["events"])


def rate(report: Report) -> float:
    """Events a second."""
    return float(report["events"]) / float(report["seconds"])


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
