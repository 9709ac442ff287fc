"""One scenario: a server, some clients, a network between them, and the events that each client receives.

Users and networks have real pauses on ``trio.testing.MockClock``, which jumps, and very short ones on a real clock.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio
import trio.testing
from delivery.agents import KEY, Work, server_on
from delivery.proxy import Proxy

from actors import CommandRefused, Event, SqliteLog, decode_event
from actors.testing import FaultyLog
from transport import connect
from transport.client import Reset
from transport.errors import ClientClosed, ConnectionClosedForGood
from transport.protocol.close_codes import NO_HELLO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from actors import Batch, EventLog, Position
    from transport import Server
    from transport.client import Client

PATIENCE = 24 * 3600.0
"""Timeout on the test's clock, in seconds."""


class Recorder(FaultyLog):
    """A log that also keeps every committed line in memory, even after retention has dropped it."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.lines: list[bytes] = []

    async def append(self, batches: Sequence[Batch]) -> None:
        """Append the batches and keep their lines."""
        await super().append(batches)
        for batch in batches:
            if batch.key == KEY:
                self.lines += batch.lines

    def events(self) -> list[Event]:
        """Return all events that were ever committed."""
        return [decode_event(orjson.loads(line)) for line in self.lines]


@attrs.define(eq=False)
class Reader:
    """A tab that reads at its own pace, is refreshed at times, and keeps the events since its last reset."""

    rng: random.Random
    open_stream: Callable[..., Awaitable[trio.abc.Stream]]
    url: str
    slowness: float
    seen: list[Event] = attrs.Factory(list[Event])
    parts: list[list[Event]] = attrs.Factory(list[list[Event]])
    """The events before each reset."""
    connections: int = 0
    duplicates: int = 0
    ready: trio.Event = attrs.field(factory=trio.Event)
    client: Client | None = None

    async def read(self, until: Callable[[], int | None]) -> None:
        """Read up to the event number that ``until`` returns. Refresh at random, from the last position."""
        position: Position | None = None
        refreshes = self.rng.randrange(3)
        buffer = self.rng.choice([4, 64, 1024])
        while True:
            async with connect(
                self.url,
                "s1",
                resume=position,
                open_stream=self.open_stream,
                buffer_events=buffer,
                rng=random.Random(self.rng.random()),
            ) as self.client:
                self.ready.set()
                over = await self._follow(self.client, until, self.rng.randrange(5, 200) if refreshes > 0 else None)
                position = self.client.position
                self.connections += self.client.statistics().connections
                self.duplicates += self.client.statistics().duplicates
            refreshes -= 1
            if over:
                return

    async def _follow(self, client: Client, until: Callable[[], int | None], limit: int | None) -> bool:
        """Take up to ``limit`` items. Return whether the last event was reached."""
        lazy = self.rng.choice([0, 0, 0.05, 0.3])
        events = client.events()
        taken = 0
        while limit is None or taken < limit:
            try:
                with trio.move_on_after(5 * self.slowness):
                    self._take(await anext(events))
                    taken += 1
            except ConnectionClosedForGood as ended:
                # The network held back the hello. No other final close comes from a network. The page is loaded again.
                assert ended.code == NO_HELLO, ended  # noqa: PT017 - any other is a failure with this as its cause
                return False
            if self.rng.random() < lazy:
                await trio.sleep(self.rng.uniform(0, 12) * self.slowness)
            last = until()
            if last is not None and client.position is not None and client.position.seq >= last:
                return True
        return False

    def _take(self, item: Event | Reset) -> None:
        """Keep an event, or begin a new part at a reset."""
        if isinstance(item, Reset):
            self.parts.append(self.seen)
            self.seen = []
        else:
            self.seen.append(item)


@attrs.define
class Outcome:
    """The outcome of a scenario."""

    committed: list[Event]
    readers: list[Reader]
    commands: set[str]
    """Ids of the start commands that were answered with a run."""
    harms: Counter[str]
    resets: int


async def act_as_user(reader: Reader, rng: random.Random, name: str, answered: set[str]) -> None:
    """Start runs and cancel some of them, through the reader's current client."""
    slowness = reader.slowness
    for number in range(rng.randrange(1, 4)):
        await reader.ready.wait()
        assert reader.client is not None
        command_id = f"{name}-{number}"
        work = attrs.asdict(Work(rng.randrange(1 << 30), rng.randrange(1, 40), slowness))
        run_id = await _start_until_answered(reader, command_id, work)
        answered.add(command_id)
        await trio.sleep(rng.uniform(0, 10) * slowness)
        if rng.random() < 0.2:
            await _call_current_client(reader, partial(_cancel, run_id=run_id))


async def _cancel(client: Client, run_id: str) -> bool:
    """Cancel a run."""
    return await client.cancel(run_id)


async def wait_until(is_so: Callable[[], bool], slowness: float) -> None:
    """Check a condition repeatedly until it is true. There is no event to wait for."""
    while not is_so():  # noqa: ASYNC110 - as said
        await trio.sleep(slowness)


async def _start_until_answered(reader: Reader, command_id: str, work: dict[str, Any]) -> str:
    """Start a run with one command id. Repeat it with the next client if one closes before the reply."""

    async def start(client: Client) -> str:
        return await client.start("worker", work, command_id=command_id)

    run_id: str = await _call_current_client(reader, start)
    return run_id


async def _call_current_client(reader: Reader, call: Callable[[Client], Awaitable[Any]]) -> Any:
    """Call with the reader's current client, or with the next one if that client has ended."""
    slowness = reader.slowness
    while True:
        assert reader.client is not None
        try:
            return await call(reader.client)
        except (ClientClosed, ConnectionClosedForGood):
            await trio.sleep(0.1 * slowness)
        except CommandRefused as refusal:
            # The server is just ending the session. A second try finds the next one.
            assert refusal.code in ("internal", "overloaded"), refusal  # noqa: PT017 - the rest must go through
            await trio.sleep(1 * slowness)
        except ValueError:
            # This client still waits for the reply to the same id. Only a refresh sends an id twice.
            await trio.sleep(1 * slowness)


def memory_pair(rng: random.Random) -> Callable[[], tuple[Any, Any]]:
    """Return a function that makes pairs of memory streams, with an unlimited buffer or with none."""
    return trio.testing.memory_stream_pair if rng.random() < 0.5 else trio.testing.lockstep_stream_pair


async def run_in_memory(seed: int, log: EventLog, harms: int, **settings: object) -> Outcome:
    """Run the scenario of a seed over memory streams, on a clock that jumps."""
    rng = random.Random(seed)
    recorder = Recorder(log)
    # The watchdog visits the loop by a real clock. Its visits would make two runs of one seed different.
    settings = {"ring_events": rng.choice([4, 32, 1024]), "loop_stall_seconds": 1e6, **settings}
    async with server_on(recorder, **settings).running(port=0) as server, trio.open_nursery() as nursery:

        async def dial() -> Any:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_pair(rng)()
            nursery.start_soon(server.endpoint.serve, theirs)
            return ours

        def reader() -> tuple[Reader, Proxy]:
            own = random.Random(rng.random())
            proxy = Proxy(nursery, own, dial, harms=own.randrange(harms + 1))
            pair = memory_pair(own)

            async def open_stream(*_: object) -> Any:
                return await proxy.connect(pair)

            return Reader(own, open_stream, "ws://memory/", 1.0), proxy

        readers = [reader() for _ in range(rng.randrange(1, 4))]
        outcome = await run_users_and_tabs(rng, server, recorder, readers, slowness=1.0)
        nursery.cancel_scope.cancel()
    return outcome


async def run_on_sockets(seed: int, path: Path, harms: int, **settings: object) -> Outcome:
    """Run the scenario of a seed over real sockets with a SQLite log, with very short pauses."""
    rng = random.Random(seed)
    recorder = Recorder(SqliteLog(path))
    settings = {"ring_events": rng.choice([4, 32, 1024]), **_QUICK, **settings}
    async with server_on(recorder, **settings).running(port=0) as server, trio.open_nursery() as nursery:
        port = int(server.url.rstrip("/").rpartition(":")[2])

        async def dial() -> Any:
            return await trio.open_tcp_stream("127.0.0.1", port)

        async def reader() -> tuple[Reader, Proxy]:
            own = random.Random(rng.random())
            proxy = Proxy(nursery, own, dial, harms=own.randrange(harms + 1), slowness=_SLOWNESS)
            listeners: Any = await nursery.start(trio.serve_tcp, proxy.accept, 0)
            address = listeners[0].socket.getsockname()[1]

            async def open_stream(*_: object) -> Any:
                return await trio.open_tcp_stream("127.0.0.1", address)

            return Reader(own, open_stream, "ws://127.0.0.1/", _SLOWNESS), proxy

        readers = [await reader() for _ in range(rng.randrange(1, 4))]
        outcome = await run_users_and_tabs(rng, server, recorder, readers, slowness=_SLOWNESS)
        nursery.cancel_scope.cancel()
    return outcome


_SLOWNESS = 0.003
_QUICK = {"ping_seconds": 0.2, "pong_seconds": 0.2, "slow_seconds": 0.1, "hello_seconds": 5.0}


async def run_users_and_tabs(
    rng: random.Random, server: Server, recorder: Recorder, readers: list[tuple[Reader, Proxy]], *, slowness: float
) -> Outcome:
    """Let users start runs while their tabs read, until every tab has received the last event."""
    last: int | None = None
    answered: set[str] = set()
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            for reader, _ in readers:
                nursery.start_soon(reader.read, lambda: last)
            async with trio.open_nursery() as users:
                for number, (reader, _) in enumerate(readers):
                    users.start_soon(act_as_user, reader, random.Random(rng.random()), f"user-{number}", answered)
            await wait_until(lambda: not server.sessions.statistics().runs.running, slowness)
            handle = await server.sessions.get(*KEY)
            await handle.emit("the end", None)
            await wait_until(lambda: b'"the end"' in recorder.lines[-1], slowness)
            last = len(recorder.lines)
    harms: Counter[str] = Counter()
    for _, proxy in readers:
        harms.update(proxy.done)
    tabs = [reader for reader, _ in readers]
    return Outcome(recorder.events(), tabs, answered, harms, sum(len(reader.parts) for reader in tabs))
