"""A bad network between a client and a server. It carries bytes, and harms connections as its seed decides.

It sleeps on the clock of the test: for real pauses on ``trio.testing.MockClock``, which jumps, and for very short
ones on a real clock.

The harm of a connection is drawn when it opens. After ``harms`` connections the network is good, so that every
scenario ends. The same seed draws the same harms.
"""

from __future__ import annotations

import collections
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

Harm: TypeAlias = Literal["none", "refuse", "cut", "delay", "stall", "half-close", "zombie", "mirror"]
# refuse: no connection. cut: both ends are closed. delay: each piece waits. stall: one long pause in one direction.
# half-close: one direction ends, and the other is never closed. zombie: the client's end is closed, but the server
# learns it late. mirror: a second connection sends the same bytes to the server.
HARMS: tuple[Harm, ...] = ("refuse", "cut", "cut", "delay", "stall", "half-close", "zombie", "mirror")

_PIECES = 24
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class Plan:
    """The harm that the network does to one connection.

    It comes after ``after`` bytes to the client (or, if ``down`` is False, to the server), and takes ``seconds`` if it
    has a duration. ``split`` is the largest number of pieces into which received data is cut.
    """

    harm: Harm
    down: bool
    after: int
    seconds: float
    split: int

    @classmethod
    def draw(cls, rng: random.Random, *, harmless: bool, slowness: float) -> Plan:
        """Draw a plan. ``slowness`` multiplies the times: 1 on a clock that jumps, close to 0 on a real one."""
        return cls(
            harm="none" if harmless else rng.choice(HARMS),
            down=rng.random() < 0.7,
            # The upgrade and the hello are some 300 bytes: some harms come in their middle.
            after=rng.choice([rng.randrange(1, 400), rng.randrange(400, 4_000), rng.randrange(4_000, 80_000)]),
            seconds=rng.choice([0.5, 3, 9, 15, 40, 400]) * slowness,
            split=rng.choice([1, 2, 5, _PIECES]),
        )


class Proxy:
    """A carrier of connections between clients and a server. ``dial`` opens a connection to the server.

    The tasks of the carrier run in ``nursery``.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        rng: random.Random,
        dial: Callable[[], Awaitable[trio.abc.HalfCloseableStream]],
        *,
        harms: int,
        slowness: float = 1.0,
    ) -> None:
        self._nursery = nursery
        self._rng = rng
        self._dial = dial
        self._left = harms
        self._slowness = slowness
        self.done: collections.Counter[Harm] = collections.Counter()
        """Number of times each harm was done."""

    def plan(self) -> Plan:
        """Draw the harm of the next connection."""
        plan = Plan.draw(self._rng, harmless=self._left <= 0, slowness=self._slowness)
        self._left -= 1
        return plan

    async def connect(self, pair: Callable[[], tuple[Any, Any]]) -> trio.abc.HalfCloseableStream:
        """Open a connection and return the client's end. Raise ``OSError`` if the plan refuses it."""
        plan = self.plan()
        if plan.harm == "refuse":
            self.done["refuse"] += 1
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError("the network refuses")
        ours, theirs = pair()
        self._nursery.start_soon(self.carry, theirs, plan)
        return ours  # type: ignore[no-any-return]  # a stream of the pair's kind

    async def accept(self, stream: trio.SocketStream) -> None:
        """Carry a connection that came in on a socket."""
        plan = self.plan()
        if plan.harm == "refuse":
            self.done["refuse"] += 1
            await trio.aclose_forcefully(stream)
        else:
            await self.carry(stream, plan)

    async def carry(self, client: trio.abc.HalfCloseableStream, plan: Plan) -> None:
        """Carry one connection until it ends."""
        server = await self._dial()
        wire = _Wire(self, client, server, plan, self._rng)
        try:
            if plan.harm == "mirror":
                self.done["mirror"] += 1
                wire.mirror = await self._dial()
                self._nursery.start_soon(_drain, wire.mirror)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(wire.pump, client, server, nursery, down=False))
                nursery.start_soon(partial(wire.pump, server, client, nursery, down=True))
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(client)
                if wire.orphaned:
                    self._nursery.start_soon(wire.linger)
                else:
                    await wire.close()


@attrs.define(eq=False)
class _Wire:
    """One connection on its way between a client and the server."""

    proxy: Proxy
    client: trio.abc.HalfCloseableStream
    server: trio.abc.HalfCloseableStream
    plan: Plan
    rng: random.Random
    mirror: trio.abc.HalfCloseableStream | None = None
    orphaned: bool = False
    """Whether the client's end is closed and the server's end is still open."""
    late: bytes = b""
    """Last bytes from the client. They reach the server after the client's end is closed."""

    async def pump(self, source: Any, sink: Any, nursery: trio.Nursery, *, down: bool) -> None:
        """Carry the bytes of one direction, piece by piece."""
        passed = 0
        harmed = self.plan.down is not down or self.plan.harm in ("none", "mirror")
        try:
            while data := await source.receive_some(65_536):
                for piece in self.split(bytes(data)):
                    if self.plan.harm == "delay" and not harmed:
                        self.proxy.done["delay"] += not passed
                        await trio.sleep(self.rng.uniform(0, self.plan.seconds / 10))
                    passed += len(piece)
                    if not harmed and self.plan.harm != "delay" and passed > self.plan.after:
                        harmed = True
                        await self.harm(piece, sink, nursery)
                    await self.send(sink, piece, down=down)
            await sink.send_eof()
        except _BROKEN:
            nursery.cancel_scope.cancel()

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield ``data`` in random pieces."""
        cuts = sorted(self.rng.randrange(len(data) + 1) for _ in range(self.rng.randrange(self.plan.split)))
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            if begin < end:
                yield data[begin:end]

    async def send(self, sink: Any, piece: bytes, *, down: bool) -> None:
        """Send a piece to ``sink``. A piece for the server also goes to the mirror connection, if there is one."""
        if self.mirror is not None and not down:
            try:
                await self.mirror.send_all(piece)
            except _BROKEN:
                self.mirror = None
        await sink.send_all(piece)

    async def harm(self, piece: bytes, sink: Any, nursery: trio.Nursery) -> None:
        """Do the harm of the plan, which may end the connection."""
        self.proxy.done[self.plan.harm] += 1
        if self.plan.harm == "stall":
            await trio.sleep(self.plan.seconds)
            return
        if self.plan.harm == "half-close":
            await sink.send_eof()
            await trio.sleep_forever()
        if self.plan.harm == "zombie":
            self.orphaned = True
            self.late = b"" if self.plan.down else piece
        nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()

    async def linger(self) -> None:
        """Keep the server's end open for a time. Send it the client's last bytes and drop its answers."""
        try:
            await trio.sleep(self.plan.seconds)
            with trio.move_on_after(self.plan.seconds * 10):
                if self.late:
                    await self.server.send_all(self.late)
                await _drain(self.server)
        except _BROKEN:
            pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections to the server at once."""
        with trio.CancelScope(shield=True):
            for stream in (self.server, self.mirror):
                if stream is not None:
                    await trio.aclose_forcefully(stream)


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    """Read to the end of the stream and drop the data."""
    try:
        while await stream.receive_some(65_536):
            pass
    except _BROKEN:
        pass
