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
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from attacks.attacker import PATIENCE, Attacker, Got
from attacks.meter import Errors, Held, Meter, metered
from protocol.agents import make_app
from protocol.wire import greeted_in_memory

from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from attacks.attacker import Attack
    from protocol.wire import Client

    from actors import EventLog
    from transport import Server, Settings

TURNS = 25
"""Maximum number of turns of the event loop from a command of the neighbour to its event: 15 without an attack."""
CALLS = 2_100
"""Maximum number of function calls of the server in one turn of one task: about a millisecond."""
PACE = 20
"""Number of turns from an event of the neighbour to its next command. They must be turns of others."""
SPARE_BYTES = 20 * 1024
"""Memory that the server may hold beyond the baseline after an attack, such as larger tables.

One connection takes about 25,000 bytes.
"""
FEW = 64
"""Limit on connections of an address where many of them come and go.

The tables of so few connections take less than the spare memory in any order of events. Those of the usual 256 take
27,000 bytes each, and reach this size only after thousands of connections.
"""
ATTACKERS = 3
"""Number of attackers at once, unless a test has a reason for another number."""
NEWCOMER = "127.0.0.9"
"""The address of the client that comes after an attack. The attackers have another one."""


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
        # On a busy machine the last task of the earlier attack may end only after the baseline was taken.
        assert after.tasks <= before.tasks
        assert after.files <= before.files
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
    # The clock stands still, and a stall would let it jump only in small steps. On a busy machine it may jump far: then
    # the session of the earlier attack would end before the baseline is taken.
    quiet = {"loop_stall_seconds": 1000.0, "idle_seconds": 1_000_000.0}
    errors = Errors()
    logging.getLogger("greenroom").addHandler(errors)
    gc.collect()
    gc.freeze()  # only objects that are made from now on are counted; older ones stay frozen, see tests/conftest.py
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
        logging.getLogger("greenroom").removeHandler(errors)
    assert errors.lines == []
