"""An arena for attacks: a server, a healthy neighbour, and attackers on real sockets of this machine.

The neighbour sends command after command during an attack. Its waits are counted in turns of the event loop, and the
work of each task in one turn is counted in function calls of the server. Both are the same on a slow machine. Each test
has a ``MockClock`` (conftest.py), so that limits of minutes take no time.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import socket
import sys
import tracemalloc
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio
import trio.testing
import trio_websocket
import wsproto
from protocol.agents import make_app
from protocol.raw import told
from protocol.wire import greeted_in_memory

import actors
import transport
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
    from types import FrameType

    from protocol.wire import Client

    from actors import EventLog
    from transport import Server, Settings

TURNS = 25
"""Maximum number of turns of the event loop from a command of the neighbour to its event: 15 without an attack."""
CALLS = 2_000
"""Maximum number of function calls of the server in one turn of one task: about a millisecond."""
PACE = 20
"""Number of turns from an event of the neighbour to its next command. They must be turns of others."""
PATIENCE = 600.0
"""Virtual time in seconds after which an attacker counts as connected for ever."""
SPARE_BYTES = 20 * 1024
"""Memory that the server may hold beyond the baseline after an attack, such as larger tables.

One connection takes about 25,000 bytes.
"""
ATTACKERS = 3
"""Number of attackers at once, unless a test has a reason for another number."""
NEWCOMER = "127.0.0.9"
"""The address of the client that comes after an attack. The attackers have another one."""

_PARTS = (actors, transport, trio_websocket, wsproto)
_NAMES = tuple(module.__name__ for module in _PARTS)
_FOLDERS = tuple(str(module.__file__).removesuffix("__init__.py") for module in _PARTS)
_STORED = ("streams", "eventlog", "sessions/_command")
"""Rooms of events and remembered commands. Their number is limited elsewhere, and differs from attack to attack."""
_STORED_FILES = tuple(f"{_FOLDERS[0]}{room}" for room in _STORED)
# A count of refusals is kept for a minute: one for each reason, whatever the number of attackers.
_STORED_NAMES = (
    *(f"{_NAMES[0]}.{room.replace('/', '.')}" for room in _STORED),
    "transport.server._refusals._Count",
)

HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
"""The head of a request for a WebSocket, without the empty line at its end."""


@attrs.frozen
class Got:
    """Everything that an attacker got from the server, until the server ended the connection."""

    status: int = 0
    """Status of the HTTP answer. 0 if there was none."""
    code: int = 0
    """Code of the close frame. 0 if there was none."""
    frames: tuple[dict[str, Any], ...] = attrs.field(default=(), eq=False)
    body: bytes = attrs.field(default=b"", eq=False)
    """Bytes after the head of the HTTP answer."""

    @classmethod
    def read(cls, data: bytes) -> Got:
        """Read the bytes. A frame that breaks off must be the last one, and nothing may follow a close frame."""
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head else 0
        frames: list[dict[str, Any]] = []
        body, code = rest, 0
        while status == 101 and len(rest) >= 2:
            assert not code, "a frame follows the close frame"
            size, start = rest[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(rest[2:start], "big")
            if len(rest) < start + size:
                break
            opcode, payload, rest = rest[0] & 15, rest[start : start + size], rest[start + size :]
            if opcode == 1:
                frames.append(json.loads(payload))
            elif opcode == 8:
                code = int.from_bytes(payload[:2], "big")
        return cls(status, code, tuple(frames), b"" if status == 101 else body)


class Attacker:
    """A client that sends any bytes, on a real socket."""

    def __init__(self, stream: trio.SocketStream, number: int) -> None:
        self.stream = stream
        self.number = number
        """Number of this attacker among those that attack together, from 0."""
        self.received = b""
        self.left = False

    async def send(self, data: bytes) -> bool:
        """Send bytes. Return False if the server has ended the connection."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)
            return True
        return False

    async def read(self, until: bytes = b"\0no such bytes\0") -> None:
        """Read until these bytes have come, or until the server ends the connection."""
        with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
            while until not in self.received and (data := await self.stream.receive_some()):
                self.received += data

    async def upgrade(self, *headers: bytes) -> None:
        """Open the WebSocket."""
        await self.send(HEAD + b"".join(header + b"\r\n" for header in headers) + b"\r\n")
        await self.read(b"\r\n\r\n")

    async def hello(self, session: str = "attacked", **fields: Any) -> None:
        """Open the WebSocket, say hello, and wait for the welcome."""
        await self.upgrade()
        await self.tell("hello", session=session, **fields)
        await self.read(b'"type":"welcome"')

    async def tell(self, type_: str, **fields: Any) -> bool:
        """Send a frame of the protocol."""
        return await self.send(told(type_, **fields))

    def reset(self) -> None:
        """Leave with RST: the kernel sends no more bytes, and no FIN."""
        self.left = True
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.stream.socket.close()

    async def leave(self) -> None:
        """Leave with FIN, without a close frame."""
        self.left = True
        await self.stream.aclose()


Attack: TypeAlias = "Callable[[Attacker], Awaitable[object]]"
"""What one attacker does. Afterwards it reads until the server ends the connection, unless it has left."""


class Meter(trio.abc.Instrument):
    """A trio instrument that counts the turns of the event loop, and the server's calls in one turn of one task."""

    def __init__(self) -> None:
        self.turns = self.calls = self.most_calls = self._before = 0
        self._waiting: tuple[int, trio.lowlevel.Task] | None = None

    def after_io_wait(self, timeout: float) -> None:
        self.turns += 1
        if self._waiting is not None and self.turns >= self._waiting[0]:
            self.wake()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = self.calls

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most_calls = max(self.most_calls, self.calls - self._before)

    def note(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a call of the server's code. This is the function of a profiler."""
        if (event == "call" or event == "c_call") and frame.f_code.co_filename.startswith(_FOLDERS):  # noqa: PLR1714 - faster, and called for each call
            self.calls += 1

    async def pass_turns(self, number: int) -> None:
        """Wait until the loop has taken so many turns, or until :meth:`wake`. The wait itself causes no turn."""

        def forget(_: Any) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting = (self.turns + number, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(forget)

    def wake(self) -> None:
        """End the wait of the task in :meth:`pass_turns`."""
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting[1])
            self._waiting = None


@contextmanager
def metered() -> Iterator[Meter]:
    """Count turns and calls inside the block."""
    meter = Meter()
    trio.lowlevel.add_instrument(meter)
    sys.setprofile(meter.note)
    try:
        yield meter
    finally:
        sys.setprofile(None)
        trio.lowlevel.remove_instrument(meter)


class Neighbour:
    """A healthy client in memory: the kernel does not decide when its bytes arrive, so its turns can be counted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.epoch = str(client.welcome["epoch"])
        """The epoch of the neighbour's session."""
        self._came = trio.Event()
        self._numbers = itertools.count()

    async def listen(self) -> None:
        """Answer pings, and notice events."""
        while True:
            received = json.loads(await self._client.socket.recv())
            if received["type"] == "ping":
                await self._client.send("pong")
            if received["type"] == "events":
                self._came.set()

    async def talk(self, meter: Meter, attacked: Callable[[], bool]) -> list[int]:
        """Send a command and wait for its event, again and again until the attack is over.

        Return the number of turns from each command to its event.
        """
        waits: list[int] = []
        while not waits or attacked():
            began, self._came = meter.turns, trio.Event()
            number = str(next(self._numbers))
            await self._client.send("command", id=number, name="message.send", args={"text": number})
            await self._came.wait()
            waits.append(meter.turns - began)
            if attacked():
                await meter.pass_turns(PACE)
        return waits


@attrs.frozen
class Held:
    """The resources of this process."""

    tasks: int
    files: int
    objects: Counter[str]
    """Number of the server's objects, by class."""
    memory: int
    """Number of bytes that the server's code and the WebSocket library asked for. What it has stored is not counted."""

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        traces = tracemalloc.take_snapshot().traces
        names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
        places = ((each.size, each.traceback[0].filename) for each in traces)
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names are enough
            Counter(name for name in names if name.startswith(_NAMES) and not name.startswith(_STORED_NAMES)),
            sum(size for size, place in places if place.startswith(_FOLDERS) and not place.startswith(_STORED_FILES)),
        )


class Errors(logging.Handler):
    """The lines of the log that are errors, or have a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.lines.append(record.getMessage())


class Arena:
    """A server with its neighbour."""

    def __init__(
        self, server: Server, site: PageServer | None, port: int, neighbour: Neighbour, token: str | None
    ) -> None:
        self.server = server
        self.site = site
        """The HTTP server of the pages, if it is attacked. None if the endpoint is attacked."""
        self.cost = 0
        """Number of function calls of the server for one attacker, in the last attack."""
        self.neighbour = neighbour
        self._port = port
        self._token = token

    async def connect(self, source: str = "127.0.0.1", number: int = 0) -> Attacker:
        """Open a TCP connection to the attacked port, from an address of this machine."""
        return Attacker(await trio.open_tcp_stream("127.0.0.1", self._port, local_address=source), number)

    async def endure(self, attack: Attack, times: int = ATTACKERS, earlier: int = 2) -> list[Got]:
        """Let that many attackers attack at once. Return what they got, in the order of their numbers.

        Check what the neighbour saw, and that all resources are back at the baseline. The baseline is taken after an
        earlier attack of a few attackers, so that it has what a process makes only once.
        """
        await self._wave(attack, earlier)
        before = await self._held()
        meter, waits, got = await self._wave(attack, times)
        after = await self._held()
        self.cost = meter.calls // times
        assert max(waits) <= TURNS, waits
        assert meter.most_calls <= CALLS
        assert (after.tasks, after.files) == (before.tasks, before.files)
        assert after.objects - before.objects == {}
        assert after.memory - before.memory <= SPARE_BYTES
        await self.welcome_newcomer()
        return got

    async def endure_each(self, attack: Attack, names: Collection[str]) -> dict[str, Got]:
        """Let one attacker for each name attack at once. Return what they got, by name."""
        got = await self.endure(attack, len(names), len(names))
        return dict(zip(names, got, strict=True))

    async def welcome_newcomer(self) -> None:
        """Check that a new client from another address is served by the endpoint."""
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(self.server), local_address=NEWCOMER)
        newcomer = Attacker(stream, 0)
        await newcomer.hello("newcomer", token=self._token)
        assert b'"welcome"' in newcomer.received
        await newcomer.leave()
        await self._held()

    def _connections(self) -> int:
        site = 0 if self.site is None else self.site.statistics().connections
        return self.server.endpoint.statistics().connections + site

    async def _wave(self, attack: Attack, times: int) -> tuple[Meter, list[int], list[Got]]:
        """Attack. Return the meter, the waits of the neighbour, and what the attackers got."""
        got: dict[int, Got] = {}

        async def one(number: int) -> None:
            attacker = await self.connect(number=number)
            async with attacker.stream:
                await attack(attacker)
                if not attacker.left:
                    await attacker.read()
            got[number] = Got.read(attacker.received)
            if len(got) == times:
                meter.wake()

        with metered() as meter:
            async with trio.open_nursery() as nursery:
                for number in range(times):
                    nursery.start_soon(one, number)
                waits = await self.neighbour.talk(meter, lambda: len(got) < times)
        return meter, waits, [got[number] for number in range(times)]

    async def _held(self) -> Held:
        """Wait until the attackers' connections have gone. Return the resources."""
        with trio.fail_after(PATIENCE):
            while self._connections() > 1:  # noqa: ASYNC110 - there is no such event
                await trio.sleep(0.5)  # the clock jumps, so it takes no time
        await trio.testing.wait_all_tasks_blocked()
        return Held.now()


def port_of(server: Server) -> int:
    """Return the port of the endpoint."""
    return int(server.url.rstrip("/").rpartition(":")[2])


async def open_site(server: Server, nursery: trio.Nursery, settings: Settings) -> tuple[PageServer, int]:
    """Serve the pages. Return their server, and its port."""
    listeners = listen("127.0.0.1", 0)
    port = int(listeners[0].getsockname()[1])
    site = PageServer(pages(ws_url=server.url, agent="echo", health=Health), settings)
    await nursery.start(serve_http, site, listeners)
    return site, port


@asynccontextmanager
async def arena(
    auth: Any = None,
    token: str | None = None,
    *,
    of_pages: bool = False,
    log: str | EventLog = "memory:",
    origins: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[Arena]:
    """Run a server and its neighbour inside the block. At the end of the block, check that the log has no error.

    Args:
        auth: The auth function of the server.
        token: The neighbour's token.
        of_pages: Whether the pages are served too, and their port is attacked.
        log: The event log.
        origins: The origins of the server's own pages.
        settings: Changes to the settings. The neighbour may send any number of commands, and little of it is kept.
    """
    little = {"ring_events": 16, "retain_events": 16, "command_memory_seconds": 0, "commands_burst": 100_000}
    quiet = {"loop_stall_seconds": 1000.0}  # the clock stands still, and this would let it jump only in small steps
    errors = Errors()
    logging.getLogger("greenroom").addHandler(errors)
    gc.collect()
    gc.freeze()  # only objects that are made from now on are counted
    tracemalloc.start(1)
    try:
        app = make_app(log, auth, **{**little, **quiet, **settings})
        async with app.running(port=0, origins=origins) as server:
            async with greeted_in_memory(server, "neighbour", token=token) as client, trio.open_nursery() as nursery:
                await client.send("pong")  # all that the server makes for its first pong is in the baseline
                neighbour = Neighbour(client)
                nursery.start_soon(neighbour.listen)
                site, port = await open_site(server, nursery, app.settings) if of_pages else (None, port_of(server))
                yield Arena(server, site, port, neighbour, token)
                nursery.cancel_scope.cancel()
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        logging.getLogger("greenroom").removeHandler(errors)
    assert errors.lines == []
