"""Concurrent users over real sockets: how many events a second one server process delivers, and at what cost.

A server process on one core, the users' process on another; each user has a session, a connection and a run. Medians of
the rounds, with their range. ``--results FILE`` writes the tables there, with the machine and the command.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from _generator import Generator, Round

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Load:
    """One line of the table: ``rate`` events a second for each of ``users``, 0 for as fast as they come."""

    log: str
    users: int
    events: int
    rate: float = 0

    @property
    def label(self) -> str:
        """What the line is called."""
        pace = f"{self.rate:g}/s each" if self.rate else "burst"
        return f"{self.log} | {self.users} | {self.events} | {pace}"


STANDARD = (
    Load("memory", 200, 200),
    Load("sqlite", 200, 200),
    Load("memory", 1000, 200),
    Load("sqlite", 1000, 200),
    Load("memory", 500, 100, 20),
    Load("sqlite", 500, 100, 20),
)
HEADER = (
    "| log | users | events each | pace | events/s | CPU s per 100k | p50 ms | p99 ms "
    "| KB per user | events per frame | users' process busy |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


class Server:
    """The server under load: its own process, pinned to a core of its own where there are two."""

    def __init__(self, log: str, folder: str) -> None:
        self.port = _free_port()
        url = "memory:" if log == "memory" else f"sqlite:{folder}/bench-{self.port}.db"
        command = [sys.executable, str(HERE / "_server.py"), "--port", str(self.port), "--log", url]
        self._process = subprocess.Popen(command)  # noqa: S603 - our own script
        _pin(self._process.pid, 0)
        self._wait()

    def cpu(self) -> float:
        """CPU seconds so far, user and system, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_kb(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def stop(self) -> None:
        """End it, and wait for its end."""
        self._process.terminate()
        self._process.wait(30)

    def _wait(self) -> None:
        for _ in range(200):
            if self._process.poll() is not None:
                raise SystemExit("the server did not start")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit("the server did not start in time")


def measure(load: Load, rounds: int) -> str:
    """Run one load and return its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(load.log, folder)
        try:
            return _measured(load, rounds, server)
        finally:
            server.stop()


def _measured(load: Load, rounds: int, server: Server) -> str:
    generator = Generator(server.port, load.users)
    before = server.resident_kb()
    generator.connect(lambda done: _progress(f"{load.label}: {done} of {load.users} connected"))
    time.sleep(0.5)
    each_kb = (server.resident_kb() - before) / load.users
    lines: list[tuple[Round, float]] = []
    for number in range(1, rounds + 1):
        cpu = server.cpu()
        progress = functools.partial(_progress_of, f"{load.label}: round {number} of {rounds}")
        outcome = generator.round(load.events, load.rate, progress)
        lines.append((outcome, server.cpu() - cpu))
    generator.close()
    if faults := sum(outcome.faults for outcome, _ in lines):
        raise SystemExit(f"{faults} frames were out of order or had a gap")
    return _line(load, lines, each_kb)


def _line(load: Load, lines: Sequence[tuple[Round, float]], each_kb: float) -> str:
    rates = [outcome.events / outcome.seconds for outcome, _ in lines]
    costs = [cpu * 100_000 / outcome.events for outcome, cpu in lines]
    p50, p99 = (_spread([_quantile(outcome.latencies, q) / 1e6 for outcome, _ in lines], 2) for q in (0.5, 0.99))
    batch = statistics.median(outcome.events / outcome.frames for outcome, _ in lines)
    busy = statistics.median(outcome.busy for outcome, _ in lines)
    cells = (
        load.label,
        _spread(rates, 0),
        _spread(costs, 3),
        p50,
        p99,
        f"{each_kb:.1f}",
        f"{batch:.1f}",
        f"{busy:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, and the range of all."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def _quantile(values: list[int], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _progress(text: str) -> None:
    now = time.monotonic()
    if sys.stderr.isatty() and now - _shown[0] > 0.1:
        _shown[0] = now
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _progress_of(title: str, done: int) -> None:
    _progress(f"{title}, {done} events")


_shown = [0.0]


def _pin(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core]})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def machine() -> str:
    """What this ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown processor")
    packages = ", ".join(f"{name} {version(name)}" for name in ("trio", "trio-websocket", "orjson"))
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {platform.system()} {platform.release()}, {python}, {packages}"


def main() -> None:
    """Measure the standard loads, or the one that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, help="one load only: how many users at once")
    parser.add_argument("--events", type=int, default=200, help="events of each user's run (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=0, help="events a second of each user, 0 for a burst (default: %(default)s)"
    )
    parser.add_argument("--log", choices=["memory", "sqlite"], default="memory", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--results", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    loads = STANDARD if options.users is None else (Load(options.log, options.users, options.events, options.rate),)
    _pin(0, 1)
    lines: list[str] = []
    for load in loads:
        lines.append(measure(load, options.rounds))
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        print("\n".join([HEADER, lines[0]]) if len(lines) == 1 else lines[-1], flush=True)
    if options.results is not None:
        command = f"python bench/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}"
        text = RESULTS.format(
            machine=machine(), command=command, table="\n".join([HEADER, *lines]), rounds=options.rounds
        )
        options.results.write_text(text)


RESULTS = """# Measured

Generated by `{command}` on {machine}.

## Concurrent users

One server process on one core, all users in another process on another core. A user is a session, a connection and a
run; events are about 200 bytes; every user checks that no event is missing, doubled or out of order. Medians of
{rounds} rounds, with their range. The whole product is in the path: session actor, grammar, ring, log (with sqlite:
committed before it is delivered), resume. *KB per user* is what a connected, idle session with its connection adds to
the process. *p50* and *p99* are from the emit to the arrival, in a burst of the last event of each frame. Where the
users' process is busy near 100 %, it and not the server is the limit.

{table}
"""

if __name__ == "__main__":
    main()
