"""A lone event is committed and delivered within its emit. The code that this calls can emit, fail or recurse."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs
import orjson
import pytest
import trio
import trio.testing
from _hosts import in_each_loop, run_in, turn
from sessions.test_borders import FAILURES, Tab

from actors import Agents, LogUnavailable, MemoryLog, Retention, Sessions, StreamKey, SupervisorSpec, open_system
from actors.streams import _stream
from actors.streams._committer import Committer
from actors.streams._observed import EventChoice
from actors.streams._stream import SessionStream, StreamLimits
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _hosts import World

    from actors import AsyncioRun, Batch, EventLog, Run

PACE = 0.01
"""Seconds by which the time of day moves from one event to the next. Each event comes after a quiet time."""
WHOSE = ContextVar("WHOSE", default="nobody")


def set_pace(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time of day move by ``seconds`` from one event of an agent to the next."""
    monkeypatch.setattr(_stream, "time", itertools.count(1_900_000_000.0, seconds).__next__)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch, PACE)


def emit(run: Run, text: str) -> None:
    """Emit from code that is not async, such as a listener."""
    with suppress(StopIteration):
        run.output(text).send(None)
        raise AssertionError("the emit waits")


async def calm(run: Run) -> None:
    """Emit a first event. It is not delivered within its emit, as it follows ``agent_started``. The next one is."""
    await run.custom("calm")
    await trio.testing.wait_all_tasks_blocked()


@attrs.define(eq=False)
class Stage:
    """Two sessions with one tab each. An agent in the first emits; one in the second has begun and waits."""

    log: EventLog = attrs.Factory(MemoryLog)
    tabs: dict[str, Tab] = attrs.Factory(lambda: {"s1": Tab(), "s2": Tab()})
    runs: dict[str, Run] = attrs.Factory(dict[str, "Run"])
    within: list[bool] = attrs.Factory(list[bool])
    """For each emit of the agent, whether the tab had the event when the emit returned."""
    emits: bool = False
    """Whether the agent is inside an emit."""
    more: list[Tab] = attrs.Factory(list[Tab])
    """More tabs of the first session."""
    failure: BaseException | None = None
    """The exception that an emit raised in the agent."""

    async def waiting(self, run: Run, value: object) -> None:
        self.runs["s2"] = run
        await calm(run)
        await trio.sleep_forever()

    async def talking(self, run: Run, count: int) -> str:
        self.runs["s1"] = run
        await calm(run)
        for number in range(count):
            await trio.testing.wait_all_tasks_blocked()
            self.emits = True
            try:
                await run.output(f"{number} ")
            except BaseException as error:
                self.failure = error
                raise
            finally:
                self.emits = False
            self.within.append(self.has("s1", f"{number} "))
        return "done"

    def has(self, session: str, text: str) -> bool:
        return b'"text":"%b"' % text.encode() in b"".join(self.tabs[session].lines)

    def texts(self, session: str) -> list[str]:
        """Return the texts that a tab got. Check that no event came twice or is missing."""
        events = [orjson.loads(line) for line in self.tabs[session].lines]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        return [event["data"]["text"].strip() for event in events if event["type"] == "agent_output"]

    async def play(self, count: int, before: Callable[[Sessions], None] = lambda _: None) -> None:
        """Run the agent to its end, after a call of ``before``."""
        agents = Agents()
        agents.add(self.waiting)
        agents.add(self.talking)
        sessions = Sessions(self.log, agents)
        async with open_system() as system:
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
            for session, tab in self.tabs.items():
                await tab.attach(sessions, session)
            for tab in self.more:
                await tab.attach(sessions)
            await (await sessions.get("alice", "s2")).start("waiting")
            await trio.testing.wait_all_tasks_blocked()
            before(sessions)
            await (await sessions.get("alice", "s1")).start("talking", count)
            await trio.testing.wait_all_tasks_blocked()
            while sessions.statistics().runs.running > 1:
                await trio.testing.wait_all_tasks_blocked()


@attrs.define(eq=False)
class Nested:
    """A function that emits ``nested 0`` to ``nested 2`` into a session at its first three calls."""

    stage: Stage
    into: str
    done: int = 0

    def __call__(self, *_: object) -> None:
        if self.done < 3 and "s1" in self.stage.runs:
            self.done += 1
            emit(self.stage.runs[self.into], f"nested {self.done - 1} ")


async def test_lone_event_is_delivered_within_its_emit() -> None:
    """After a quiet time an event is committed, and the listeners are notified, before the emit returns."""
    stage = Stage()
    await stage.play(40)
    assert stage.within == [True] * 40
    assert stage.texts("s1") == [str(number) for number in range(40)]


@pytest.mark.parametrize(("seconds", "within"), [(0.0039, False), (0.0051, True)])
async def test_quick_events_are_committed_together(
    monkeypatch: pytest.MonkeyPatch, seconds: float, *, within: bool
) -> None:
    """An event that comes sooner than ``QUIET_SECONDS`` (4 ms) after another is left to the committer's task."""
    set_pace(monkeypatch, seconds)
    stage = Stage()
    await stage.play(12)
    assert stage.within == [within] * 12
    assert stage.texts("s1") == [str(number) for number in range(12)]


async def test_first_event_after_a_wait_is_left_to_the_committer(monkeypatch: pytest.MonkeyPatch) -> None:
    """If several events come at once after each quiet time, they are committed together, the first of them too."""
    stage = Stage()

    async def talking(run: Run, count: int) -> None:
        stream = run._stream  # noqa: SLF001 - only it tells
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(_stream, "time", itertools.repeat(stream.ts / 1000 + PACE).__next__)
            emit(run, "a ")
            emit(run, "b ")
            stage.within.append(stream.committed_seq == stream.seq)

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert (stage.within, stage.texts("s1")) == ([False] * 5, ["a", "b"] * 5)


@pytest.mark.parametrize("into", ["s1", "s2"])
@pytest.mark.parametrize("place", ["a listener", "a callback after commits", "an observer"])
async def test_emit_within_a_delivery(place: str, into: str) -> None:
    """If code that an emit has called emits too, its event is delivered later: in order, and once.

    This holds for an event of the same session, and of another session. The outer event is delivered within its emit.
    """
    stage = Stage()
    nested = Nested(stage, into)
    kept: list[object] = []
    with ExitStack() as stack:

        def install(sessions: Sessions) -> None:
            match place:
                case "a listener":
                    stage.tabs["s1"].when_events = nested
                case "a callback after commits":
                    stack.enter_context(sessions.calling_after_commits(nested))
                case _:
                    kept.append(sessions.observers.open(EventChoice(()), nested))

        await stage.play(6, install)
    numbers = [str(number) for number in range(6)]
    texts = stage.texts("s1")
    assert (stage.within, nested.done) == ([True] * 6, 3)
    assert [text for text in texts if text in numbers] == numbers
    inner = [text for text in (texts if into == "s1" else stage.texts("s2")) if text not in numbers]
    assert inner == ["nested 0", "nested 1", "nested 2"]


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failing_listener_costs_itself_only(failure: Callable[..., None]) -> None:
    """If a listener raises within an emit, it is detached. The emit raises nothing, and others get all events."""
    stage, bad, after = Stage(), Tab(), Tab()
    stage.more = [bad, after]
    bad.when_events = lambda: failure() if stage.emits else None
    await stage.play(6)
    assert (stage.within, stage.failure) == ([True] * 6, None)
    assert (len(bad.lines), bad.endings) == (2, ["crashed"])
    assert after.lines == stage.tabs["s1"].lines
    assert len(after.lines) == 6 + 3


async def test_failing_callback_and_observer_cost_themselves_only() -> None:
    """If a callback after commits or an observer raises within an emit, the emit raises nothing."""
    stage, kept, calls = Stage(), list[object](), list[str]()

    def fail(kind: str) -> None:
        if stage.emits:
            calls.append(kind)
            FAILURES[kind]()

    with ExitStack() as stack:

        def install(sessions: Sessions) -> None:
            kept.append(sessions.observers.open(EventChoice(()), lambda: fail("an exit")))
            stack.enter_context(sessions.calling_after_commits(lambda: fail("recursion")))

        await stage.play(6, install)
    assert (stage.within, stage.failure) == ([True] * 6, None)
    assert calls == ["an exit", "recursion"] + ["an exit"] * 5  # a callback that failed is not called again


async def test_listener_has_no_context_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The context variables of an agent are not visible to the listeners that its emit notifies."""
    stage, seen = Stage(), list[str]()
    stage.tabs["s1"].when_events = lambda: seen.append(WHOSE.get())
    talking = stage.talking

    async def in_context(run: Run, count: int) -> str:
        WHOSE.set("alice")
        return await talking(run, count)

    monkeypatch.setattr(Stage, "talking", staticmethod(in_context))
    in_context.__name__ = "talking"
    await stage.play(3)
    assert stage.within == [True] * 3
    assert set(seen) == {"nobody"}


async def test_emit_deep_in_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is emitted deep in the stack is delivered later, since listeners need room on the stack."""
    stage, depths = Stage(), (10, 400, 10)

    def nest(levels: int, run: Run) -> None:
        if levels:
            nest(levels - 1, run)
        else:
            emit(run, "deep ")

    async def talking(run: Run, count: int) -> None:
        await calm(run)
        for depth in depths:
            await trio.testing.wait_all_tasks_blocked()
            nest(depth, run)
            stage.within.append(stage.texts("s1")[-1:] == ["deep"])
            await trio.testing.wait_all_tasks_blocked()
            assert stage.texts("s1").pop() == "deep"
            await run.output("next ")

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert stage.within == [True, False, True]
    assert stage.texts("s1") == ["deep", "next"] * 3


class Gathering(MemoryLog):
    """A log that never waits, and asks for a time between commits."""

    gather_seconds = 0.001


class Refusing(MemoryLog):
    """A log that never waits, and refuses events of the session ``s1``: only without a wait, or always."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always
        self.refusing = True

    def appender(self) -> Callable[[Sequence[Batch]], None]:
        return self._append_or_refuse

    async def append(self, batches: Sequence[Batch]) -> None:
        self._refuse(batches, self.always)
        await super().append(batches)

    def _append_or_refuse(self, batches: Sequence[Batch]) -> None:
        self._refuse(batches, self.refusing)
        self._append(batches)

    def _refuse(self, batches: Sequence[Batch], refusing: bool) -> None:
        if refusing and any(b'"text"' in line for batch in batches for line in batch.lines):
            raise LogUnavailable("not this one")


async def test_log_that_refuses_within_an_emit() -> None:
    """If the log refuses an event within its emit, the session ends as always. The emit itself raises nothing."""
    stage = Stage(Refusing(always=True))
    await stage.play(6)
    assert (stage.within, stage.tabs["s1"].endings) == ([False], ["crashed"])
    assert isinstance(stage.failure, (LogUnavailable, trio.Cancelled)) or stage.failure is None
    assert (stage.texts("s1"), stage.tabs["s2"].endings) == ([], ["shutdown"])


async def test_log_that_can_append_only_with_a_wait() -> None:
    """If only the appender of a log refuses, the committer's task commits the event, before all later events."""
    stage = Stage(Refusing(always=False))
    await stage.play(6)
    assert stage.within == [False] * 6
    assert stage.texts("s1") == [str(number) for number in range(6)]


@pytest.mark.parametrize("log", [FaultyLog(MemoryLog()), Gathering()])
async def test_log_that_waits_or_gathers(log: EventLog) -> None:
    """Events are never committed within their emit if the log can wait, or gathers more events for each commit."""
    stage = Stage(log)
    await stage.play(6)
    assert stage.within == [False] * 6
    assert stage.texts("s1") == [str(number) for number in range(6)]


async def test_emit_after_one_of_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another session has an event to commit, a lone event is committed together with it, and after it."""
    log = MemoryLog()
    stage = Stage(log)

    async def talking(run: Run, count: int) -> None:
        await calm(run)
        commits = log.statistics().commits
        stage.runs["s2"]._stream.put(b'"type":"custom","data":', b"{}")  # noqa: SLF001 - as a session does
        await run.output("0 ")
        assert not stage.has("s1", "0 ")
        await trio.testing.wait_all_tasks_blocked()
        assert stage.has("s1", "0 ")
        stage.within.append(log.statistics().commits == commits + 1)

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert stage.within == [True]


async def test_events_that_open_and_close_are_left_to_the_committer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool call's events are not committed before the grammar has them: the log's record is always up to date."""
    log = MemoryLog()
    stage = Stage(log)

    async def opened() -> int:
        head = await log.head(StreamKey("alice", "s1"))
        assert head is not None
        return len(orjson.loads(head.state)[1])

    async def talking(run: Run, count: int) -> None:
        await calm(run)
        await run.output("0 ")
        assert await opened() == 1
        async with run.tool("t"):
            await calm(run)
            assert await opened() == 2
            await run.output("1 ")
            assert await opened() == 2
        await run.output("2 ")
        await trio.testing.wait_all_tasks_blocked()
        stage.within.append(await opened() == 1)

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert (stage.within, stage.texts("s1")) == ([True], ["0", "1", "2"])


async def test_emits_of_a_run_that_ends_with_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that a run emits while the server ends are delivered too: in order, before the session's end."""
    stage = Stage()

    async def waiting(run: Run, value: object) -> None:
        await calm(run)
        try:
            await trio.sleep_forever()
        finally:
            for number in range(3):
                emit(run, f"{number} ")

    monkeypatch.setattr(Stage, "waiting", staticmethod(waiting))
    await stage.play(3)
    assert stage.texts("s2") == ["0", "1", "2"]
    assert b"agent_completed" in stage.tabs["s2"].lines[-1]
    assert stage.tabs["s2"].endings == ["shutdown"]


async def test_emit_in_a_thread_of_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emit in the thread of a tool is delivered before it returns."""
    stage = Stage()

    async def talking(run: Run, count: int) -> None:
        def tool() -> None:
            trio.from_thread.run(calm, run)
            trio.from_thread.run(run.output, "0 ")
            stage.within.append(stage.has("s1", "0 "))

        await run.call_tool(tool)

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    await trio.testing.wait_all_tasks_blocked()
    assert stage.within == [True]


@in_each_loop
def test_emit_of_an_asyncio_agent(loop: str) -> None:
    """A lone event of an agent on asyncio is committed within its emit too, and its clients get all events in order."""
    committed: list[bool] = []

    async def agent(run: AsyncioRun) -> None:
        stream = run._stream  # noqa: SLF001 - only it tells
        for number in range(20):
            await run.output(str(number))
            committed.append(stream.committed_seq == stream.seq)
            while stream.committed_seq < stream.seq:
                await turn()

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert [event.seq for event in events] == list(range(1, 23))

    run_in(loop, story)
    assert committed == [False] + [True] * 19  # the first follows agent_started


@pytest.mark.parametrize("state", ["running", "ended", "not begun"])
async def test_no_commit_without_the_task(state: str) -> None:
    """While the committer's task does not run, an event stays uncommitted, as the log may be closed."""
    key = StreamKey("alice", "s1")
    async with MemoryLog() as log:
        committer = Committer(log)
        limits = StreamLimits(ring_events=10, ring_bytes=1 << 20, window=64, command_seconds=300)
        stream = SessionStream(
            key,
            await log.make(key),
            log=log,
            committer=committer,
            retention=Retention(),
            limits=limits,
            on_failure=lambda _: None,
        )
        async with trio.open_nursery() as nursery:
            if state != "not begun":
                nursery.start_soon(committer.run)
                await trio.testing.wait_all_tasks_blocked()
            if state == "ended":
                nursery.cancel_scope.cancel()
                await trio.lowlevel.cancel_shielded_checkpoint()
                await trio.lowlevel.cancel_shielded_checkpoint()
            for _ in range(2):
                stream.put(b'"type":"custom","data":', b"{}", lone=True)
                if state == "running":
                    await trio.testing.wait_all_tasks_blocked()
            stream.put(b'"type":"custom","data":', b"{}", lone=True)
            assert stream.committed_seq == (3 if state == "running" else 0)
            nursery.cancel_scope.cancel()
