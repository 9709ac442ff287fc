"""When a lone event is not committed within its emit: logs that wait or refuse, other events, other tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
import trio
import trio.testing
from _hosts import in_each_loop, run_in, turn
from streams.lone import Stage, calm, emit, quiet

from actors import LogUnavailable, MemoryLog, Retention, StreamKey
from actors.streams._committer import Committer
from actors.streams._stream import SessionStream, StreamLimits
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _hosts import World

    from actors import AsyncioRun, Batch, EventLog, Run

__all__ = ["quiet"]


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
