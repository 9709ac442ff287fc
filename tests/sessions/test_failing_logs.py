"""A failure of the log, or of a session in a commit, stays with the sessions that it concerns."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from sessions.borders import (
    EVENTS,
    Tab,
    failure,
    nothing,
    sessions_with,
    talk,
)

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
from actors.streams._committer import Committer
from actors.testing import FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors import Head, LogError, Retention, Run

__all__ = ["failure"]


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

    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        self._ask("streams")
        return await super().streams(after, limit)


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
        await trio.sleep(3)
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
