"""A server is killed in mid-stream, and started again: the events that its clients do not get, or get twice.

Each client starts a run, whose agent notes the time of each event in a file of its own once the emit is over. Half of
the clients leave a second before the server is killed, the others are connected then. All come back to the next server
with the position that they had, as the protocol's own client library does. What the agents noted and no client got is
lost.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import uuid
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _process
import attrs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _peer_subjects import Server

CLIENTS, RATE = 40, 20
FLOWING_EVENTS, AWAY_SECONDS, BACK_SECONDS = 5, 1.0, 1.0
"""Events of each client before half of them leave, time that these are away, and time to get what was missed."""
_PATIENCE_SECONDS = 30
_STAMP = re.compile(r'"text":"(\d+)')


@attrs.define
class Lost:
    """The events of one kind of clients: how many were emitted, ``lost``, and got ``twice``.

    ``untold`` is the number of clients that lost events and were not told so.
    """

    emitted: int = 0
    lost: int = 0
    twice: int = 0
    untold: int = 0


@attrs.define
class Client:
    """A client and the events that it got. ``told`` is whether it was told that events may be missing.

    ``flowing`` is set once it has ``FLOWING_EVENTS``.
    """

    dialect: str
    file: Path
    got: list[str] = attrs.Factory(list[str])
    told: bool = False
    flowing: asyncio.Event = attrs.Factory(asyncio.Event)
    _session: str = attrs.Factory(lambda: uuid.uuid4().hex)
    _epoch: str = ""
    _position: str = ""
    _connection: ClientConnection | None = None

    async def come(self, port: int, path: str) -> None:
        """Connect, with the position of the last time if there is one."""
        self._connection = await connect(
            f"ws://127.0.0.1:{port}{path}", compression=None, proxy=None, ping_interval=None
        )
        if self.dialect == "greenroom":
            hello: dict[str, Any] = {"type": "hello", "session": self._session, "token": self._session}
            if self._epoch:
                hello["resume"] = {"epoch": self._epoch, "seq": int(self._position or 0)}
            await self._connection.send(json.dumps(hello))
            welcome = json.loads(await self._connection.recv())
            self.told = "reset" in welcome
            self._epoch = welcome["epoch"]
            return
        await self._connection.recv()  # Engine.IO's own greeting
        known = {"pid": self._epoch, "offset": self._position} if self._position else None
        await self._connection.send(f"40{json.dumps(known) if known else ''}")
        while not (message := str(await self._connection.recv())).startswith("40"):
            self._take(message)  # a recovered session gets what it missed before it is connected
        found = json.loads(message[2:]).get("pid", "")
        # Its client library says `recovered` if the private id is the one that it had.
        self.told = bool(known) and found != self._epoch
        self._epoch = found

    async def start(self) -> None:
        """Start a run that goes on until the server is killed."""
        assert self._connection is not None
        if self.dialect == "greenroom":
            job: dict[str, Any] = {"events": 10_000, "rate": RATE, "file": str(self.file)}
            args = {"agent": "noted", "input": job}
            await self._connection.send(json.dumps({"type": "command", "id": "1", "name": "run.start", "args": args}))
        else:
            job = {"k": 10_000, "rate": RATE, "file": str(self.file)}
            await self._connection.send(f"42{json.dumps(['run', job])}")

    async def read(self) -> None:
        """Read what comes, until the connection is over."""
        assert self._connection is not None
        try:
            async for message in self._connection:
                self._take(str(message))
        except ConnectionClosed:
            pass

    def leave(self) -> None:
        """Cut the connection off, as a lost network does."""
        assert self._connection is not None
        self._connection.transport.abort()

    def result(self) -> Lost:
        """Return the comparison with what the agent noted."""
        noted = self.file.read_text().split()
        counts = Counter(self.got)
        lost = sum(stamp not in counts for stamp in noted)
        twice = sum(count - 1 for count in counts.values())
        return Lost(len(noted), lost, twice, int(bool(lost) and not self.told))

    def _take(self, message: str) -> None:
        if self.dialect != "greenroom":
            if message == "2":
                return
            if not message.startswith("42"):
                return
            packet = json.loads(message[2:])
            if len(packet) > 2:
                self._position = packet[2]
        elif message.startswith('{"type":"events"'):
            self._position = str(json.loads(message)["events"][-1]["seq"])
        self.got += _STAMP.findall(message)
        if len(self.got) >= FLOWING_EVENTS:
            self.flowing.set()


def killed(server: Server) -> dict[str, Lost]:
    """Return what was lost of the clients that were ``connected`` when the server was killed, and of those ``away``."""
    with tempfile.TemporaryDirectory() as folder, server.keeping() as kept:
        clients = [Client(server.dialect, Path(folder) / str(number)) for number in range(CLIENTS)]
        away, connected = clients[::2], clients[1::2]
        port = _process.free_port()
        with ExitStack() as first:
            first.enter_context(server.serving(kept, port))
            asyncio.run(_before(clients, away, port, server.path, first))
        with server.serving(kept, port):
            asyncio.run(_after(clients, port, server.path))
        return {"connected": _sum(connected), "away": _sum(away)}


async def _before(clients: Sequence[Client], away: Sequence[Client], port: int, path: str, server: ExitStack) -> None:
    await _come(clients, port, path)
    async with asyncio.TaskGroup() as group:
        for client in clients:
            await client.start()
            group.create_task(client.read())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.gather(*(client.flowing.wait() for client in clients))
        for client in away:
            client.leave()
        await asyncio.sleep(AWAY_SECONDS)
        server.close()


async def _after(clients: Sequence[Client], port: int, path: str) -> None:
    await _come(clients, port, path)
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.read())
        await asyncio.sleep(BACK_SECONDS)
        for client in clients:
            client.leave()


async def _come(clients: Sequence[Client], port: int, path: str) -> None:
    for some in (clients[at : at + 10] for at in range(0, len(clients), 10)):
        await asyncio.gather(*(client.come(port, path) for client in some))


def _sum(clients: Sequence[Client]) -> Lost:
    results = [attrs.astuple(client.result()) for client in clients]
    return Lost(*(sum(column) for column in zip(*results, strict=True)))


def figures(found: dict[str, Lost]) -> dict[str, float]:
    """Return the figures of :func:`killed` by their names, such as ``away lost``."""
    return {f"{kind} {name}": value for kind, lost in found.items() for name, value in attrs.asdict(lost).items()}
