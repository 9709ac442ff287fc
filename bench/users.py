"""Concurrent users over real sockets: the events that one server delivers, their delays and their cost.

Without --users: the standard loads, each against a fresh server of its own on one core, with the users on another.
With --users: one load, against a fresh server or, with --url, any that speaks greenroom.v1:

  users.py --users 2000 --rate 5 --events 100 --ramp 200 --log sqlite
  users.py --users 500 --storms 3 --slow 20 --slow-bytes 1000
  users.py --users 50 --url ws://127.0.0.1:8765/ --token-key SECRET --agent assistant --input '"Othello"' --pid 4711
"""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import _generator
import _live
import _loading
import _process
import _running
import _users_report
import _verdicts
from _loading import Load, Target
from _users_report import Measured

from transport import TokenAuth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Sequence

    from _live import Live

TOKEN_SECONDS = 3600.0
STANDARD = (
    ("memory", Load(users=200, events=200, rounds=3, spin=True)),
    ("sqlite", Load(users=200, events=200, rounds=3, spin=True)),
    ("memory", Load(users=200, events=200, rounds=3, agent="custom", spin=True)),
    ("memory", Load(users=1000, events=200, rounds=2, spin=True)),
    ("sqlite", Load(users=1000, events=200, rounds=2, spin=True)),
    ("memory", Load(users=500, events=200, rate=20, warm=1, window=3, cut=True, spin=True)),
    ("sqlite", Load(users=500, events=200, rate=20, warm=1, window=3, cut=True, spin=True)),
    ("memory", Load(users=1000, events=200, rate=20, warm=1, window=3, cut=True, spin=True)),
    ("sqlite", Load(users=1000, events=200, rate=20, warm=1, window=3, cut=True, spin=True)),
)


def standard(program: Path, repetitions: int, live: Live) -> list[Measured]:
    """Measure the standard loads, interleaved, each against a fresh server."""
    results = [Measured(log, load) for log, load in STANDARD]
    for repetition in range(repetitions):
        for one in results:
            live.begin(f"{one.title}, {repetition + 1} of {repetitions}")
            with _process.log_url(one.log) as url, _process.measured(url) as server:
                _run(program, one, Target.of(server), live)
    return results


def single(program: Path, options: argparse.Namespace, load: Load, live: Live) -> Measured:
    """Measure one load: against a fresh server each time, or repeatedly against the server at ``--url``."""
    measured = Measured(options.url or options.log, load, is_local=not options.url or bool(options.pid))
    for repetition in range(options.repetitions):
        live.begin(f"{measured.title}, {repetition + 1} of {options.repetitions}")
        with ExitStack() as stack:
            if options.url:
                target = remote(options.url, options.pid)
            else:
                url = stack.enter_context(_process.log_url(options.log))
                target = Target.of(stack.enter_context(_process.measured(url)))
            _run(program, measured, target, live)
    return measured


def _run(program: Path, measured: Measured, target: Target, live: Live) -> None:
    def tell(report: _generator.Report) -> None:
        live.tell(report)
        measured.tell(report)

    _loading.run(program, measured.load, target, tell)


def remote(url: str, pids: Sequence[int]) -> Target:
    """Return the target of a URL. Raises SystemExit with one line if the generator cannot use it."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise SystemExit(f"{url}: {error}") from None
    if parts.scheme != "ws" or not host:
        raise SystemExit(f"{url}: a ws:// URL is needed; the generator speaks no TLS")
    try:
        addresses = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise SystemExit(f"{url}: {error.strerror}") from None
    path = f"{parts.path or '/'}{parts.query and f'?{parts.query}'}"
    return Target((port,), tuple(pids), str(addresses[0][4][0]), path)


@contextmanager
def tokens(options: argparse.Namespace) -> Generator[Path | None]:
    """Return a file with a token for each user, or None if each token is the user's name."""
    if options.token is None and options.token_key is None:
        yield options.token_file
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tokens"
        if options.token is not None:
            words = [options.token] * options.users
        else:
            issuer = TokenAuth(str(options.token_key))
            words = [issuer.issue(f"user-{number}", TOKEN_SECONDS) for number in range(options.users)]
        target.write_text("\n".join([*words, ""]))
        yield target


def one_load(options: argparse.Namespace, token_file: Path | None) -> Load:
    """Return the load of the options. Raises SystemExit with one line if they contradict each other."""
    if options.slow >= options.users:
        raise SystemExit(f"--slow {options.slow}: fewer than the {options.users} users are to be slow")
    lasting = options.events / options.rate if options.rate else 0.0
    if options.window and options.input is None and lasting <= options.warm + options.window:
        raise SystemExit(f"--window: a run lasts {lasting:g} s, which is less than the measured part of it")
    return Load(
        users=options.users,
        events=options.events,
        rate=options.rate,
        agent=options.agent,
        rounds=options.rounds,
        warm=options.warm,
        window=options.window,
        ramp=options.ramp,
        storm=options.storms,
        away=round(options.away * 1000),
        apart=options.slow,
        apart_bytes=options.slow_bytes,
        input=options.input,
        tokens=token_file,
        tolerant=True,
    )


def main() -> None:
    """Measure the standard loads, or the load of the options."""
    parser = _parser()
    options = parser.parse_args()
    if options.users is None and options.url:
        parser.error("--url needs --users")
    _process.allow_files()
    with _generator.compiled() as program, _live.shown() as live:
        if options.users is None:
            measured = standard(program, options.repetitions, live)
        else:
            with tokens(options) as file:
                measured = [single(program, options, one_load(options, file), live)]
    busy = [one["busy"] for load in measured for one in (*load.rounds, *load.storms)]
    if not busy:
        raise SystemExit(f"nobody was served; {_users_report.faults(measured[0])}")
    parts = [_users_report.table(measured)] if measured[0].rounds else []
    if options.users is None:
        parts = [
            EXPLAINED.format(repetitions=options.repetitions),
            _loading.NEVER_SLEEPS,
            *parts,
            _users_report.goals(measured),
        ]
    else:
        parts += [_users_report.storms(measured[0]), _users_report.details(measured[0])]
    parts.append(_verdicts.note_on_generator(busy))
    if options.plot is not None:
        _users_report.plot(measured, options.plot)
    _running.publish(
        options.results,
        "users",
        "Concurrent users",
        [part for part in parts if part],
        lambda image: _users_report.plot(measured, image),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _running.parser(__doc__, 3)
    add = parser.add_argument
    add("--plot", type=Path, metavar="FILE.svg", help="draw the ages of events and the server's CPU time and memory")
    load = parser.add_argument_group("one load").add_argument
    load("--users", type=int, help="how many users at once, each with a session, a connection and a run")
    load("--events", type=int, default=200, help="events of each user's run (default: %(default)s)")
    load("--rate", type=float, default=0, help="events a second of each, 0 for a burst (default: %(default)s)")
    logs = ["memory", "sqlite", "sqlite FULL", "sqlite inline"]
    load("--log", choices=logs, default="memory", help="(default: %(default)s)")
    load("--agent", default="load", help="load (text), custom (nested values), or one of --url (default: %(default)s)")
    load("--rounds", type=int, default=3, help="runs of each user in a repetition (default: %(default)s)")
    load("--ramp", type=int, default=0, help="users that connect in a second, 0 for all at once (default: %(default)s)")
    load("--warm", type=float, default=0, help="s before the window, once all have begun (default: %(default)s)")
    load("--window", type=float, default=0, help="measure s of each round, 0 for all (default: %(default)s)")
    load(
        "--storms", type=int, default=0, help="how often all are cut off in a run and come back (default: %(default)s)"
    )
    load("--away", type=float, default=1, help="s that they stay away (default: %(default)s)")
    load("--slow", type=int, default=0, help="users that read slowly, and are not measured (default: %(default)s)")
    load("--slow-bytes", type=int, default=0, help="bytes a second that they read (default: %(default)s, never)")
    there = parser.add_argument_group("a server that is there, instead of one of our own").add_argument
    there("--url", help="ws://HOST:PORT/ of any server that speaks greenroom.v1")
    there("--input", help="the agent's input, JSON; then a round ends with every user's run, whatever it emits")
    there("--token", help="the token of all users")
    there("--token-key", help="the key with which each user's token is signed (HS256)")
    there("--token-file", type=Path, help="a file with a token a line, one for each user")
    there("--pid", type=int, nargs="+", default=[], help="its processes, to tell their CPU time and memory")
    return parser


EXPLAINED = """
A user is a session, a connection and a run; events are about 200 bytes: *load* emits text, *custom* a nested value.
Every user checks that no event is missing, doubled or out of order. Medians of all rounds of {repetitions} interleaved
repetitions, with their range. The whole product is in the path: session actor, grammar, ring, log (with sqlite:
committed before it is delivered), resume. Delays are from the emit to the arrival, of every event; paced rounds are
measured for 3 s, from 1 s after the last run has begun. *KB per user* is what a connected, idle session with its
connection adds to the process: its ring of newest events is empty then, and full of events of this size it is 250 KB.
"""

if __name__ == "__main__":
    main()
