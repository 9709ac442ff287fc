"""The cost of an attack to a neighbour: the delays of one client's events during each flood, and without any.

Two attackers from two loopback addresses flood the server in one way, for one window; then comes the next way. The
first window of each round has no attack. The server has its default limits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import _attacks
import _process
import _results
import _running
import _verdicts
from _verdicts import Goal
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from websockets.sync.connection import Connection

IDLE = "none"
KINDS = (IDLE, *_attacks.ATTACKS)
RATE = 250
"""Events per second of the neighbour."""
ATTACKERS = 2
SETTLE_SECONDS = 0.5
"""Time from the start of the attackers to the first event that counts, and from their end to the next window."""
BOUND = 3
HEADER = ("attack", "p50 ms", "p99 ms", "longest ms", "attempts of the attackers")


@contextmanager
def attacked(kind: str, port: int, seconds: float) -> Generator[list[int]]:
    """Run the attackers inside the block. At its end, the list holds the number of attempts of each."""
    attempts: list[int] = []
    with ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        for number in range(0 if kind == IDLE else ATTACKERS):
            words = ["--port", str(port), "--source", f"127.0.0.{number + 2}", "--seconds", str(seconds)]
            command = [sys.executable, str(_process.HERE / "_attacks.py"), kind, *words]
            running.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)))  # noqa: S603 - ours
            os.sched_setaffinity(running[-1].pid, {_process.GENERATOR_CORE})
        yield attempts
        for process in running:
            said, _ = process.communicate(timeout=seconds + 20)
            attempts.append(json.loads(said)["attempts"])


def ages(neighbour: Connection, seconds: float) -> Iterator[float]:
    """Read events for some seconds. Yield the delay of each in ms, from its emission to its arrival."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        frame: dict[str, Any] = json.loads(neighbour.recv(timeout=20))
        if frame["type"] == "ping":
            neighbour.send('{"type":"pong"}')
        now = time.monotonic_ns()
        for event in frame.get("events", ()):
            if event["type"] == "agent_output":
                yield (now - int(event["data"]["text"].split(" ", 1)[0])) / 1e6


@contextmanager
def neighbour_of(port: int, session: str, seconds: float) -> Generator[Connection]:
    """Connect a client inside the block, and start a run that emits events for a little longer than ``seconds``."""
    url = f"ws://127.0.0.1:{port}/"
    with connect(url, compression=None, proxy=None, ping_interval=None, close_timeout=0.1) as one:
        one.send(json.dumps({"type": "hello", "session": session, "token": "neighbour"}))
        job = {"events": round(RATE * (seconds + SETTLE_SECONDS)), "rate": RATE}
        arguments = {"agent": "load", "input": job}
        one.send(json.dumps({"type": "command", "id": "1", "name": "run.start", "args": arguments}))
        yield one


def window(kind: str, port: int, session: str, seconds: float) -> dict[str, float]:
    """Measure the neighbour during one attack. Return the quantiles of its delays, and the attackers' attempts."""
    whole = seconds + 2 * SETTLE_SECONDS
    with neighbour_of(port, session, whole) as one:
        for _ in ages(one, SETTLE_SECONDS):
            pass
        with attacked(kind, port, whole) as attempts:
            for _ in ages(one, SETTLE_SECONDS):
                pass
            found = sorted(ages(one, seconds))
    time.sleep(SETTLE_SECONDS)
    return {
        "p50": found[len(found) // 2],
        "p99": found[len(found) * 99 // 100],
        "longest": found[-1],
        "attempts": sum(attempts),
    }


def row(kind: str, windows: list[dict[str, float]]) -> list[str]:
    """Return the line of one kind of attack."""
    delays = [_results.spread([one[key] for one in windows], 2) for key in ("p50", "p99", "longest")]
    return [kind, *delays, _results.spread([one["attempts"] for one in windows], 0)]


def main() -> None:
    """Measure each kind of attack in turn, several times."""
    parser = _running.parser(__doc__, 5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each window (default: %(default)s)")
    options = parser.parse_args()
    _process.allow_files()
    os.sched_setaffinity(0, {_process.GENERATOR_CORE})
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with _process.measured(limits="default") as server:
        for _ in range(options.repetitions):
            for kind in KINDS:
                session = f"s{sum(map(len, found.values()))}"
                found[kind].append(window(kind, server.port, session, options.seconds))
    base = [one["p99"] for one in found[IDLE]]
    goals = [
        Goal(f"p99 of a neighbour, attack: {kind}", BOUND, "ms").beside([one["p99"] for one in found[kind]], base)
        for kind in _attacks.ATTACKS
    ]
    parts = [
        EXPLAINED.format(attackers=ATTACKERS, rate=RATE, seconds=options.seconds, repetitions=options.repetitions),
        _results.table(HEADER, [row(kind, windows) for kind, windows in found.items()]),
        _results.table(_verdicts.HEADER, goals),
    ]
    _running.publish(options.results, "hostile", "A neighbour of attackers", parts)


EXPLAINED = """
One client gets {rate} events a second, while {attackers} attackers from two loopback addresses flood the server, which
has its default limits. An attacker that is cut off connects again at once. Each window is {seconds:g} s; medians of
{repetitions} interleaved windows of each kind with their range. The attackers share a core with the measuring
client, and get only the time that it leaves.
"""

if __name__ == "__main__":
    main()
