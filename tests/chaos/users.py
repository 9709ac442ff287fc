"""The clients of a chaos test: each always reads, and sends one command after another, at nodes that it chooses."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import attrs
import trio
from _scale import SOAK, scaled
from chaos.histories import SESSION, ClientHistory, Part, Stored
from delivery.process import FastJitter

from actors import CommandRefused, StreamKey
from transport import Reset, connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.stage import Node
    from delivery.agents import Paced

    from transport import Client

MOMENT = 0.2
"""Seconds after which a tab tries again, if nothing new has come before."""
AGAIN = frozenset({"overloaded", "owner_unreachable", "internal"})
"""The refusals after which a command is sent again with the same id."""


class Jitter(Random):
    """Jitter with which a client that has failed often waits for up to a second. By default it would be up to 20.

    Many clients with shorter delays would keep the machine busy with attempts to connect.
    """

    def uniform(self, a: float, b: float) -> float:
        """Return a number that is at most 1 above ``a``."""
        return super().uniform(a, min(b, a + 1.0))


class Crowd:
    """All clients. They send commands until :meth:`stop`."""

    def __init__(self, rng: Random, nodes: Sequence[Node], users: Sequence[str], work: Paced) -> None:
        self.changed = trio.lowlevel.ParkingLot()
        self.ended = trio.lowlevel.ParkingLot()
        self.events = 0
        """Number of events that all clients got."""
        self.stopped = False
        self.users = frozenset(users)
        self.tabs = [Tab(self, f"{name}-{tab}", name, rng, nodes, work) for name in users for tab in range(2)]

    def stop(self) -> None:
        """Let the clients send no more commands than their last message."""
        self.stopped = True
        for tab in self.tabs:
            tab.news.unpark_all()

    async def until_seen(self, count: int) -> None:
        """Wait until the clients got so many events more."""
        end = self.events + count
        while self.events < end:
            await self.changed.park()

    async def until_finished(self, count: int) -> float:
        """Wait until so many clients have the answers to all their commands. Return the time."""
        while sum(tab.finished for tab in self.tabs) < count:
            await self.ended.park()
        return trio.current_time()

    def is_idle(self) -> bool:
        """Return whether no client has seen a run begin that has not ended."""
        return not any(tab.running for tab in self.tabs)

    def behind(self, stored: Mapping[StreamKey, Stored]) -> list[str]:
        """Return the clients that do not have all events of the log, or whose commands are not all answered."""
        return [tab.history.client for tab in self.tabs if not tab.has_all(stored)]


@attrs.define(eq=False)
class Tab:
    """One client of a user."""

    crowd: Crowd
    name: str
    user: str
    rng: Random
    nodes: Sequence[Node]
    work: Paced
    history: ClientHistory = attrs.Factory(lambda self: ClientHistory(self.name, self.user), takes_self=True)
    finished: bool = False
    """Whether no command is sent any more, and each was answered or refused."""
    running: set[str | None] = attrs.Factory(set[str | None])
    """The runs of the user that the client has seen begin, and not end."""
    news: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    async def run(self) -> None:
        """Read and send commands, until cancelled."""
        jitter = Jitter(self.name) if SOAK else FastJitter(self.name)
        async with (
            connect(
                "ws://node/", SESSION, self.user, open_stream=self._open, rng=jitter, connect_seconds=scaled(2.0, 10.0)
            ) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._read, client)
            await self._send(client)
            self.finished = True
            self.crowd.ended.unpark_all()
            self.crowd.changed.unpark_all()

    async def _open(self, *_: object) -> trio.abc.Stream:
        """Open a connection to any node."""
        return await self.rng.choice(self.nodes).to_node.connect()

    async def _read(self, client: Client) -> None:
        async for item in client.events():
            assert client.position is not None
            part = self.history.parts[-1]
            if isinstance(item, Reset):
                self.history.parts.append(Part(client.position.epoch, item.reason))
                self.running.clear()
            else:
                part.epoch = client.position.epoch
                part.events.append(item)
                self.crowd.events += 1
                if item.type == "agent_started":
                    self.running.add(item.run_id)
                elif item.type == "agent_completed":
                    self.running.discard(item.run_id)
            self.news.unpark_all()
            self.crowd.changed.unpark_all()

    async def _send(self, client: Client) -> None:
        number = 0
        while not self.crowd.stopped:
            number += 1
            if number % 3 == 0:
                await self._message(client, f"{self.user} {self.name} {number}")
            else:
                await self._start(client, f"{self.name} {number}")
            while self.running and not self.crowd.stopped:
                await self.news.park()
        while not await self._message(client, f"{self.user} {self.name} ends {number}"):
            number += 1
            await self._moment()

    async def _start(self, client: Client, command_id: str) -> None:
        outcome = "internal"
        while outcome in AGAIN:
            try:
                await client.start("paced", {"count": self.work.count, "pause": self.work.pause}, command_id=command_id)
            except CommandRefused as refusal:
                outcome = refusal.code
                await self._moment()
            else:
                outcome = "ok"
        self.history.starts[command_id] = outcome

    async def _message(self, client: Client, text: str) -> bool:
        try:
            await client.send(text)
        except CommandRefused as refusal:
            self.history.messages[text] = refusal.code
            return False
        self.history.messages[text] = "ok"
        return True

    async def _moment(self) -> None:
        """Wait for news, but not for long."""
        with trio.move_on_after(MOMENT):
            await self.news.park()

    def has_all(self, stored: Mapping[StreamKey, Stored]) -> bool:
        """Return whether the client has all events of the log, and all its commands were answered."""
        found, part = stored.get(StreamKey(self.user, SESSION)), self.history.parts[-1]
        return self.finished and found is not None and (found.epoch, len(found.lines)) == (part.epoch, len(part.events))
