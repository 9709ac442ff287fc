"""Compression of what a server sends: the bytes that permessage-deflate (RFC 7692) saves, and its CPU time.

Two kinds of traffic, as agents make it: text in tokens, and whole runs with thoughts, tools and their results. Their
events are put into frames as the server does, of at least 1, 4 and 16 KB, and deflated by zlib in every way that a
server may choose. The CPU time is compared with what a server spends on such frames, measured here, too. At the end
a server with the setting ``compress_bytes`` sends bursts to clients that offer compression, and to clients that do not.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import _generator
import _live
import _loading
import _process
import _results
import _running
import _tabs
import attrs
import orjson
from _peer_loads import BURST, FIRST, PACED, figures
from websockets.sync.client import ClientConnection, connect

from transport.protocol.server_frames import events_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from _live import Live

LEAST_SAVED, MOST_CPU = 3.0, 1.3
"""Compression is worth its code if it saves so many times the bytes, for so many times the CPU time at most."""
SIZES = (1024, 2048, 4096, 16_384)
EVENTS = 4000
INPUT = '{"events":200}'
KINDS = {"tokens": "text in tokens", "runs": "runs with tools"}
"""The agents whose events are deflated, and their names in the table."""
HEADER = (
    "traffic",
    "frame",
    "context",
    "level",
    "fewer bytes",
    "µs an event",
    "CPU, burst",
    "CPU, frame by frame",
    "worth it",
)
USERS, RUN_EVENTS = 20, 4000
SCENES = ((1024, 1, False), (1024, 3, False), (4096, 1, False), (4096, 1, True))
"""Of the real server: ``compress_bytes``, the tabs of each user, and whether they come after the run and catch up."""
REAL_HEADER = (
    "traffic",
    "tabs",
    "`compress_bytes`",
    "MB without",
    "MB with",
    "fewer bytes",
    "CPU s without",
    "CPU s with",
    "CPU",
)
_SYNC_TAIL = b"\x00\x00\xff\xff"
"""The end of a flushed block, which the sender leaves out: RFC 7692, section 7.2.1."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int, /) -> bytes: ...


@attrs.frozen
class Way:
    """A way to deflate: with a context for each message, or one that is ``kept`` for the connection.

    The window has 2 ** ``window`` bytes; zlib takes 2 ** (``window`` + 2) + 2 ** (``memory`` + 9) for a context.
    """

    title: str
    kept: bool
    level: int
    window: int = 15
    memory: int = 8

    def deflated(self, messages: Sequence[bytes]) -> list[bytes]:
        """Return the payload of each message after it was deflated."""
        compressor = self._new()
        payloads: list[bytes] = []
        for message in messages:
            if not self.kept:
                compressor = self._new()
            deflated = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
            payloads.append(deflated.removesuffix(_SYNC_TAIL))
        return payloads

    def _new(self) -> _Compressor:
        return zlib.compressobj(self.level, zlib.DEFLATED, -self.window, self.memory)


WAYS = tuple(
    Way(title, kept, level, window, memory)
    for title, kept, window, memory in (
        ("of each message", False, 15, 8),
        ("kept, 256 KB a connection", True, 15, 8),
        ("kept, 32 KB a connection", True, 12, 5),
    )
    for level in (1, 6)
)


@attrs.frozen
class Base:
    """The CPU time of a server in µs: of an event that is sent ``alone``, and of one more in the same frame."""

    alone: float
    more: float

    def times(self, compressing: float, events: float) -> tuple[float, float]:
        """Return the CPU time with compression beside that without: in a burst, and where each frame comes by itself.

        ``compressing`` is the time of one event in µs, ``events`` the number of events of a frame.
        """
        alone = (self.alone + (events - 1) * self.more) / events
        return (self.more + compressing) / self.more, (alone + compressing) / alone


def lines_of(agent: str) -> list[bytes]:
    """Return the lines of the events of one run of an agent, as a client gets them."""
    args = {"agent": agent, "input": {"events": EVENTS}}
    hello, start = {"type": "hello", "session": "s1"}, {"type": "command", "id": "1", "name": "run.start", "args": args}
    events: list[dict[str, Any]] = []
    with ExitStack() as stack:
        server = stack.enter_context(_process.measured())
        url = f"ws://127.0.0.1:{server.port}/"
        client: ClientConnection = stack.enter_context(connect(url, compression=None, proxy=None))
        for message in (hello, start):
            client.send(orjson.dumps(message), text=True)
        while not events or events[-1]["type"] != "agent_completed":
            events += orjson.loads(client.recv()).get("events", [])
    return [orjson.dumps(event) for event in events]


def frames(lines: Sequence[bytes], least: int) -> list[bytes]:
    """Return messages of at least ``least`` bytes with these events. The last events may be left out."""
    made: list[bytes] = []
    waiting: list[bytes] = []
    for line in lines:
        waiting.append(line)
        if sum(map(len, waiting)) >= least:
            made.append(events_message(waiting))
            waiting = []
    return made


def cost(way: Way, messages: Sequence[bytes], events: int, repetitions: int) -> float:
    """Return the µs of CPU time to deflate one event, the median of ``repetitions``."""
    taken: list[float] = []
    for _ in range(repetitions):
        before = time.process_time()
        way.deflated(messages)
        taken.append(time.process_time() - before)
    return statistics.median(taken) * 1e6 / events


def base(program: Path, repetitions: int, live: Live) -> dict[str, Base]:
    """Measure each kind of traffic without compression: in a burst to 200 users. Alone is an event of 500 users."""
    loads = {agent: _loading.Load(users=BURST.users, rounds=3, agent=agent, input=INPUT, spin=True) for agent in KINDS}
    loads[PACED.name] = PACED.words(1, "greenroom")
    found: dict[str, list[float]] = {name: [] for name in loads}
    for repetition in range(repetitions):
        for name, load in loads.items():
            live.begin(f"without compression, {name}, {repetition + 1} of {repetitions}")
            with _process.measured() as server:
                target = _loading.Target.of(server)
                _loading.run(program, FIRST, target)
                rounds = _loading.run(program, load, target, live.tell).rounds
            found[name].append(10 * figures(rounds[-2:])["cpu"])
    medians = {name: statistics.median(costs) for name, costs in found.items()}
    return {agent: Base(medians[PACED.name], medians[agent]) for agent in KINDS}


@attrs.frozen
class Kind:
    """A kind of traffic: the name in the table, the events' lines, and their cost without compression."""

    title: str
    lines: Sequence[bytes]
    base: Base

    def row(self, least: int, way: Way, repetitions: int) -> list[str]:
        """Return the line of one way to deflate frames of at least ``least`` bytes."""
        messages = frames(self.lines, least)
        events = sum(message.count(b'{"seq":') for message in messages)
        saved = sum(map(len, messages)) / sum(map(len, way.deflated(messages)))
        taken = cost(way, messages, events, repetitions)
        burst, single = self.base.times(taken, events / len(messages))
        worth = "yes" if saved >= LEAST_SAVED and burst <= MOST_CPU and single <= MOST_CPU else "no"
        cells = [f"{saved:.1f}", f"{taken:.2f}", f"{burst:.2f}", f"{single:.2f}", worth]
        return [self.title, f"{least // 1024} KB", way.title, str(way.level), *cells]

    def said(self) -> str:
        """Return the size of an event, and its cost in a burst."""
        size = statistics.mean(map(len, self.lines))
        return f"{self.title}, {size:.0f} bytes an event: {self.base.more:.2f} µs in a burst"


def real(agent: str, scene: tuple[int, int, bool], repetitions: int, live: Live) -> list[str]:
    """Return the row of a real server that sends to clients with and without the offer of compression, in turn."""
    least, tabs, late = scene
    os.environ["GREENROOM_COMPRESS_BYTES"] = str(least)
    found: dict[bool, list[_tabs.Taken]] = {False: [], True: []}
    for repetition, offers in itertools.product(range(repetitions), found):
        live.begin(f"real server, {agent}, {scene}, {repetition + 1} of {repetitions}, compressed: {offers}")
        with _process.measured() as server:
            _tabs.Burst(users=2, tabs=tabs, agent=agent, events=200, late=late).run(server, offers=offers)
            burst = _tabs.Burst(users=USERS, tabs=tabs, agent=agent, events=RUN_EVENTS, late=late)
            found[offers].append(burst.run(server, offers=offers))
    del os.environ["GREENROOM_COMPRESS_BYTES"]
    size, cpu = (
        [statistics.median(getattr(taken, name) for taken in found[offers]) for offers in found]
        for name in ("megabytes", "cpu")
    )
    shown = f"{tabs}, late" if late else str(tabs)
    cells = [f"{each:.1f}" for each in (*size, size[0] / size[1])]
    return [KINDS[agent], shown, f"{least:,}", *cells, *(f"{each:.2f}" for each in (*cpu, cpu[1] / cpu[0]))]


def main() -> None:
    """Measure all ways, and the real server."""
    options = _running.parser(__doc__, 5).parse_args()
    with _generator.compiled() as program, _live.shown() as live:
        beside = base(program, options.repetitions, live)
        measured = [real(agent, scene, options.repetitions, live) for agent, scene in itertools.product(KINDS, SCENES)]
    kinds = [Kind(title, lines_of(agent), beside[agent]) for agent, title in KINDS.items()]
    rows = [kind.row(least, way, options.repetitions) for kind, least, way in itertools.product(kinds, SIZES, WAYS)]
    said = "; ".join(kind.said() for kind in kinds)
    explained = EXPLAINED.format(repetitions=options.repetitions, alone=kinds[0].base.alone, said=said)
    parts = [explained, _results.table(HEADER, rows), DECISION, REAL, _results.table(REAL_HEADER, measured)]
    _running.publish(options.results, "compression", "Compression", parts)


EXPLAINED = """
permessage-deflate (RFC 7692) by zlib, of frames with at least so many bytes. *Fewer bytes* is the ratio of the sizes
without and with it, *µs an event* the CPU time of zlib, the median of {repetitions} runs. *CPU* is the server's CPU
time with it beside that without: in a burst to 200 users, and *frame by frame*, where the first event of each frame
costs what one does that is sent alone, {alone:.1f} µs with the agent's timer. Without compression: {said}.
"""
DECISION = f"""
It is worth it if it saves {LEAST_SAVED:g} times the bytes for {MOST_CPU:g} times the CPU time at most, in a burst and
frame by frame. A context for each message needs no memory of a connection, and an idle session with its connection
takes less than the smallest kept one. So Greenroom does this with the setting `compress_bytes`: level 1, a context of
each message, from 4,096 bytes on if you follow the table. It is off by default.
"""
REAL = f"""
A real server with `compress_bytes`, and a burst of {RUN_EVENTS:,} events to each of {USERS} users: medians. *Without*
are clients that do not offer it. *Late* tabs come after the runs and get all events at once, in messages of 64 KB; the
others get them as they are made, about 32 in a message. All bytes to the clients are counted, and all CPU time of the
server, in which the agents run: late tabs are served without them. One message for several tabs is compressed once.
"""

if __name__ == "__main__":
    main()
