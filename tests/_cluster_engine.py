"""An engine in memory for fault injection: registered nodes, tokens and appends, with outages and losses of data.

Its delays are those of trio's ``MockClock``.
"""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster._interrupted import has_open_runs
from actors.cluster.interfaces import (
    BeatAnswer,
    Bus,
    Gap,
    Incarnation,
    Members,
    Message,
    NodeInfo,
    Owners,
    Push,
    Token,
)
from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors.cluster.node import ClusterNode
    from actors.eventlog import EventLog, StreamKey


@attrs.define
class Engine:
    """The state of the engine. While ``up`` is False, its users must not call it."""

    up: bool = True
    generation: int = 1
    nodes: dict[str, NodeInfo] = attrs.field(factory=dict[str, NodeInfo])
    tokens: dict[str, Token] = attrs.field(factory=dict[str, Token])
    history: list[tuple[str, Token]] = attrs.field(factory=list[tuple[str, Token]])

    def beat(self, incarnation: Incarnation, info: str, *, join: bool) -> BeatAnswer:
        """Count a beat, as the function of the engine does."""
        found = self.nodes.get(incarnation.node)
        if found is None and not join:
            return BeatAnswer(registered=False, nodes=(), generation=str(self.generation))
        if found is not None and found.incarnation != incarnation:
            return BeatAnswer(registered=False, nodes=(found,), generation=str(self.generation))
        self.nodes[incarnation.node] = NodeInfo(incarnation, (found.beat if found else 0) + 1, info)
        return BeatAnswer(registered=True, nodes=tuple(self.nodes.values()), generation=str(self.generation))

    def bury(self, node: NodeInfo) -> bool:
        """Remove a node if it has not moved."""
        found = self.nodes.get(node.incarnation.node)
        if found is None or found.seen != node.seen:
            return False
        del self.nodes[node.incarnation.node]
        return True

    def leave(self, incarnation: Incarnation) -> None:
        """Remove a node that ends."""
        found = self.nodes.get(incarnation.node)
        if found is not None and found.incarnation == incarnation:
            del self.nodes[incarnation.node]

    def claim(self, user: str, expected: Token | None, token: Token) -> Token | None:
        """Compare and set the token of a user."""
        if self.tokens.get(user) == expected:
            self.tokens[user] = token
        return self.tokens.get(user)

    def append(self, user: str, token: Token) -> bool:
        """Append an event of a user if the token is the stored one."""
        if self.tokens.get(user) != token:
            return False
        self.history.append((user, token))
        return True

    def snapshot(self) -> tuple[dict[str, NodeInfo], dict[str, Token]]:
        """Return a copy of the data."""
        return copy.copy(self.nodes), copy.copy(self.tokens)

    def restore(self, data: tuple[dict[str, NodeInfo], dict[str, Token]]) -> None:
        """Restart the engine with an older copy of its data."""
        self.generation += 1
        self.nodes, self.tokens = copy.copy(data[0]), copy.copy(data[1])

    def release(self, user: str, token: Token) -> bool:
        """Release a user if the token is the stored one."""
        mine = self.tokens.get(user) == token
        if mine:
            self.tokens[user] = token.released()
        return mine


class MemoryMembers(Members):
    """The registered nodes of an engine in memory. While the engine is down, a call fails after ``takes`` seconds."""

    def __init__(self, engine: Engine, bus: MemoryBus) -> None:
        self._engine = engine
        self._bus = bus
        self.takes = 0.0

    async def _reach(self) -> None:
        await trio.sleep(self.takes)
        if not self._engine.up:
            raise LogUnavailable("the engine is down")

    async def beat(self, incarnation: Incarnation, info: str, *, join: bool) -> BeatAnswer:
        await self._reach()
        answer = self._engine.beat(incarnation, info, join=join)
        if answer.registered:
            self._bus.hear()
        return answer

    async def bury(self, node: NodeInfo) -> bool:
        await self._reach()
        return self._engine.bury(node)

    async def leave(self, incarnation: Incarnation) -> None:
        await self._reach()
        self._engine.leave(incarnation)


class MemoryOwners(Owners):
    """The owners of an engine in memory. ``losing`` calls of ``claim`` and ``release`` are done, but not answered."""

    partitions = 2

    def __init__(self, engine: Engine, log: EventLog | None = None) -> None:
        self._engine = engine
        self._log = log
        self.losing = 0
        self.before_claim: trio.Event | None = None

    def _answer(self) -> None:
        if self.losing:
            self.losing -= 1
            raise LogUnavailable("the answer was lost")

    async def owner_of(self, user: str) -> Token | None:
        await trio.lowlevel.checkpoint()
        if not self._engine.up:
            raise LogUnavailable("the engine is down")
        return self._engine.tokens.get(user)

    async def claim(self, user: str, expected: Token | None, token: Token) -> Token | None:
        if self.before_claim is not None:
            await self.before_claim.wait()
        await trio.lowlevel.checkpoint()
        found = self._engine.claim(user, expected, token)
        self._answer()
        return found

    async def release(self, user: str, token: Token) -> bool:
        await trio.lowlevel.checkpoint()
        released = self._engine.release(user, token)
        self._answer()
        return released

    async def open_of(self, partition: int) -> Sequence[StreamKey]:
        assert self._log is not None
        keys = [key for key in await self._log.streams() if self.partition_of(key.user) == partition]
        return [key for key in keys if (head := await self._log.head(key)) and has_open_runs(head)]

    def partition_of(self, user: str) -> int:
        return len(user) % self.partitions


class MemoryBus(Bus):
    """A channel that only hears the beats of its own node."""

    def __init__(self) -> None:
        self._heard = 0.0
        self._connected = 0.0
        self.is_deaf = False
        self.connecting = 0.0
        """The time that a new connection takes, in seconds. A connection that is replaced meanwhile is never made."""
        self.reconnects: list[float] = []

    def hear(self) -> None:
        """Note a message, unless the channel is deaf."""
        if not self.is_deaf and trio.current_time() >= self._connected:
            self._heard = trio.current_time()

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        raise NotImplementedError

    async def receive(self) -> Sequence[Message | Push | Gap]:
        raise NotImplementedError

    def heard_at(self) -> float:
        return self._heard

    def reconnect(self) -> None:
        self.reconnects.append(trio.current_time())
        self._connected = trio.current_time() + self.connecting
        self.is_deaf = False


@asynccontextmanager
async def joined(node: ClusterNode) -> AsyncGenerator[None]:
    """Run a node inside the block. It has joined the cluster when the block begins."""
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        yield
        nursery.cancel_scope.cancel()
