"""A wire without a network: the test plays the client, and decides when the network takes data."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import trio
import trio.testing
from _frame_schemas import check_frame

from transport.protocol.handshake import Accept, Reject
from transport.server._wire import UpgradeRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from transport import Server
    from transport.server._wire import Wire, WireOwner

Frame = dict[str, Any]


class ClientLeft(Exception):
    """Raised when the client of a memory wire has left."""


class MemoryWire:
    """A :class:`~transport.server._wire.Wire` without a network. A test reads and writes its messages."""

    gone: ClassVar[tuple[type[Exception], ...]] = (ClientLeft, trio.BrokenResourceError)

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.blocked = False
        self.frames: list[Frame] = []
        """Frames that the server wrote, whether or not the network took them."""
        self.posted: list[Frame] = []
        """Frames that the server posted, and that nothing has released yet."""
        self.answer: Accept | Reject | None = None
        self.closed: tuple[int, str] | None = None
        """Code and reason of the close frame. None if no close frame was written."""
        self.refused = False
        """Whether the wire itself has written the last words, so that the connection must linger."""
        self.lingered = self.aborted = self.broken = False
        self.progress = 0
        """Number of times that the connection noted progress of the client."""
        self.owner: WireOwner | None = None
        self._to_server, self._from_client = trio.open_memory_channel[str | bytes](math.inf)
        self._drained = trio.Event()

    # The test's side

    async def say(self, type_: str, **fields: object) -> None:
        """Send a frame as the client, and wait until the server has nothing more to do."""
        await self.message(json.dumps({"type": type_, **fields}))

    async def message(self, message: str | bytes) -> None:
        """Send any message as the client, and wait until the server has nothing more to do."""
        self._to_server.send_nowait(message)
        await trio.testing.wait_all_tasks_blocked()

    def leave(self) -> None:
        """Break the connection as the client."""
        self.broken = True
        self._to_server.close()
        self._drained.set()

    async def drain(self) -> None:
        """Let the network take everything, and wait until the server has nothing more to do."""
        self.blocked = False
        self._drained.set()
        self._drained = trio.Event()
        if self.owner is not None:
            self.owner.on_drained()
        await trio.testing.wait_all_tasks_blocked()

    def of_type(self, type_: str) -> list[Frame]:
        """Return the written frames of that type."""
        return [frame for frame in self.frames if frame["type"] == type_]

    def seqs(self) -> list[int]:
        """Return the seqs of all events that were written."""
        return [event["seq"] for frame in self.of_type("events") for event in frame["events"]]

    # The connection's side

    @property
    def blocked_seconds(self) -> float:
        return 1.0 if self.blocked else 0.0

    @property
    def pending(self) -> int:
        """Return 1 while the wire is blocked: the real number of bytes does not matter."""
        return int(self.blocked)

    @property
    def is_open(self) -> bool:
        """Return whether the wire has an owner, and no side has closed it."""
        return self.owner is not None and self.closed is None and not self.broken

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Ask the owner for its answer to an upgrade request, and keep the answer."""
        self.owner = owner
        self.answer = owner.on_upgrade(UpgradeRequest("/", ("greenroom.v1",), ()))
        return None if isinstance(self.answer, Reject) else {}

    async def receive(self) -> str | bytes:
        """Return the next message of the client."""
        try:
            return await self._from_client.receive()
        except trio.EndOfChannel:
            raise ClientLeft from None

    def send(self, payload: bytes) -> None:
        """Note a written frame, after the posted ones."""
        self.release()
        self._note(json.loads(payload))

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Note an ``events`` frame, after the posted ones."""
        self.release()
        self._note({"type": "events", "events": [json.loads(line) for line in lines]})

    def post(self, payload: bytes) -> None:
        """Keep a posted frame until the next one is written."""
        frame = json.loads(payload)
        check_frame(frame)
        self.posted.append(frame)

    def release(self) -> None:
        """Note the posted frames as written."""
        self.frames += self.posted
        self.posted.clear()

    def _note(self, frame: Frame) -> None:
        check_frame(frame)
        self.frames.append(frame)

    async def drained(self) -> None:
        """Wait until the test drains the wire."""
        while self.blocked and not self.broken:
            await self._drained.wait()
        if self.broken:
            raise trio.BrokenResourceError

    def note_progress(self) -> None:
        """Count a sign that the client reads."""
        self.progress += 1

    async def close(self, code: int, reason: str) -> None:
        """Note the close frame."""
        self.closed = (code, reason)

    def finish(self) -> bool:
        """Return whether the client was refused by the wire, as the test says."""
        return self.refused

    async def linger(self) -> None:
        """Note that the connection waits for the client's end."""
        self.lingered = True

    async def abort(self) -> None:
        """Note that the stream was closed."""
        self.aborted = True

    def forget(self) -> None:
        """Drop the reference to the owner of the wire."""
        self.owner = None


def _as_wire(wire: MemoryWire) -> Wire:
    """Return the wire; the type checker sees that it has every method."""
    return wire


@asynccontextmanager
async def serve_on_memory_wire(server: Server, address: str = "") -> AsyncIterator[MemoryWire]:
    """Serve a connection on a memory wire inside the block. At the end of the block the client leaves."""
    wire = MemoryWire(address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve_wire, _as_wire(wire))
        await trio.testing.wait_all_tasks_blocked()
        yield wire
        wire.leave()


@asynccontextmanager
async def serve_welcomed(server: Server, **fields: object) -> AsyncIterator[MemoryWire]:
    """Serve a connection on a memory wire, after its welcome."""
    async with serve_on_memory_wire(server) as wire:
        await wire.say("hello", session="s1", **fields)
        assert wire.frames[0]["type"] == "welcome"
        yield wire
