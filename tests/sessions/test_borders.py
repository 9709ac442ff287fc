"""A failure of a listener, reply function, callback, log or connection stays with its owner."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from actors import (
    Agents,
    Batch,
    CommandRefused,
    LogUnavailable,
    MemoryLog,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.loop.boundary import attempted
from actors.spi import Attach, Attachment, Command, CommandReply
from actors.streams._committer import Committer
from actors.testing import FaultyLog, event_batch
from transport.server._flusher import Flusher
from transport.server._heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from actors import EventLog, Head, LogError, Retention, Run


class Hidden(Exception):
    """An exception that cannot be shown as text."""

    def __str__(self) -> str:
        raise SystemExit("not even this")

    __repr__ = __str__


def recursion() -> None:
    recursion()


def raiser(error: BaseException) -> Callable[..., None]:
    def fail(*args: object) -> None:
        raise error

    return fail


FAILURES: dict[str, Callable[..., None]] = {
    "an exception": raiser(ValueError("odd")),
    "an exit": raiser(SystemExit(3)),
    "an interrupt": raiser(KeyboardInterrupt()),
    "a cancellation": raiser(trio.Cancelled._create(source="unknown")),  # noqa: SLF001 - there is no other way to one
    "a group": raiser(BaseExceptionGroup("g", [SystemExit(1), ValueError()])),
    "an exception that cannot be shown": raiser(Hidden()),
    "recursion": lambda *_: recursion(),
}


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest) -> Callable[..., None]:
    return FAILURES[request.param]


def nothing(*args: object) -> None: ...


@attrs.define(eq=False)
class Tab:
    """A listener that reads all events. It calls functions of the test when it is notified."""

    when_events: Callable[..., None] = nothing
    when_signal: Callable[..., None] = nothing
    when_ended: Callable[..., None] = nothing
    attachment: Attachment | None = None
    lines: list[bytes] = attrs.Factory(list[bytes])
    signals: list[str] = attrs.Factory(list[str])
    endings: list[str] = attrs.Factory(list[str])

    def on_events(self) -> None:
        self.when_events()
        assert self.attachment is not None
        self.lines += self.attachment.cursor.take(1_000, 1 << 20)

    def on_signal(self, name: str, data: bytes) -> None:
        self.signals.append(name)
        self.when_signal()

    def on_ended(self, reason: str) -> None:
        self.endings.append(reason)
        self.when_ended()

    async def attach(self, sessions: Sessions, session: str = "s1") -> Attachment:
        self.attachment = await sessions.attach("alice", session, Attach(f"c-{id(self)}", self))
        return self.attachment


async def talker(run: Run, count: int) -> str:
    for number in range(count):
        await run.output(f"{number} ")
        run.signal("progress", number)
    return "done"


@asynccontextmanager
async def sessions_with(
    log: EventLog | None = None, settings: SessionSettings | None = None
) -> AsyncIterator[Sessions]:
    agents = Agents()
    agents.add(talker)
    sessions = Sessions(log or MemoryLog(), agents, settings)
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions
        children = {child.path: child.restarts for child in system.tree().children[0].children}
        assert set(children.values()) == {0}, (children, supervisor)


async def talk(sessions: Sessions, session: str = "s1", count: int = 40) -> None:
    """Run the agent twice. The second run shows that the session still works."""
    handle = await sessions.get("alice", session)
    for _ in range(2):
        await handle.start("talker", count)
        await trio.testing.wait_all_tasks_blocked()


EVENTS = 2 * (40 + 2)


@pytest.mark.parametrize("place", ["when_events", "when_signal"])
@pytest.mark.parametrize("also_at_the_end", [False, True])
async def test_failing_listener_is_detached(failure: Callable[..., None], place: str, *, also_at_the_end: bool) -> None:
    """If a listener (the object that gets a session's notifications) raises, it is detached and gets no more events.

    It is notified once of its end. All other listeners get everything.
    """
    async with sessions_with() as sessions:
        before, bad, after, elsewhere = Tab(), Tab(), Tab(), Tab()
        setattr(bad, place, failure)
        if also_at_the_end:
            bad.when_ended = failure
        for tab in (before, bad, after):
            await tab.attach(sessions)
        await elsewhere.attach(sessions, "s2")
        await talk(sessions)
        await talk(sessions, "s2")
        assert [len(tab.lines) for tab in (before, after, elsewhere)] == [EVENTS] * 3
        assert [len(tab.signals) for tab in (before, after, elsewhere)] == [80] * 3
        assert (bad.lines if place == "when_events" else bad.signals[1:]) == []
        assert bad.endings == ["crashed"]
        assert [before.endings, after.endings, elsewhere.endings] == [[], [], []]
        assert [each.journal.cursors for each in sessions.of("alice")] == [2, 1]


async def test_every_listener_is_notified_of_the_end(failure: Callable[..., None]) -> None:
    """When a session ends, every listener is notified, even if another listener raises during this notification."""
    async with sessions_with() as sessions:
        tabs = [Tab(when_ended=failure), Tab(), Tab(when_ended=failure), Tab()]
        for tab in tabs:
            await tab.attach(sessions)
        await (await sessions.get("alice", "s1")).close()
        await trio.testing.wait_all_tasks_blocked()
        assert [tab.endings for tab in tabs] == [["closed"]] * 4
        await talk(sessions, "s2")


async def test_listeners_detach_each_other() -> None:
    """If one listener detaches another, the detached listener gets no more notifications, not even of this commit."""
    async with sessions_with() as sessions:
        first, second, third = Tab(), Tab(), Tab()
        for tab in (first, second, third):
            await tab.attach(sessions)

        def detach_others() -> None:
            for tab in (first, second):
                assert tab.attachment is not None
                tab.attachment.detach()

        first.when_events = detach_others
        await talk(sessions)
        assert (len(second.lines), len(third.lines)) == (0, EVENTS)
        assert [tab.endings for tab in (first, second, third)] == [[]] * 3


async def test_listener_sends_commands() -> None:
    """A listener can send commands to the session while it is being notified.

    It is notified of the events of these commands later, after the current notification.
    """
    async with sessions_with() as sessions:
        tab, replies, asked = Tab(), list[CommandReply](), list[str]()

        def say() -> None:
            if len(asked) < 5:
                asked.append(f"k{len(asked)}")
                assert tab.attachment is not None
                tab.attachment.command(Command(asked[-1], "message.send", {"text": "x"}, "c", replies.append))

        tab.when_events = tab.when_signal = say
        await tab.attach(sessions)
        await talk(sessions, count=3)
        assert ([reply.id for reply in replies], len(tab.lines)) == (asked, 2 * (3 + 2) + 5)


async def test_failing_reply(failure: Callable[..., None]) -> None:
    """If the function that receives a reply raises, the session continues, and other senders get their replies."""
    async with sessions_with() as sessions:
        tab, replies = Tab(), list[CommandReply]()
        attachment = await tab.attach(sessions)
        for reply in (failure, replies.append, failure):
            attachment.command(Command("k1", "message.send", {"text": "x"}, "c", reply))
            attachment.command(Command("k2", "no.such", {}, "c", reply))
        await trio.testing.wait_all_tasks_blocked()
        for reply in (failure, replies.append):
            attachment.command(Command("k1", "message.send", {"text": "x"}, "c", reply))
        await talk(sessions)
        assert [(reply.id, reply.ok, reply.duplicate) for reply in replies] == [
            ("k2", False, True),
            ("k1", True, True),
            ("k1", True, True),
        ]
        assert (len(tab.lines), tab.endings) == (EVENTS + 1, [])


async def test_failing_callback_after_commits(failure: Callable[..., None]) -> None:
    """If a callback after commits raises, it is not called again. All other callbacks are still called.

    A callback that is registered twice is called twice after each commit.
    """
    async with sessions_with() as sessions:
        calls: list[str] = []

        def bad() -> None:
            calls.append("bad")
            failure()

        def good() -> None:
            calls.append("good")

        with (
            sessions.calling_after_commits(good),
            sessions.calling_after_commits(bad),
            sessions.calling_after_commits(good),
        ):
            await talk(sessions)
        assert calls[:3] == ["good", "bad", "good"]
        assert calls.count("bad") == 1
        assert calls.count("good") == sessions.statistics().log.commits * 2
        await talk(sessions)


class FailingLog(MemoryLog):
    """A log that raises in the method ``in_`` for the session ``odd``, or when it lists its streams."""

    def __init__(self, fail: Callable[..., None], in_: str) -> None:
        super().__init__()
        self._fail, self._in = fail, in_
        self.asked = 0

    def _ask(self, method: str, session: str = "odd") -> None:
        if (method, session) == (self._in, "odd"):
            self.asked += 1
            self._fail()

    async def head(self, key: StreamKey) -> Head | None:
        self._ask("head", key.session)
        return await super().head(key)

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        self._ask("trim", key.session)
        return await super().trim(key, keep, now)

    async def remove(self, key: StreamKey) -> None:
        self._ask("remove", key.session)
        await super().remove(key)

    async def streams(self) -> Sequence[StreamKey]:
        self._ask("streams")
        return await super().streams()


FEW = SessionSettings(retain_events=10, idle_seconds=1, forget_seconds=0)


async def test_sweep_survives_failure_with_one_session(
    failure: Callable[..., None], autojump_clock: trio.testing.MockClock
) -> None:
    """If the log fails for one session in memory, the old events of the other sessions are deleted nevertheless."""
    log = FailingLog(failure, "trim")
    async with sessions_with(log, FEW) as sessions:
        for session in ("a", "odd", "z"):
            await Tab().attach(sessions, session)
            await talk(sessions, session)
        await trio.sleep(10)
        oldest = {each.session: each.journal.oldest for each in sessions.of()}
        assert oldest == {"a": EVENTS - 9, "odd": 1, "z": EVENTS - 9}
        assert log.asked > 1


@pytest.mark.parametrize("place", ["head", "trim", "remove"])
async def test_cleaning_survives_failure_with_one_session(failure: Callable[..., None], place: str) -> None:
    """If the log fails during the cleaning of one session, the other sessions are cleaned nevertheless.

    This holds for sessions that are not in memory.
    """
    log = FailingLog(failure, place)
    async with sessions_with(log, FEW) as sessions:
        keys = [StreamKey("alice", session) for session in ("a", "odd", "z")]
        for key in keys:
            await log.make(key)
            if place == "trim":
                await log.append([event_batch(key, 1, 20)])
        await trio.sleep(0.002)  # then it is older than forget_seconds, by the time of day
        await sessions.cleaner.clean()
        left = {key.session: await MemoryLog.head(log, key) for key in keys}
        if place == "trim":
            assert [head and head.oldest for head in left.values()] == [21, 1, 21]  # the events are from 1970
        else:
            assert [head is None for head in left.values()] == [True, False, True]


@pytest.mark.parametrize("place", ["streams", "head"])
async def test_cleaning_is_repeated_after_failures(
    failure: Callable[..., None], place: str, autojump_clock: trio.testing.MockClock
) -> None:
    """If the cleaning of old sessions fails, it is tried again later, and no session in memory ends."""
    log = FailingLog(failure, place)
    async with sessions_with(log) as sessions:
        await log.make(StreamKey("alice", "odd"))
        await talk(sessions)
        await trio.sleep(4 * 3600)
        assert log.asked >= 4


async def test_failure_beside_a_cancellation_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If code raises an error while it is cancelled, the error is logged.

    A cancellation without an error is not logged.

    In both cases the cancelled scope still ends as cancelled.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        await attempted("the first", trio.sleep_forever)
    assert (scope.cancelled_caught, caplog.text) == (True, "")

    async def fails() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(4)

    with trio.CancelScope() as scope:
        scope.cancel()
        await attempted("the second", fails)
    assert scope.cancelled_caught
    assert "the second failed" in caplog.text


@attrs.define(eq=False)
class OneEventSource:
    """A source of events for the committer, with one event in each commit.

    It calls a function of the test at each step.
    """

    key: StreamKey
    steps: dict[str, Callable[..., None]] = attrs.Factory(dict[str, "Callable[..., None]"])
    next: int = 1
    told: list[str] = attrs.Factory(list[str])

    def batch(self) -> Batch | None:
        self.steps.get("batch", nothing)()
        self.next += 1
        return Batch(self.key, self.next - 1, [b'{"seq":%d,"ts":1}' % (self.next - 1)], b"")

    def on_committed(self, batch: Batch) -> None:
        self.told.append("committed")
        self.steps.get("committed", nothing)()

    def on_failed(self, error: LogError) -> None:
        self.told.append("failed")
        self.steps.get("failed", nothing)()


@pytest.mark.parametrize("places", [("batch",), ("committed",), ("batch", "failed"), ("committed", "failed")])
async def test_failing_source_ends_alone(
    nursery: trio.Nursery, failure: Callable[..., None], places: tuple[str, ...]
) -> None:
    """If one session raises in the middle of a commit, only this session fails.

    The events of the others are committed.
    """
    async with MemoryLog() as log:
        committer = Committer(log)
        nursery.start_soon(committer.run)
        sources = [OneEventSource(StreamKey("alice", f"s{number}")) for number in range(3)]
        sources[1].steps = dict.fromkeys(places, failure)
        for source in sources:
            await log.make(source.key)
            committer.schedule(source)
        await committer.barrier()
        assert sources[1].told[-1] == "failed"
        for source in (sources[0], sources[2]):
            committer.schedule(source)
        await committer.barrier()
        assert [sources[0].told, sources[2].told] == [["committed"] * 2] * 2


class BadLog(MemoryLog):
    """A log that fails when events of the session ``bad`` are appended."""

    def __init__(self, failure: Callable[..., None]) -> None:
        super().__init__()
        self.failure = failure

    async def append(self, batches: Sequence[Batch]) -> None:
        if any(batch.key.session == "bad" for batch in batches):
            self.failure()
        await super().append(batches)


async def test_failing_append_ends_one_session(failure: Callable[..., None]) -> None:
    """If the log fails to append the events of one session, only this session ends."""
    async with sessions_with(BadLog(failure)) as sessions:
        good, bad = Tab(), Tab()
        await good.attach(sessions)
        await bad.attach(sessions, "bad")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, sessions)
            with suppress(LogUnavailable):
                await (await sessions.get("alice", "bad")).emit("x")
        assert (len(good.lines), good.endings, bad.endings) == (EVENTS, [], ["crashed"])


async def subruns(run: Run, count: int) -> None:
    async with run.subrun("outer") as outer:
        while True:
            async with outer.subrun("inner"):
                pass


async def tools(run: Run, count: int) -> None:
    while True:
        async with run.subrun("outer") as outer, outer.tool("t"):
            await outer.output("x")


async def outputs(run: Run, count: int) -> None:
    while True:
        await run.output("x")


@pytest.mark.parametrize("agent", [outputs, subruns, tools])
@pytest.mark.parametrize("after", range(6))
async def test_session_ends_when_its_log_refuses(
    autojump_clock: trio.testing.MockClock, agent: Callable[..., Any], after: int
) -> None:
    """If the log refuses to append events, the session ends at once.

    This also holds while the session opens or closes a run or a tool call.
    """
    log = FaultyLog(MemoryLog())
    agents = Agents()
    agents.add(agent)
    sessions = Sessions(log, agents, SessionSettings(emit_window=2))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        tab = Tab()
        await tab.attach(sessions)
        for _ in range(after):
            log.hold("append").released.set()
        held = log.hold("append")
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start_one, sessions, agent.__name__)
            await held.reached.wait()
            log.fail("append", 1)
            held.released.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (tab.endings, trio.current_time() - start) == (["crashed"], 0)
        assert sessions.statistics().runs.running == 0


async def start_one(sessions: Sessions, agent: str) -> None:
    with suppress(CommandRefused):
        await (await sessions.get("alice", "s1")).start(agent, 1)


@attrs.define(eq=False)
class Visitor:
    """A connection, reduced to the methods that the flusher and the heartbeat call."""

    on_turn: Callable[..., None] = nothing
    on_failure: Callable[..., None] = nothing
    turns: int = 0
    failures: int = 0

    def flush(self) -> None:
        self.turns += 1
        self.on_turn()

    def beat(self, now: float) -> float:
        self.flush()
        return now + 1

    def on_failed(self, error: BaseException) -> None:
        self.failures += 1
        self.on_failure()


@pytest.mark.parametrize("also_when_told", [False, True])
async def test_pumps_survive_failing_connections(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    failure: Callable[..., None],
    *,
    also_when_told: bool,
) -> None:
    """The tasks that serve all connections (flusher and heartbeat) continue if one connection raises.

    They report the failure to this connection, and serve the other connections.
    """
    flusher, heartbeat = Flusher(), Heartbeat()
    nursery.start_soon(flusher.run)
    nursery.start_soon(heartbeat.run)
    on_failed = failure if also_when_told else nothing
    for pump in ("flusher", "heartbeat"):
        visitors: list[Any] = [Visitor(), Visitor(failure, on_failed), Visitor()]
        for _ in range(2):
            for visitor in visitors:
                if pump == "flusher":
                    flusher.schedule(visitor)
                elif not visitor.turns:
                    heartbeat.add(visitor, trio.current_time() + 1)
            await trio.sleep(1.2)
        assert [visitor.turns for visitor in (visitors[0], visitors[2])] == [2, 2]
        assert (visitors[1].failures, visitors[1].turns) == ((2, 2) if pump == "flusher" else (1, 1))
