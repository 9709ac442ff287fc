"""A command is sent again only while the server remembers its id; the time is counted whatever the clocks do."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _scripted_server import Peer, scripted, welcome

from actors import CommandRefused
from transport.client import connect
from transport.client._buffer import EventBuffer
from transport.client._commands import Commands
from transport.client._core import Answer, ClientCore
from transport.client._reconnect_delays import ReconnectDelays
from transport.client._stopwatch import Stopwatch, awake_or_asleep
from transport.errors import ConnectionClosedForGood, OutcomeUnknown, ServerBrokeProtocol, TokenUnavailable

if TYPE_CHECKING:
    from trio.testing import MockClock


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A client's core, and what it sends on one connection after the other."""

    def __init__(self, *clocks: Time) -> None:
        self.core = ClientCore(
            session="s1",
            hello={},
            buffer=EventBuffer(10, 10**6, received=None, applied=None),
            commands=Commands(5, clocks),
            delays=ReconnectDelays(Random(1)),
            renewable=False,
        )
        self.answers: list[Any] = []

    def attach(self, **fields: Any) -> list[str]:
        """Be welcomed on a new connection; return the ids of the commands that are sent on it."""
        self.core.opened(None)
        assert self.core.next_frame() is not None
        self.core.buffer.received = None
        outputs = self.core.received(orjson.dumps({"type": "welcome", **welcome(**fields)}).decode())
        self.answers += [output for output in outputs if isinstance(output, Answer)]
        return self.sent()

    def sent(self) -> list[str]:
        self.answers += self.core.forgotten()
        ids: list[str] = []
        while (frame := self.core.next_frame()) is not None:
            ids.append(orjson.loads(frame)["id"])
        return ids

    def submit(self, id_: str, kind: str = "command") -> None:
        self.core.commands.submit({"type": kind, "id": id_})


@pytest.mark.parametrize("away", [4.9, 5.0, 5.1])
def test_a_command_is_sent_again_within_the_servers_memory_and_not_beyond(away: float) -> None:
    """The limit is what the welcome says, from the first time that the command was sent."""
    time = Time()
    line = Line(time)
    line.submit("a")
    time.now += 1000  # waiting to be sent for the first time costs nothing
    assert line.attach(command_memory_ms=5000) == ["a"]
    line.core.closed(1006, "", 0)
    time.now += away
    assert line.attach(command_memory_ms=5000) == (["a"] if away <= 5 else [])
    assert [type(answer.outcome) for answer in line.answers] == ([] if away <= 5 else [OutcomeUnknown])
    assert len(line.core.commands) == (away <= 5)


def test_sending_again_does_not_begin_the_time_anew() -> None:
    """The server remembers from the first time on, however often the command came since."""
    time = Time()
    line = Line(time)
    line.submit("a")
    for _ in range(3):
        assert line.attach(command_memory_ms=10_000) == ["a"]
        line.core.left()
        time.now += 3
    time.now += 2
    assert line.attach(command_memory_ms=10_000) == []
    assert line.core.commands.resent == 2


@pytest.mark.parametrize(("then", "now"), [(5000, 60_000), (60_000, 5000)])
def test_the_shorter_memory_counts_where_the_server_changed(then: int, now: int) -> None:
    """A command may be known to the server of then by its rule, and to the one of now by another."""
    time = Time()
    line = Line(time)
    line.submit("a")
    assert line.attach(command_memory_ms=then) == ["a"]
    line.core.left()
    time.now += 6
    assert line.attach(command_memory_ms=now) == []


def test_an_older_server_remembers_for_300_s() -> None:
    """A welcome without the field stands for the memory that servers had before they said so."""
    time = Time()
    line = Line(time)
    line.submit("a")
    line.submit("b")
    assert line.attach() == ["a", "b"]
    line.core.left()
    time.now += 300
    assert line.attach() == ["a", "b"]
    line.core.left()
    time.now += 0.1
    assert line.attach() == []


def test_what_waits_to_be_written_grows_too_old_there() -> None:
    """The age is looked at when a command is written, not only when its connection began."""
    time = Time()
    line = Line(time)
    line.submit("a")
    line.attach(command_memory_ms=5000)
    line.core.left()
    line.core.opened(None)
    line.core.next_frame()
    line.core.buffer.received = None
    line.core.received(orjson.dumps({"type": "welcome", **welcome(command_memory_ms=5000)}).decode())
    time.now += 6  # the hello's connection takes its time
    assert line.sent() == []
    assert [answer.id for answer in line.answers] == ["a"]


def test_a_command_on_a_living_connection_waits_as_long_as_it_takes() -> None:
    """Its reply may still come; only sending again is limited."""
    time = Time()
    line = Line(time)
    line.submit("a")
    line.attach(command_memory_ms=5000)
    time.now += 100
    assert line.core.forgotten() == []
    line.core.left()
    assert line.sent() == []
    assert [answer.id for answer in line.answers] == ["a"]


def test_a_request_for_history_is_repeated_at_any_age() -> None:
    """It changes nothing, so it may be done twice."""
    time = Time()
    line = Line(time)
    line.submit("h", "history")
    assert line.attach(command_memory_ms=0) == ["h"]
    line.core.left()
    time.now += 1000
    assert line.attach(command_memory_ms=0) == ["h"]


@pytest.mark.parametrize("value", [-1, "soon", 1.5, True])
def test_a_memory_that_cannot_be_is_refused(value: object) -> None:
    """A client that guessed would run commands twice."""
    with pytest.raises(ServerBrokeProtocol):
        Line(Time()).attach(command_memory_ms=value)


def test_the_clock_that_went_furthest_counts() -> None:
    """One clock stands still while the machine sleeps, another one in a test: neither hides time from the other."""
    one, other = Time(), Time()
    watch = Stopwatch(one, other)
    one.now += 5
    assert watch.seconds() == 5
    other.now += 7
    assert watch.seconds() == 7
    assert awake_or_asleep() <= awake_or_asleep()


async def test_a_start_that_was_away_too_long_raises_and_is_not_sent(autojump_clock: MockClock) -> None:
    """``start`` raises OutcomeUnknown, by then or when the server is back, and the server gets nothing more of it."""

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


async def test_a_command_ends_in_time_while_nothing_can_be_reached(autojump_clock: MockClock) -> None:
    """No reply can come any more, so the caller is not kept waiting for the network's return."""

    async def first(peer: Peer) -> None:
        await peer.welcome(command_memory_ms=60_000)
        await peer.expect("command")
        await peer.abort()

    async with scripted(first) as server:
        wires: list[trio.abc.Stream] = []

        async def once(*target: Any) -> trio.abc.Stream:
            if wires:
                raise OSError("a tunnel")
            wires.append(await server.open_stream(*target))
            return wires[0]

        async with connect(server.url, "s1", open_stream=once) as client:
            with trio.fail_after(60 + 30), pytest.raises(OutcomeUnknown):
                await client.start("pay", 5)


class SlowOnce(trio.abc.Stream):
    """A stream whose third send (after upgrade and hello, the first command) takes 8 s."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.sends = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends += 1
        if self.sends == 3:
            await trio.sleep(8)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_command_that_waits_behind_a_slow_one_is_not_written_too_late(autojump_clock: MockClock) -> None:
    """The connection began in time, and the command's turn on it came too late."""
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
            stream = await server.open_stream(*target)
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


# --- the token callable -----------------------------------------------------------------------------------------------


async def test_a_token_callable_that_hangs_is_cancelled_and_called_again(autojump_clock: MockClock) -> None:
    """The client is not held up by one call, and nothing of it comes late."""
    calls: list[str] = []

    async def fresh() -> str:
        calls.append("called")
        if len(calls) == 1:
            try:
                await trio.sleep_forever()
            finally:
                calls.append("cancelled")
        return "good"

    async def script(peer: Peer) -> None:
        assert (await peer.welcome())["token"] == "good"
        await peer.close(4506)

    start = trio.current_time()
    async with scripted(script) as server, server.connect(token=fresh, token_seconds=7) as client:
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())
    assert calls == ["called", "cancelled", "called"]
    assert 7 <= server.connections[0] - start < 8


@pytest.mark.parametrize("token", [7, b"bytes", "\ud800"])
async def test_a_token_that_is_no_text_ends_the_client_with_one_error(token: Any, autojump_clock: MockClock) -> None:
    """It could never be written into a hello."""
    async with scripted() as server, server.connect(token=lambda: token) as client:
        with pytest.raises(TokenUnavailable, match="no string"):
            await anext(client.events())
    with pytest.raises(ValueError, match="token"):
        async with server.connect(token=token):
            pytest.fail("it was accepted")


async def test_a_client_can_be_left_while_its_token_is_fetched(autojump_clock: MockClock) -> None:
    """Leaving the block cancels the callable."""
    async with scripted() as server:
        with trio.fail_after(1):
            async with server.connect(token=trio.sleep_forever):
                await trio.testing.wait_all_tasks_blocked()


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "limit"), [(1.5, 1), (True, 1), (0, True), (0, "1"), (-1, 1), (0, 501), (2**53, 1)])
async def test_a_request_for_history_that_the_server_would_end_it_for_raises(
    after: Any, limit: Any, autojump_clock: MockClock
) -> None:
    """Nothing of it is sent, and nothing waits."""
    async with scripted(ConnectionRefusedError("nobody")) as server, server.connect() as client:
        with pytest.raises(ValueError, match="after must be"):
            await client.history(after, limit)
        assert client.statistics().commands == 0
        await trio.testing.wait_all_tasks_blocked()


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [CYCLE, object(), 2**60, {"a": {1, 2}}, float("inf")])
async def test_an_input_that_is_no_json_raises_at_the_call_and_leaves_nothing(
    value: Any, autojump_clock: MockClock
) -> None:
    """The next connection has nothing of it to send."""
    async with scripted(ConnectionRefusedError("nobody")) as server, server.connect() as client:
        with pytest.raises(CommandRefused) as refused:
            await client.start("a", value)
        assert refused.value.code == "bad_args"
        assert client.statistics().commands == 0
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    "options",
    [{"client": 5}, {"client": "\ud800"}, {"patience": float("nan")}, {"connect_seconds": 0}, {"token_seconds": -1},
     {"buffer_events": 0}, {"buffer_bytes": 0}, {"max_commands": -1}, {"signals": -1}, {"max_message_size": 0}],
)  # fmt: skip
async def test_options_that_would_break_it_later_are_refused_at_the_call(options: dict[str, Any]) -> None:
    """The error names the option."""
    async with scripted() as server:
        with pytest.raises(ValueError, match=next(iter(options))):
            async with server.connect(**options):
                pytest.fail("it was accepted")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_exit_of_the_body_comes_out_as_it_is(error: type[BaseException], autojump_clock: MockClock) -> None:
    """``sys.exit()`` in the block exits with its status, in no group."""
    async with scripted(ConnectionRefusedError("nobody")) as server:
        with pytest.raises(error):  # noqa: PT012  the end of the block is what is tested
            async with server.connect():
                await trio.testing.wait_all_tasks_blocked()
                raise error
