"""The committer: the time that batches wait, and when it lets more events gather before a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors import Batch, MemoryLog, Retention, StreamKey
from actors.errors import AppendRefused, Fenced, LogUnavailable, LogUncertain
from actors.eventlog.base import CommitLimit
from actors.streams._committer import CROWD, CROWD_ROUNDS, WAIT_STEP_SECONDS, WAIT_STEPS, Committer, commit_due
from actors.streams._stream import SessionStream, StreamLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio.testing import MockClock

    from actors import LogError

COMMIT_SECONDS = 0.001


class SlowLog(MemoryLog):
    """A log that takes a while for each commit, like a disk."""

    def __init__(self, seconds: float = COMMIT_SECONDS, gather_seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.gather_seconds = gather_seconds
        self.commits: list[tuple[float, int]] = []
        """The time at which each commit began, and the number of sessions in it."""

    async def append(self, batches: Sequence[Batch]) -> None:
        self.commits.append((trio.current_time(), len(batches)))
        await trio.sleep(self.seconds)


@attrs.define(eq=False)
class Talker:
    """A source of events that has exactly one event each time that it is scheduled."""

    number: int

    def batch(self) -> Batch:
        return Batch(StreamKey("alice", f"s{self.number}"), 1, [b'{"seq":1,"ts":1}'], b"")

    def on_committed(self, batch: Batch) -> None:
        pass

    def on_failed(self, error: LogError) -> None:
        raise error


@attrs.define(eq=False)
class Noted(Talker):
    """A source that notes its outcome."""

    outcome: object = None

    def on_committed(self, batch: Batch) -> None:
        self.outcome = "committed"

    def on_failed(self, error: LogError) -> None:
        self.outcome = error


class RefusingLog(MemoryLog):
    """A log that waits, and whose first append raises an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.appends: list[list[str]] = []
        """The sessions of each append."""
        self._error: Exception | None = error

    async def append(self, batches: Sequence[Batch]) -> None:
        await trio.lowlevel.checkpoint()
        self.appends.append([batch.key.session for batch in batches])
        error, self._error = self._error, None
        if error is not None:
            raise error


async def outcomes(nursery: trio.Nursery, log: MemoryLog, count: int = 4) -> list[object]:
    """Commit one event of each of ``count`` sources, and return the outcome of each."""
    committer = Committer(log)
    nursery.start_soon(committer.run)
    sources = [Noted(number) for number in range(count)]
    for source in sources:
        committer.schedule(source)
    await committer.barrier()
    return [source.outcome for source in sources]


async def test_only_refused_batches_end(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    """If a log names the batches that it refuses, their sources end with its errors. The others are tried once more."""
    log = RefusingLog(AppendRefused({1: Fenced("another node"), 3: KeyError("s3")}))
    committed, fenced, also, missing = await outcomes(nursery, log)
    assert log.appends == [["s0", "s1", "s2", "s3"], ["s0", "s2"]]
    assert (committed, also) == ("committed", "committed")
    assert isinstance(fenced, Fenced)
    assert isinstance(missing, LogUnavailable)


async def test_unknown_outcome_is_not_tried_again(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    """If it is not known whether batches are in the log, they are not appended again. Each source gets an own error."""
    log = RefusingLog(LogUncertain("no answer"))
    found = await outcomes(nursery, log)
    assert log.appends == [["s0", "s1", "s2", "s3"]]
    assert [type(each) for each in found] == [LogUncertain] * 4
    assert len(set(map(id, found))) == 4


@pytest.mark.parametrize("tries_again", [False, True])
async def test_unavailable_log(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, *, tries_again: bool) -> None:
    """If a log is unavailable, each batch is tried once more, alone, unless the log has tried for long enough."""
    log = RefusingLog(LogUnavailable("away"))
    log.tries_again = tries_again
    found = await outcomes(nursery, log)
    assert [len(each) for each in log.appends] == ([4] if tries_again else [4, 1, 1, 1, 1])
    assert [each == "committed" for each in found] == [not tries_again] * 4


@pytest.mark.parametrize(
    ("limit", "appends"),
    [
        (CommitLimit(4, 4 * 16), [4]),
        (CommitLimit(3, 4 * 16), [3, 1]),
        (CommitLimit(4, 4 * 16 - 1), [3, 1]),
        (CommitLimit(4, 1), [1, 1, 1, 1]),
    ],
)
async def test_size_of_an_append(nursery: trio.Nursery, limit: CommitLimit, appends: list[int]) -> None:
    """A commit is divided into appends of the size that the log wants. A batch is never divided."""
    log = SlowLog(0)
    log.max_commit = limit
    assert await outcomes(nursery, log) == ["committed"] * 4
    assert [count for _, count in log.commits] == appends


async def test_parts_are_appended_apart(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a log divides streams into parts, each part is an append of its own, and all of them run at the same time."""
    log = SlowLog(1)
    log.divide = lambda key: int(key.session[1:]) % 2
    begun = trio.current_time()
    assert await outcomes(nursery, log) == ["committed"] * 4
    assert [count for _, count in log.commits] == [2, 2]
    assert trio.current_time() - begun < 1.5


@pytest.mark.parametrize(
    ("seconds", "step"),
    [
        (0.5 * WAIT_STEP_SECONDS, 0),
        (1.5 * WAIT_STEP_SECONDS, 1),
        ((WAIT_STEPS - 0.5) * WAIT_STEP_SECONDS, WAIT_STEPS - 1),
        ((WAIT_STEPS + 0.5) * WAIT_STEP_SECONDS, WAIT_STEPS),
        (100 * WAIT_STEPS * WAIT_STEP_SECONDS, WAIT_STEPS),
    ],
)
async def test_each_batch_is_counted_by_its_wait(
    autojump_clock: MockClock, nursery: trio.Nursery, seconds: float, step: int
) -> None:
    """The committer counts each batch once in a histogram of waiting times, in the step for the time of this batch."""
    committer = Committer(SlowLog(seconds))
    nursery.start_soon(committer.run)
    committer.schedule(Talker(1))
    committer.schedule(Talker(2))
    assert committer.statistics().waiting == 2
    await committer.barrier()
    statistics = committer.statistics()
    assert statistics.waiting == 0
    assert [(at, count) for at, count in enumerate(statistics.waits) if count] == [(step, 2)]


async def test_the_wait_includes_a_running_commit(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """If a batch is scheduled during a commit, its waiting time includes the remaining time of that commit."""
    committer = Committer(SlowLog(10.5 * WAIT_STEP_SECONDS))
    nursery.start_soon(committer.run)
    committer.schedule(Talker(1))
    await trio.sleep(4.25 * WAIT_STEP_SECONDS)
    committer.schedule(Talker(2))
    await committer.barrier()
    waits = committer.statistics().waits
    assert [at for at, count in enumerate(waits) if count] == [10, 16]


GATHER_SECONDS = 0.002


@pytest.fixture
def gathering_log() -> SlowLog:
    return SlowLog(gather_seconds=GATHER_SECONDS)


@pytest.fixture
def gathering(nursery: trio.Nursery, gathering_log: SlowLog) -> Committer:
    committer = Committer(gathering_log)
    nursery.start_soon(committer.run)
    return committer


def begun(log: SlowLog, since: float) -> list[tuple[float, int]]:
    """Return the beginning of each commit, in ms since ``since``, and its number of batches."""
    return [(round((at - since) * 1000, 6), count) for at, count in log.commits]


async def test_a_lone_batch_is_committed_at_once(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog
) -> None:
    """If the log has had no commit for ``gather_seconds``, a new batch is committed at once."""
    start = trio.current_time()
    for number in range(3):
        gathering.schedule(Talker(number))
        await trio.sleep(1.01 * GATHER_SECONDS)
    assert begun(gathering_log, start) == [(0, 1), (2.02, 1), (4.04, 1)]


async def test_load_is_committed_every_gather_seconds(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog
) -> None:
    """Under load, a commit begins every ``gather_seconds``, with all batches that were scheduled until then."""
    start = trio.current_time()
    for number in range(64):
        gathering.schedule(Talker(number))
        await trio.sleep(GATHER_SECONDS / 16 * 1.001)
    await trio.testing.wait_all_tasks_blocked()
    assert begun(gathering_log, start) == [(0, 1), (2, 15), (4, 16), (6, 16), (8, 16)]


async def test_a_late_timer_delays_one_commit_only(
    nursery: trio.Nursery, mock_clock: MockClock, gathering: Committer, gathering_log: SlowLog
) -> None:
    """If the timer for a commit is late, only this commit is late. The following commits are on time."""
    gathering_log.seconds = 0.0
    start = trio.current_time()
    gathering.schedule(Talker(1))
    await trio.testing.wait_all_tasks_blocked()
    for late in (0.5, 0.5, 0.0):
        gathering.schedule(Talker(2))
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(start + (len(gathering_log.commits) + late) * GATHER_SECONDS - trio.current_time())
        await trio.testing.wait_all_tasks_blocked()
    assert begun(gathering_log, start) == [(0, 1), (3, 1), (5, 1), (6, 1)]


async def test_a_slow_commit_is_followed_at_once(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog
) -> None:
    """If a commit takes longer than ``gather_seconds``, the next commit begins as soon as it has ended."""
    gathering_log.seconds = 3 * GATHER_SECONDS
    start = trio.current_time()
    for number in range(3):
        gathering.schedule(Talker(number))
        await trio.sleep(GATHER_SECONDS)
    await gathering.barrier()
    assert begun(gathering_log, start) == [(0, 1), (6, 2)]


@pytest.mark.parametrize("before", [True, False])
async def test_hurry_ends_the_gathering(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog, *, before: bool
) -> None:
    """After a call of ``hurry()`` a commit begins at once, whether the batch is scheduled before or after the call."""
    start = trio.current_time()
    gathering.schedule(Talker(1))
    await trio.sleep(0.6 * GATHER_SECONDS)
    if before:
        gathering.hurry()
    gathering.schedule(Talker(2))
    await trio.testing.wait_all_tasks_blocked()
    if not before:
        gathering.hurry()
    await trio.sleep(0.1 * GATHER_SECONDS)
    gathering.schedule(Talker(3))
    await trio.sleep(0.9 * GATHER_SECONDS)
    await gathering.barrier()
    assert begun(gathering_log, start) == [(0, 1), (1.2, 1), (3.2, 1)]


async def test_a_barrier_ends_the_gathering(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog
) -> None:
    """If a task calls ``barrier()``, a commit begins at once, without waiting for ``gather_seconds``."""
    start = trio.current_time()
    gathering.schedule(Talker(1))
    await trio.sleep(0.6 * GATHER_SECONDS)
    gathering.schedule(Talker(2))
    await gathering.barrier()
    assert begun(gathering_log, start) == [(0, 1), (1.2, 1)]


@pytest.mark.parametrize(("events", "begun_at"), [(47, 2.0), (48, 0.5)])
async def test_three_quarters_of_a_window_are_committed_at_once(
    autojump_clock: MockClock, gathering: Committer, gathering_log: SlowLog, events: int, begun_at: float
) -> None:
    """If the uncommitted events fill three quarters of their allowed number (the window), a commit begins at once.

    With one event fewer, the commit waits for ``gather_seconds``.
    """
    gathering_log.seconds = 0.0
    async with gathering_log as log:
        key = StreamKey("alice", "s1")
        stream = SessionStream(
            key,
            await log.make(key),
            log=log,
            committer=gathering,
            retention=Retention(),
            limits=StreamLimits(ring_events=1024, ring_bytes=1 << 20, window=64, command_seconds=300),
            on_failure=raise_it,
        )
        start = trio.current_time()
        gathering.schedule(Talker(1))
        await trio.sleep(0.000_5)
        for _ in range(events):
            stream.put(b'"type":"custom","data":', b"{}")
        await stream.admit()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(GATHER_SECONDS)
    assert begun(gathering_log, start) == [(0, 1), (begun_at, 1)]


def raise_it(error: LogError) -> None:
    raise error


class InstantLog(SlowLog):
    """A log that appends at once, without letting another task run, like the memory log."""

    async def append(self, batches: Sequence[Batch]) -> None:
        self.commits.append((trio.current_time(), len(batches)))


@pytest.mark.parametrize(("sources", "rounds"), [(CROWD - 1, 1), (CROWD, 1 + CROWD_ROUNDS)])
async def test_commit_of_many_sources_waits_a_few_rounds(nursery: trio.Nursery, sources: int, rounds: int) -> None:
    """If ``CROWD`` or more sources have events, a commit is delayed by ``CROWD_ROUNDS`` steps of trio's scheduler.

    In each step every task that is ready runs once. With fewer sources there is no delay.
    """
    log = InstantLog()
    committer = Committer(log)
    nursery.start_soon(committer.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(20):  # the scheduler draws at random which task runs first
        log.commits.clear()
        for number in range(sources):
            committer.schedule(Talker(number))
        for _ in range(rounds):
            assert rounds == 1 or not log.commits
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert [count for _, count in log.commits] == [sources]


async def test_commits_are_plain_calls_if_the_log_never_waits(nursery: trio.Nursery) -> None:
    """If the log has an appender, its coroutine ``append`` is not used, and commits are not timed.

    If the appender raises, ``append`` decides: here it has no fault.
    """

    class Refusing(MemoryLog):
        refuses = False
        awaited = 0

        async def append(self, batches: Sequence[Batch]) -> None:
            self.awaited += len(batches)
            await super().append(batches)

        def appender(self) -> Callable[[Sequence[Batch]], None]:
            return self.append_or_refuse

        def append_or_refuse(self, batches: Sequence[Batch]) -> None:
            if self.refuses:
                raise OSError("not now")
            MemoryLog._append(self, batches)  # noqa: SLF001 - its appender

    log = Refusing()
    async with log:
        committer = Committer(log)
        nursery.start_soon(committer.run)
        for log.refuses, events in ((False, 3), (True, 6), (False, 9)):
            for number in range(3):
                source = Numbered(number, events // 3)
                await log.make(source.batch().key)
                committer.schedule(source)
            await committer.barrier()
            assert log.statistics().events == events
        assert (log.awaited, sum(committer.statistics().waits)) == (3, 0)


@attrs.define(eq=False)
class Numbered(Talker):
    """A source whose one event has the seq ``first``."""

    first: int

    def batch(self) -> Batch:
        line = b'{"seq":%d,"ts":1}' % self.first
        return Batch(StreamKey("alice", f"s{self.number}"), self.first, [line], b"")


def test_each_append_of_a_subclass_is_called() -> None:
    """A subclass of the memory log that overrides ``append`` alone has no appender."""
    assert (MemoryLog().appender() is None, InstantLog().appender()) == (False, None)


async def test_source_that_emits_at_each_commit(nursery: trio.Nursery) -> None:
    """If each commit causes another event, the other tasks run nevertheless."""

    @attrs.define(eq=False)
    class Endless(Numbered):
        def on_committed(self, batch: Batch) -> None:
            self.first += 1
            committer.schedule(self)

    async with MemoryLog() as log:
        await log.make(StreamKey("alice", "s1"))
        committer = Committer(log)
        nursery.start_soon(committer.run)
        committer.schedule(Endless(1, 1))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert 4 <= log.statistics().events <= 20


async def test_due_commit(nursery: trio.Nursery) -> None:
    """Another task can commit what is scheduled at once, but not while the committer waits for more sources."""
    async with MemoryLog() as log:
        for number in range(CROWD + 1):
            await log.make(StreamKey("alice", f"s{number}"))
        committer = Committer(log)
        nursery.start_soon(committer.run)
        await trio.testing.wait_all_tasks_blocked()
        committer.schedule(Numbered(CROWD, 1))
        assert commit_due(committer)
        assert log.statistics().events == 1
        assert commit_due(committer)  # nothing is left
        for number in range(CROWD):
            committer.schedule(Numbered(number, 1))
        for _ in range(CROWD_ROUNDS):  # one more could be after the commit
            await trio.lowlevel.checkpoint()
        assert not commit_due(committer)
        await committer.barrier()
        assert log.statistics().events == CROWD + 1


async def test_callbacks_after_commits(nursery: trio.Nursery) -> None:
    """A callback in ``after_commits`` is called once for each commit, after the sources of events were notified."""
    told: list[str] = []

    @attrs.define(eq=False)
    class Told(Talker):
        def on_committed(self, batch: Batch) -> None:
            told.append(f"s{self.number}")

    committer = Committer(InstantLog())
    committer.after_commits[lambda: told.append("all")] = None
    nursery.start_soon(committer.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        committer.schedule(Told(1))
        committer.schedule(Told(2))
        await committer.barrier()
        assert told == ["s1", "s2", "all"]
        told.clear()
