"""Greenroom inside a web server: the cost of each place of the endpoint and each library of the agents.

Every repetition takes each server once through the same loads as ``peers.py``, each with a fresh process on one core:
500 users at 20 events a second each, and a burst of 200 events to each of 200 users. All users check that no event is
missing, doubled or out of order. Ratios are medians of those within each repetition. ``--scale`` changes the number of
users, and ``--only`` the servers, for a short look.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import _generator
import _live
import _loading
import _process
import _results
import _running
import _verdicts
import attrs
from _goals import Aim
from _peer_loads import BURST, FIRST, PACED, WARM_SECONDS, Load, figures
from _peer_subjects import SERVERS
from _peer_tables import Column
from _verdicts import Goal

if TYPE_CHECKING:
    from collections.abc import Generator

    from _goals import Measured
    from _live import Live

SCRIPT = Path(__file__).with_name("_hosted_server.py")
NATIVE = "native"
COLUMNS = (
    Column("paced, CPU s per 100k", "paced cpu", 2),
    Column("burst, CPU s per 100k", "burst cpu", 3),
    Column("burst, events/s", "burst rate", 0),
    Column("paced p50 ms", "paced p50", 2),
    Column("paced p99 ms", "paced p99", 2),
    Column("KB per connection", "paced kb", 1),
    Column("generator busy %", "paced busy", 0, worst=True),
)


@attrs.frozen
class Subject:
    """One line of the table: a server, and the command that runs it on a port."""

    name: str
    title: str
    options: tuple[str, ...] = ()
    peer: str = ""

    @property
    def dialect(self) -> str:
        """The words that the server understands."""
        return next((one.dialect for one in SERVERS if one.name == self.peer), "greenroom")

    @contextmanager
    def running(self) -> Generator[_loading.Target]:
        """Run the server inside the block, on its own core."""
        if self.peer:
            with next(one for one in SERVERS if one.name == self.peer).running() as target:
                yield target
        elif not self.options:
            with _process.measured() as server:
                yield _loading.Target.of(server)
        else:
            port = _process.free_port()
            command = [sys.executable, str(SCRIPT), "--port", str(port), *self.options]
            with _process.serving(command, port) as pid:
                yield _loading.Target((port,), (pid,))


SUBJECTS = (
    Subject(NATIVE, "**`greenroom serve`**: trio, its own port"),
    Subject("guest", "a guest of uvloop, its own port", ("--place", "own-port")),
    Subject("guest-asyncio", "a guest of asyncio, its own port", ("--place", "own-port", "--loop", "asyncio")),
    Subject("handover", "uvicorn, uvloop, handed-over sockets", ("--place", "handover")),
    Subject("mount", "uvicorn, uvloop, through ASGI", ("--place", "mount")),
    Subject("mount-asyncio", "uvicorn, asyncio, through ASGI", ("--place", "mount", "--loop", "asyncio")),
    Subject(
        "handover-agents",
        "**agents on asyncio**, uvicorn, uvloop, handed-over sockets",
        ("--place", "handover", "--agents", "asyncio"),
    ),
    Subject(
        "handover-agents-asyncio",
        "agents on asyncio, uvicorn, asyncio, handed-over sockets",
        ("--place", "handover", "--agents", "asyncio", "--loop", "asyncio"),
    ),
    Subject(
        "mount-agents", "agents on asyncio, uvicorn, uvloop, through ASGI", ("--place", "mount", "--agents", "asyncio")
    ),
    Subject("fastapi", "FastAPI's bare WebSocket, uvicorn, uvloop", peer="fastapi"),
    Subject("python-socketio", "python-socketio, uvicorn, uvloop", peer="python-socketio"),
)
AIMS = (
    Aim(
        Goal("paced, asyncio agents with handed-over sockets beside native", 1.0, "s per 100k"),
        "paced cpu",
        "handover-agents",
        NATIVE,
    ),
    Aim(Goal("paced, through ASGI beside native", 1.6, "s per 100k"), "paced cpu", "mount", NATIVE),
    Aim(Goal("burst, through ASGI beside native", 1.3, "s per 100k", 3), "burst cpu", "mount", NATIVE),
    Aim(Goal("memory of a handed-over connection", 30, "KB", 1), "paced kb", "handover"),
)


@attrs.frozen
class Extent:
    """The extent of a measurement: ``seconds`` for each load, and the number of users beside the standard number."""

    seconds: float
    scale: float

    def loads(self) -> list[Load]:
        """Return the loads, with at least one user each."""
        return [attrs.evolve(load, users=max(1, round(load.users * self.scale))) for load in (PACED, BURST)]


def measure(program: Path, subject: Subject, extent: Extent, live: Live, said: str) -> dict[str, float]:
    """Return the figures of one server in one repetition. Raise SystemExit with its name if it fails."""
    found: dict[str, float] = {}
    for load in extent.loads():
        live.begin(f"{said}: {subject.name}, {load.name}")
        try:
            with subject.running() as target:
                if load.rate:
                    _loading.run(program, attrs.evolve(FIRST, dialect=subject.dialect), target)
                outcome = _loading.run(program, load.words(extent.seconds, subject.dialect), target, live.tell)
        except SystemExit as failed:
            raise SystemExit(f"{subject.name}: {failed}") from None
        brought = figures(outcome.rounds[load.uncounted :]) | {"kb": outcome.connected["kb_per_user"]}
        found |= {f"{load.name} {name}": value for name, value in brought.items()}
    return found


def report(measured: Measured) -> str:
    """Return the table of all servers, and the table of the goals."""
    rows = [
        [subject.title, *(column.cell([one[column.figure] for one in measured[subject.name]]) for column in COLUMNS)]
        for subject in SUBJECTS
        if subject.name in measured
    ]
    table = _results.table(["server", *(column.header for column in COLUMNS)], rows)
    return f"{table}\n\n{_results.table(_verdicts.HEADER, [aim.line(measured) for aim in AIMS])}"


def main() -> None:
    """Measure all servers, or the servers that ``--only`` names."""
    parser = _running.parser(__doc__, 5)
    parser.add_argument("--seconds", type=float, default=1, help="how long a load is measured (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1, help="users, as a multiple of the default's %(default)s")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in SUBJECTS], metavar="NAME")
    options = parser.parse_args()
    extent = Extent(options.seconds, options.scale)
    subjects = [one for one in SUBJECTS if not options.only or one.name in options.only]
    measured: dict[str, list[dict[str, float]]] = {}
    with _generator.compiled() as program, _live.shown() as live:
        for repetition in range(options.repetitions):
            said = f"{repetition + 1} of {options.repetitions}"
            for subject in subjects:
                found = measure(program, subject, extent, live, said)
                measured.setdefault(subject.name, []).append(found)
    waited = [
        one[f"{load} waited"] / 100
        for of_server in measured.values()
        for one in of_server
        for load in ("paced", "burst")
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "fastapi", "python-socketio"))
    paced, burst = (load.users for load in extent.loads())
    parts = [
        EXPLAINED.format(
            repetitions=options.repetitions, seconds=options.seconds, warm=WARM_SECONDS, paced=paced, burst=burst
        ),
        _loading.NEVER_SLEEPS,
        f"Versions: {packages}.",
        report(measured),
        _verdicts.note_on_machine(waited),
    ]
    _running.publish(options.results, "hosted", "Inside a web server", parts)


EXPLAINED = """
Medians of {repetitions} interleaved repetitions with their range, each with a fresh process on one core and all users
in a process on another. The paced load is {paced} users at 20 events/s each, measured for {seconds:g} s, from
{warm:g} s after the last run has begun; the burst is 200 events to each of {burst} users, for {seconds:g} s after a
round that is not counted. The log is in memory. *Through ASGI* is `mount` under uvicorn, *handed-over sockets* is the
same with `--ws transport.hosting.handover:Protocol`. Agents run on trio, or as said on asyncio, in the loop of the web
server. FastAPI's bare WebSocket and python-socketio send messages only: they store nothing, and cannot resume.
"""

if __name__ == "__main__":
    main()
