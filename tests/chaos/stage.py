"""The stage of a chaos test: nodes as processes on one Valkey server, with a link on each way."""

from __future__ import annotations

import signal
import struct
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
from _links import Link
from _valkey import Server
from chaos.histories import SESSION, Entry, Stored, read_record
from delivery.agents import CALLS
from delivery.process import ServerProcess
from delivery.tabs import agent_calls

from actors import LogUnavailable
from actors.eventlog._valkey_options import ValkeyOptions
from actors.eventlog.valkey import ValkeyLog
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors import StreamKey

CLOCK = Path(__file__).with_name("clock")
"""The folder of the module that shifts the time of day of a node."""


class Node(ServerProcess):
    """A node. Each of its processes has a name of its own, so that it can join before an earlier one is removed."""

    def __init__(self, folder: Path, lease: float, to_valkey: Link, nursery: trio.Nursery) -> None:
        folder.mkdir()
        self.to_valkey = to_valkey
        """The way from the node to Valkey."""
        self.to_node = Link(nursery, self.open_stream)  # type: ignore[arg-type]  # a TCP stream
        """The way from clients to the node."""
        self._lease = lease
        self._starts = 0
        self.name = folder.name
        super().__init__(folder)
        self.paths.insert(0, str(CLOCK))
        self.variables["CHAOS_CLOCK"] = str(folder / "clock")
        self.set_clock(0)

    async def start(self) -> None:
        """Start the process until it is ready. A process that cannot reach Valkey ends, and is started again."""
        while True:
            await self.spawn()
            if await self.becomes_ready():
                return
            await self.wait_for_end()

    async def spawn(self) -> None:
        """Start the process without waiting for it."""
        self._starts += 1
        self.name = f"{self.folder.name}-{self._starts}"
        text = f"from chaos.node import app_for\napp = app_for({self.to_valkey.url!r}, {self.name!r}, {self._lease})\n"
        (self.folder / "app.py").write_text(text)
        await super().spawn()

    def set_clock(self, seconds: float) -> None:
        """Let the time of day of the process, and of later ones, be so many seconds ahead of that of the machine."""
        path = self.folder / "clock"
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))

    def pause(self) -> None:
        """Stop the process until :meth:`go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped process continue."""
        self.process.send_signal(signal.SIGCONT)

    def record(self) -> list[list[Entry]]:
        """Return the entries of each process, and the calls of agents in all of them."""
        records = [read_record(path) for path in sorted(self.folder.glob("*.record"))]
        if (self.folder / CALLS).exists():
            records.append([Entry("call", user, run_id=run_id) for user, run_id in agent_calls(self)])
        return records


@attrs.define(eq=False)
class Stage:
    """The running nodes, the Valkey server, and a log on it that no link harms."""

    valkey: Server
    log: ValkeyLog
    nodes: list[Node]
    lease: float
    beats: Counter[str] = attrs.Factory(Counter[str])
    """Number of answered beats of each process, by its name."""
    beaten: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    async def start(self, node: Node) -> None:
        """Start a node, and count its beats."""
        await node.start()
        channel = self.log.valkey.keys.channel(node.name)
        self.log.valkey.listen(channel, partial(self._on_message, node.name), lambda: None)

    def _on_message(self, name: str, message: bytes) -> None:
        if message == b"beat":
            self.beats[name] += 1
            self.beaten.unpark_all()

    async def until_up(self) -> None:
        """Wait until :attr:`log` is connected."""
        for link in self.log.valkey.links:
            while not link.up:
                await link.changed()

    async def until_beaten(self, node: Node, count: int) -> None:
        """Wait until a node has beaten so many times more."""
        end = self.beats[node.name] + count
        while self.beats[node.name] < end:
            await self.beaten.park()

    async def pass_by(self, beats: int) -> None:
        """Let quarters of a lease pass by."""
        with trio.move_on_after(beats * self.lease / 4):
            await trio.sleep_forever()

    async def until_removed(self, node: Node) -> None:
        """Wait until a process is no longer registered, or has joined again with another incarnation."""
        before = await self._registered(node)
        while await self._registered(node) == before != b"":
            await self.beaten.park()

    async def _registered(self, node: Node) -> bytes:
        while True:
            try:
                found = await self.log.valkey.reads.call(b"HGET", self.log.valkey.keys.nodes, node.name)
            except LogUnavailable:  # Valkey is harmed, too
                await self.until_up()
            else:
                return bytes(found or b"").partition(b" ")[0]

    async def stored(self) -> dict[StreamKey, Stored]:
        """Return all sessions in the log."""
        sessions: dict[StreamKey, Stored] = {}
        for key in await self.log.streams():
            assert key.session == SESSION
            head = await self.log.head(key)
            assert head is not None
            assert head.oldest == 1
            lines: list[bytes] = []
            while len(lines) < head.latest:
                lines += await self.log.read(key, len(lines), 10_000, 1 << 26)
            sessions[key] = Stored(head.epoch, lines)
        return sessions


@asynccontextmanager
async def stage(folder: Path, nodes: int, lease: float) -> AsyncGenerator[Stage]:
    """Run Valkey and nodes inside the block. At its end all processes are killed."""
    with Server("--appendfsync", "always", append=True) as valkey:
        async with trio.open_nursery() as nursery, _log_on(valkey) as log:
            made: list[Node] = []
            for number in range(nodes):
                link = Link(nursery, partial(trio.open_unix_socket, valkey.path))
                await link.listen()
                made.append(Node(folder / f"n{number}", lease, link, nursery))
            ready = Stage(valkey, log, made, lease)
            try:
                async with trio.open_nursery() as starting:
                    for node in made:
                        starting.start_soon(ready.start, node)
                yield ready
            finally:
                with trio.CancelScope(shield=True):
                    for node in made:
                        await end(node)
            nursery.cancel_scope.cancel()


def _log_on(valkey: Server) -> ValkeyLog:
    """Return a log for the test. Its calls may take long, because the machine may be busy."""
    return ValkeyLog(parse_address(valkey.url), ValkeyOptions(timeout_seconds=60), read_only=True)


async def end(node: Node) -> None:
    """Kill a node if it was started and still runs."""
    if hasattr(node, "process") and node.process.returncode is None:
        await node.kill()
