"""Nodes of a cluster in one process: one log in memory, one table of owners, and a bus with faults.

Tests use them with a MockClock: all waits are in virtual time.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs
import orjson
import trio

from actors import Agents, MemoryLog, Sessions, SessionSettings, SupervisorSpec, open_system
from actors.cluster._custody import NodeCustody
from actors.cluster._router import Router
from actors.cluster.interfaces import Bus, Gap, Incarnation, Message, NodeInfo, NodeState, Push, Token
from actors.errors import Fenced
from actors.spi import Attach, Command, CommandReply, SessionEnding
from actors.testing.faulty_log import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from actors import Batch, Head, Position, StreamKey
    from actors.cluster._claims import Claims
from actors.spi import Attachment, Cursor


@attrs.define(eq=False)
class Engine:
    """The part of the engine that all nodes share: the log, the owners, the nodes, and the faults of the bus."""

    log: MemoryLog = attrs.Factory(MemoryLog)
    tokens: dict[str, Token] = attrs.Factory(dict[str, Token])
    nodes: dict[str, NodeInfo] = attrs.Factory(dict[str, NodeInfo])
    inboxes: dict[str, trio.MemorySendChannel[Message | Push | Gap]] = attrs.Factory(
        dict[str, "trio.MemorySendChannel[Message | Push | Gap]"]
    )
    faults: random.Random = attrs.Factory(lambda: random.Random(1))
    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    nursery: trio.Nursery | None = None
    sent: int = 0
    deaf: set[str] = attrs.Factory(set[str])
    last: Counter[tuple[str, str]] = attrs.Factory(Counter[tuple[str, str]])
    heard: Counter[tuple[str, str]] = attrs.Factory(Counter[tuple[str, str]])

    def send(self, sender: Incarnation, node: str, body: bytes, kind: type[Message | Push] = Message) -> None:
        """Send a message with the faults that are set."""
        self.sent += 1
        pair = (f"{sender} {kind.__name__}", node)
        self.last[pair] += 1
        for _ in range(1 + (self.faults.random() < self.double)):
            if self.faults.random() >= self.lose and self.nursery is not None:
                message = kind(sender, body)
                if self.delay:
                    self.nursery.start_soon(self._deliver_late, pair, self.last[pair], message)
                else:
                    self._deliver(pair, self.last[pair], message)

    async def _deliver_late(self, pair: tuple[str, str], number: int, message: Message | Push) -> None:
        await trio.sleep(self.delay * self.faults.random())
        self._deliver(pair, number, message)

    def _deliver(self, pair: tuple[str, str], number: int, message: Message | Push) -> None:
        if pair[1] in self.deaf or pair[1] not in self.inboxes:
            return
        if number != self.heard[pair] + 1:
            self.inboxes[pair[1]].send_nowait(Gap(message.sender))
        self.heard[pair] = max(number, self.heard[pair])
        self.inboxes[pair[1]].send_nowait(message)


class FencedLog(FaultyLog):
    """The shared log as one node sees it: only the owner of a user can open a stream, and append."""

    def __init__(self, engine: Engine, node: FakeNode) -> None:
        super().__init__(engine.log)
        self.outlives_process = True
        self.engine, self.node = engine, node
        self.nodes: dict[StreamKey, Sequence[str]] = {}

    def publish_to(self, key: StreamKey, nodes: Sequence[str]) -> None:
        """Send the appends to a stream to these nodes."""
        self.nodes[key] = nodes

    def name_of(self, key: StreamKey) -> bytes:
        """Return the name of a stream in pushes."""
        return f"{key.user}/{key.session}".encode()

    async def open(self) -> None:
        """Do nothing: the log is open."""

    async def close(self) -> None:
        """Do nothing: other nodes use the log."""

    async def make(self, key: StreamKey) -> Head:
        """Open a stream if this node has the token."""
        await self._require(key)
        return await super().make(key)

    async def _require(self, key: StreamKey) -> None:
        if self.engine.tokens[key.user].incarnation != self.node.incarnation:
            await trio.lowlevel.checkpoint()
            raise Fenced("another node owns this user now")

    async def append(self, batches: Sequence[Batch]) -> None:
        """Append if this node has the tokens."""
        for batch in batches:
            await self._require(batch.key)
        texts: dict[str, list[bytes]] = {}
        for batch in batches:
            body = b"\n".join(batch.lines)
            header = b"%b %d %d %d" % (self.name_of(batch.key), batch.first, len(batch.lines), len(body))
            for node in self.nodes.get(batch.key, ()):
                texts.setdefault(node, []).append(header + b"\n" + body)
        await super().append(batches)
        for node, text in texts.items():
            self.engine.send(self.node.incarnation, node, b"\n".join(text), Push)


@attrs.define(eq=False)
class FakeNode:
    """A node whose life the test decides."""

    engine: Engine
    incarnation: Incarnation
    state: NodeState = NodeState.LIVE
    claims: int = 0
    unready: str = ""
    closed: bool = False
    owned: dict[str, Token] = attrs.Factory(dict[str, Token])
    on_claimed: Callable[[str], None] | None = None
    on_lost: Callable[[str], None] | None = None
    unseen: set[str] = attrs.Factory(set[str])
    """The nodes that this node has not seen registered yet."""

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """The registered nodes, as this node has seen them."""
        return {name: info for name, info in self.engine.nodes.items() if name not in self.unseen}

    async def look(self) -> None:
        """See all registered nodes."""
        await trio.lowlevel.checkpoint()
        self.unseen.clear()

    def owns(self, user: str) -> bool:
        """Return whether this node owns the user, as far as it knows."""
        return user in self.owned

    async def own(self, user: str, not_mine: Token | None = None) -> Token | None:
        """Claim a user if that is allowed."""
        await trio.lowlevel.checkpoint()
        if self.state is not NodeState.LIVE:
            return None
        token = self.engine.tokens.get(user)
        living = {node.incarnation for node in self.engine.nodes.values()}
        if token is None or token.incarnation not in living or token == not_mine:
            if self.closed:
                return None
            self.claims += 1
            token = self.engine.tokens[user] = Token(1 if token is None else token.term + 1, self.incarnation)
        if token.incarnation == self.incarnation and user not in self.owned:
            self.owned[user] = token
            if self.on_claimed is not None:
                self.on_claimed(user)
        return token

    async def release(self, user: str) -> None:
        """Release a user."""
        await trio.lowlevel.checkpoint()
        self.owned.pop(user, None)
        token = self.engine.tokens[user]
        if token.incarnation == self.incarnation:
            self.engine.tokens[user] = token.released()

    @asynccontextmanager
    async def taken(self, user: str) -> AsyncGenerator[bool]:
        """Own a user inside the block, if that is allowed."""
        token = await self.own(user)
        yield token is not None and token.incarnation == self.incarnation
        await self.release(user)

    def close(self) -> None:
        """Claim no more users."""
        self.closed = True

    def lose(self, user: str, token: Token) -> None:
        """Forget a user."""
        if self.owned.get(user) == token and self.on_lost is not None:
            del self.owned[user]
            self.on_lost(user)

    def be_buried(self, incarnation: Incarnation) -> None:
        """Take a new incarnation, and lose all users."""
        self.incarnation = incarnation
        for user in tuple(self.owned):
            self.lose(user, self.owned[user])


class FakeBus(Bus):
    """The bus of one node."""

    def __init__(self, engine: Engine, node: FakeNode) -> None:
        self._engine, self._node = engine, node
        engine.inboxes[node.incarnation.node], self._inbox = trio.open_memory_channel[Message | Push | Gap](100_000)

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        """Send messages."""
        await trio.lowlevel.checkpoint()
        for node, body in messages:
            self._engine.send(self._node.incarnation, node, body)
        return 0

    async def receive(self) -> Sequence[Message | Push | Gap]:
        """Wait for a message, and return all that have come."""
        messages = [await self._inbox.receive()]
        while self._inbox.statistics().current_buffer_used:
            messages.append(self._inbox.receive_nowait())
        return messages

    def heard_at(self) -> float:
        """Return the present time."""
        return trio.current_time()

    def reconnect(self) -> None:
        """Do nothing."""


@attrs.define(eq=False)
class Server:
    """One node with its sessions and its router."""

    node: FakeNode
    sessions: Sessions
    router: Router
    log: FencedLog


@asynccontextmanager
async def cluster(
    *names: str,
    publishes: bool = False,
    agents: Agents | None = None,
    limits: SessionSettings | None = None,
    **settings: float,
) -> AsyncGenerator[tuple[Engine, list[Server]]]:
    """Run nodes with these names. All of them have the same agents, and the same settings of sessions."""
    engine, servers = Engine(), list[Server]()
    async with engine.log, open_system() as system, trio.open_nursery() as nursery:
        engine.nursery = nursery
        for number, name in enumerate(names):
            node = FakeNode(engine, Incarnation(name, 1, number))
            engine.nodes[name] = NodeInfo(node.incarnation, 1)
            log = FencedLog(engine, node)
            sessions = Sessions(log, agents, limits or SessionSettings())
            router = Router(
                sessions, log, node, FakeBus(engine, node), publisher=log if publishes else None, **settings
            )
            sessions.place = router
            node.on_claimed, node.on_lost = router.on_claimed, router.on_lost
            custody = NodeCustody(router.owned, node, cast("Claims", node))
            sessions.cleaner.custody = sessions.consumers.custody = sessions.user_retention.custody = custody
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()), name)
            nursery.start_soon(router.run)
            servers.append(Server(node, sessions, router, log))
        await trio.testing.wait_all_tasks_blocked()
        yield engine, servers
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Tab:
    """A client that notes all that it gets."""

    name: str = "c-1"
    events: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    signals: list[tuple[str, object]] = attrs.Factory(list[tuple[str, object]])
    replies: list[CommandReply] = attrs.Factory(list[CommandReply])
    ended: SessionEnding | None = None
    _attachment: Attachment | None = None

    @property
    def attachment(self) -> Attachment:
        """The attachment to the session."""
        assert self._attachment is not None
        return self._attachment

    @property
    def cursor(self) -> Cursor:
        """The cursor of the attachment."""
        return self.attachment.cursor

    async def attach(self, server: Server, user: str = "ann", resume: Position | None = None) -> Attachment:
        """Attach to session ``s1`` of the user."""
        self.ended = None
        self._attachment = await server.sessions.attach(user, "s1", Attach(self.name, self, resume))
        self.on_events()
        return self._attachment

    def on_events(self) -> None:
        """Take the events that are in memory."""
        if self._attachment is not None:
            self.events += [orjson.loads(line) for line in self.cursor.take(10_000, 1 << 30)]

    async def catch_up(self) -> None:
        """Take all events, from the log if memory does not have them."""
        while self.cursor.waiting > 0:
            self.on_events()
            if self.cursor.behind:
                self.events += [orjson.loads(line) for line in await self.cursor.fetch(10_000, 1 << 30)]

    def on_signal(self, name: str, data: bytes) -> None:
        """Note a signal."""
        self.signals.append((name, orjson.loads(data)))

    def on_ended(self, reason: SessionEnding) -> None:
        """Note the end."""
        self.ended = reason

    @property
    def types(self) -> list[object]:
        """The types of all events, in order."""
        return [event["type"] for event in self.events]


def recording_agents(inputs: list[object]) -> Agents:
    """Return the agent ``work``, which adds its input to ``inputs``, and ``wait``, which runs until it is cancelled."""
    registry = Agents()

    async def work(run: Any, value: object) -> str:
        inputs.append(value)
        await run.output("text")
        return "done"

    async def wait(run: Any) -> None:
        await run.output("begun")
        await trio.sleep_forever()

    registry.add(work)
    registry.add(wait)
    return registry


def command(tab: Tab, id_: str, name: str, **args: object) -> Command:
    """Return a command of the client."""
    return Command(id_, name, args, tab.name, tab.replies.append)


async def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait in virtual time until ``condition()`` is true."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - a test's condition has no event
            await trio.sleep(0.05)
