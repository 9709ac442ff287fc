"""A client sends a command again only while the server remembers its id, even if a clock of the machine stops."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
import trio
import trio.testing
from _both_loops import client_of_this_loop, on_both_loops
from _scripted_server import Peer, scripted, welcome

from actors import CommandRefused
from transport.client import connect
from transport.client._buffer import EventBuffer
from transport.client._commands import Commands
from transport.client._core import Answer, ClientCore
from transport.client._reconnect_delays import ReconnectDelays
from transport.client._stopwatch import Stopwatch, awake_or_asleep
from transport.errors import ConnectionClosedForGood, OutcomeUnknown, ServerBrokeProtocol
from transport.protocol.client_frames import CommandFrame, Hello, HistoryFrame

if TYPE_CHECKING:
    from trio.testing import MockClock


class ManualClock:
    """A clock that shows the time which the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ConnectedCore:
    """A client's core with a log of the commands that it sends, over several connections in turn."""

    def __init__(self, *clocks: ManualClock) -> None:
        self.core = ClientCore(
            hello=Hello("s1"),
            buffer=EventBuffer(10, 10**6, received=None, applied=None),
            commands=Commands(5, clocks),
            delays=ReconnectDelays(Random(1)),
            renewable=False,
        )
        self.answers: list[Any] = []

    def attach(self, **fields: Any) -> list[str]:
        """Begin a new connection with a welcome. Return the ids of the commands that the core sends on it."""
        self.core.on_opened(None)
        assert self.core.next_frame() is not None
        self.core.buffer.received = None
        outputs = self.core.on_message(orjson.dumps({"type": "welcome", **welcome(**fields)}).decode())
        self.answers += [output for output in outputs if isinstance(output, Answer)]
        return self.sent()

    def sent(self) -> list[str]:
        """Return the ids of the commands that the core sends now."""
        self.answers += self.core.expire_commands()
        ids: list[str] = []
        while (frame := self.core.next_frame()) is not None:
            ids.append(orjson.loads(frame)["id"])
        return ids

    def submit(self, id_: str, kind: str = "command") -> None:
        """Submit a command or a history request."""
        frame = HistoryFrame(id_, 0, 1) if kind == "history" else CommandFrame(id_, "message.send", {"text": "x"})
        self.core.commands.submit(frame)


@pytest.mark.parametrize("away", [4.9, 5.0, 5.1])
def test_command_expires(away: float) -> None:
    """Until ``command_memory_ms`` after its first sending, a command is sent again.

    After that it ends as OutcomeUnknown.
    """
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    time.now += 1000  # waiting to be sent for the first time costs nothing
    assert line.attach(command_memory_ms=5000) == ["a"]
    line.core.on_closed(1006, "", 0)
    time.now += away
    assert line.attach(command_memory_ms=5000) == (["a"] if away <= 5 else [])
    assert [type(answer.outcome) for answer in line.answers] == ([] if away <= 5 else [OutcomeUnknown])
    assert len(line.core.commands) == (away <= 5)


def test_age_counts_from_the_first_time() -> None:
    """The age of a command counts from the first time that it was sent, even if it is sent again later."""
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    for _ in range(3):
        assert line.attach(command_memory_ms=10_000) == ["a"]
        line.core.on_left()
        time.now += 3
    time.now += 2
    assert line.attach(command_memory_ms=10_000) == []
    assert line.core.commands.resent == 2


@pytest.mark.parametrize(("then", "now"), [(5000, 60_000), (60_000, 5000)])
def test_shorter_memory_counts(then: int, now: int) -> None:
    """After a reconnect to another server, a command expires after the shorter of two times.

    These are the times for which the two servers remember the ids of commands.
    """
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    assert line.attach(command_memory_ms=then) == ["a"]
    line.core.on_left()
    time.now += 6
    assert line.attach(command_memory_ms=now) == []


def test_default_memory() -> None:
    """If the welcome has no ``command_memory_ms``, the client assumes that the server remembers ids for 300 s."""
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    line.submit("b")
    assert line.attach() == ["a", "b"]
    line.core.on_left()
    time.now += 300
    assert line.attach() == ["a", "b"]
    line.core.on_left()
    time.now += 0.1
    assert line.attach() == []


def test_command_expires_while_it_waits_to_be_sent() -> None:
    """A command that expires after the welcome, but before it could be sent again, is not sent."""
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    line.attach(command_memory_ms=5000)
    line.core.on_left()
    line.core.on_opened(None)
    line.core.next_frame()
    line.core.buffer.received = None
    line.core.on_message(orjson.dumps({"type": "welcome", **welcome(command_memory_ms=5000)}).decode())
    time.now += 6  # the hello's connection takes its time
    assert line.sent() == []
    assert [answer.id for answer in line.answers] == ["a"]


def test_sent_command_does_not_expire() -> None:
    """A command that was sent on the present connection waits for its reply without a time limit."""
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("a")
    line.attach(command_memory_ms=5000)
    time.now += 100
    assert line.core.expire_commands() == []
    line.core.on_left()
    assert line.sent() == []
    assert [answer.id for answer in line.answers] == ["a"]


def test_history_request_does_not_expire() -> None:
    """A history request is sent again at any age, since it changes nothing at the server."""
    time = ManualClock()
    line = ConnectedCore(time)
    line.submit("h", "history")
    assert line.attach(command_memory_ms=0) == ["h"]
    line.core.on_left()
    time.now += 1000
    assert line.attach(command_memory_ms=0) == ["h"]


@pytest.mark.parametrize("value", [-1, "soon", 1.5, True])
def test_invalid_memory_is_refused(value: object) -> None:
    """If a welcome has an invalid ``command_memory_ms``, the server has broken the protocol.

    If the client guessed a value instead, a command could be done twice.
    """
    with pytest.raises(ServerBrokeProtocol):
        ConnectedCore(ManualClock()).attach(command_memory_ms=value)


def test_largest_time_counts() -> None:
    """A stopwatch measures with two clocks and returns the larger time.

    So a clock that stood still, for example while the machine slept, has no effect.
    """
    one, other = ManualClock(), ManualClock()
    watch = Stopwatch(one, other)
    one.now += 5
    assert watch.seconds() == 5
    other.now += 7
    assert watch.seconds() == 7
    assert awake_or_asleep() <= awake_or_asleep()


@on_both_loops
async def test_expired_start_raises() -> None:
    """A start that expires while the client is offline raises OutcomeUnknown, and is not sent again."""

    async def first(peer: Peer) -> None:
        await peer.welcome(command_memory_ms=60_000)
        await peer.expect("command")
        await peer.abort()

    async def back(peer: Peer) -> None:
        await peer.welcome(recovered=True)
        assert (await peer.expect("command"))["args"] == {"text": "next"}
        await peer.close(4506)

    away = [ConnectionRefusedError("a tunnel") for _ in range(30)]
    async with scripted(first, *away, back) as server, server.connect() as client:
        with pytest.raises(CommandRefused) as unknown:
            await client.start("pay", 5)
        assert (type(unknown.value), unknown.value.code) == (OutcomeUnknown, "outcome_unknown")
        assert client.statistics().commands == 0
        with pytest.raises(ConnectionClosedForGood):
            await client.send("next")
    assert client.statistics().resent == 0


@on_both_loops
async def test_command_expires_while_offline() -> None:
    """A command expires even while no server can be reached, so its caller need not wait for the network."""

    async def first(peer: Peer) -> None:
        await peer.welcome(command_memory_ms=60_000)
        await peer.expect("command")
        await peer.abort()

    async with scripted(first) as server:
        wires: list[Any] = []
        ((option, open_one),) = server.options().items()

        async def once(*target: Any) -> Any:
            if wires:
                raise OSError("a tunnel")
            wires.append(await open_one(*target))
            return wires[0]

        async with client_of_this_loop(server.url, "s1", **{option: once}) as client:
            with anyio.fail_after(60 + 30), pytest.raises(OutcomeUnknown):
                await client.start("pay", 5)


class SlowOnce(trio.abc.Stream):
    """A stream on which the third send takes 8 s.

    This is the first command, after the upgrade request and the hello.
    """

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.sends = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends += 1
        if self.sends == 3:
            await anyio.sleep(8)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_command_expires_behind_a_slow_one(autojump_clock: MockClock) -> None:
    """A command that expires while the sending of another command is slow is not sent, and raises OutcomeUnknown."""
    arrived: list[str] = []

    async def first(peer: Peer) -> None:
        await peer.welcome(command_memory_ms=5_000)
        await peer.expect("command")
        await peer.expect("command")
        await peer.abort()

    async def second(peer: Peer) -> None:
        await peer.welcome(recovered=True, command_memory_ms=5_000)
        while True:
            command = await peer.expect("command")
            arrived.append(command["args"]["text"])
            await peer.send("reply", id=command["id"], ok=True, result={})
            if arrived[-1] == "next":
                await peer.close(4506)
                return

    async with scripted(first, second) as server:
        opened: list[trio.abc.Stream] = []

        async def open_stream(*target: Any) -> trio.abc.Stream:
            stream = await server.options()["open_stream"](*target)
            opened.append(SlowOnce(stream) if opened else stream)
            return opened[-1]

        async with (
            connect(server.url, "s1", open_stream=open_stream) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(client.send, "a")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(OutcomeUnknown):
                await client.send("b")
            await client.send("next")
    assert arrived == ["a", "next"]
