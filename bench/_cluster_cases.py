"""The cases of ``cluster.py``: which nodes there are, where the clients are, and the load on them."""

from __future__ import annotations

import enum
import json
import math
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import _loading
import _peer_store
import _process
import attrs
from _peer_loads import BURST, PACED, WARM_SECONDS, figures
from _peer_subjects import SERVERS, Server

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from _generator import Report
    from _live import Live

CORES = sorted(os.sched_getaffinity(0))
OWNED = 500
"""Maximum number of users whose sessions one node runs for the clients of the other. More sessions share users."""

OPENING = 64
"""Number of mirrors that begin at the same time. With more, the last one of them would wait for its answer too long."""
STARTS_PER_SECOND = 50
"""Lower bound of the runs that a node starts per second for clients of the other. No run may end before all began."""


class Place(enum.Enum):
    """The place of the clients."""

    HERE = "one node"
    """At the only node."""
    ELSEWHERE = "the other node"
    """At a node that owns none of their sessions: each session has a mirror."""
    BOTH = "two nodes"
    """At two nodes, of which each owns the sessions of its clients."""


@attrs.frozen(kw_only=True)
class Case:
    """Nodes, and a load on them. The first ``uncounted`` rounds of the load warm up."""

    name: str
    load: _loading.Load
    place: Place = Place.HERE
    uncounted: int = 0

    @contextmanager
    def running(self, log: str) -> Generator[_loading.Target]:
        """Run the nodes inside the block, each on its own core as far as there are enough."""
        with ExitStack() as stack:
            owned = min(OWNED, self.load.users) if self.place is Place.ELSEWHERE else 0
            first = stack.enter_context(_process.measured(log, CORES[0], owned=owned))
            if self.place is Place.HERE:
                yield _loading.Target.of(first)
                return
            second = stack.enter_context(_process.measured(log, CORES[1 % len(CORES)]))
            target = _loading.Target.of(first, second)
            yield attrs.evolve(target, ports=(second.port,)) if self.place is Place.ELSEWHERE else target


def cases(seconds: float, mirrors: Sequence[int], rate: float) -> list[Case]:
    """Return all cases, with paced loads of ``seconds``. ``rate`` is the events per second of all mirrors together."""
    found: list[Case] = []
    for load in (PACED, BURST):
        for place in Place:
            # Two nodes have the load of one each.
            users = load.users * (2 if place is Place.BOTH else 1)
            words = attrs.evolve(load.words(seconds, "greenroom"), users=users, spin=False)
            found.append(Case(name=f"{load.name}, {place.value}", load=words, place=place, uncounted=load.uncounted))
    loads = {number: _mirrors(number, rate, seconds) for number in mirrors}
    return found + [Case(name=f"{number} mirrors", load=load, place=Place.ELSEWHERE) for number, load in loads.items()]


def _mirrors(number: int, rate: float, seconds: float) -> _loading.Load:
    each = rate / number
    events = math.ceil((number / STARTS_PER_SECOND + WARM_SECONDS + seconds + 10) * each)
    return _loading.Load(
        users=number, events=events, rate=each, warm=WARM_SECONDS, window=seconds, cut=True, opening=OPENING
    )


VALKEY = Server(
    name="greenroom-valkey",
    title="**Greenroom, valkey**",
    runtime="trio",
    script="../_server.py",
    dialect="greenroom",
    stores=True,
)
PEER = next(one for one in SERVERS if one.name == "socket.io-streams")
BESIDE = (VALKEY, PEER)
"""The servers that are compared: both keep their events in a server of Valkey."""


def measure(program: Path, case: Case, live: Live) -> dict[str, float]:
    """Return the figures of a case on fresh nodes, with a fresh server of Valkey. The generator has all cores."""
    with _store() as store, case.running(_url(store)) as nodes, tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        users = min(OWNED, case.load.users) if case.place is Place.ELSEWHERE else case.load.users
        tokens.write_text("".join(f"user-{number % users}\n" for number in range(case.load.users)))
        target = attrs.evolve(nodes, pids=(*nodes.pids, store.pid))
        load = attrs.evolve(case.load, tokens=tokens)
        rounds = _loading.run(program, load, target, live.tell, ",".join(map(str, CORES))).rounds
    return case_figures(rounds[case.uncounted :])


def case_figures(rounds: Sequence[Report]) -> dict[str, float]:
    """Return the figures of the rounds of one case. The last process is the server of Valkey, the others are nodes."""
    events = sum(one["events"] for one in rounds)
    each = [sum(cpus) * 100_000 / events for cpus in zip(*(one["each_cpu"] for one in rounds), strict=True)]
    parts = {"nodes": sum(each[:-1]), "first": each[0], "second": sum(each[1:-1]), "valkey": each[-1]}
    return figures(rounds) | parts


def beside(program: Path, server: Server, seconds: float, live: Live) -> dict[str, float]:
    """Return the figures of a server with its Valkey server on one core, as in ``peers.py``."""
    found: dict[str, float] = {}
    for load in (PACED, BURST):
        with _kept(server) as target:
            words = load.words(seconds, server.dialect)
            rounds = _loading.run(program, words, target, live.tell).rounds
        found |= {f"{load.name} {name}": value for name, value in figures(rounds[load.uncounted :]).items()}
    return found


def commits(log: str) -> dict[str, float]:
    """Measure the commits of ``sqlite`` or ``valkey``, in a process of its own.

    Raises SystemExit with the output of the process if it fails.
    """
    with ExitStack() as stack:
        is_valkey = log == "valkey"
        url = _url(stack.enter_context(_store())) if is_valkey else stack.enter_context(_process.log_url(log))
        command = ["taskset", "-c", str(CORES[0]), sys.executable, str(_process.HERE / "_commit_work.py"), url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        raise SystemExit(f"{log}: {done.stderr.strip()}")
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


@contextmanager
def _store() -> Generator[_peer_store.Store]:
    with _peer_store.running(CORES[-1]) as store:
        os.sched_setaffinity(store.pid, set(CORES))
        yield store


@contextmanager
def _kept(server: Server) -> Generator[_loading.Target]:
    if server is not VALKEY:
        with server.running() as target:
            yield target
        return
    with _peer_store.running() as store, _process.measured(_url(store)) as measured:
        yield _loading.Target((measured.port,), (measured.pid, store.pid))


def _url(store: _peer_store.Store) -> str:
    return store.url.replace("redis://", "valkey://")
