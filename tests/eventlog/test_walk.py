"""Reading a stream to its end, while the stream changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from _scale import scaled
from delivery.agents import server_on
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import greeted

from actors import LogCorrupt, MemoryLog, Retention, StreamKey, Trimmed, verify_log
from actors.eventlog import _walk
from actors.spi import StreamWalk
from actors.testing import event_batch
from transport.cli import log_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = StreamKey("anonymous", "s1")
NOTHING, TRIM, APPEND, REMOVE, ANEW = "nothing", "trim", "append", "remove", "anew"


class ChangingLog(MemoryLog):
    """A log that changes before each read, as if by another program.

    Each read does one step of ``plan``. After the end of the plan each read does its last step again.
    """

    plan: Sequence[tuple[str, int]] = ((NOTHING, 0),)
    reads = 0

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        step, number = self.plan[min(self.reads, len(self.plan) - 1)]
        self.reads += 1
        head = await self.head(key)
        if step == TRIM and head is not None:
            await self.trim(key, Retention(events=number), 0)
        elif step == APPEND and head is not None:
            await self.append([event_batch(key, head.latest + 1, number + 1)])
        elif step in {REMOVE, ANEW}:
            await self.remove(key)
        if step == ANEW:
            await self.make(key)
            await self.append([event_batch(key, 1, number + 1)])
        return await super().read(key, after, limit, size)


async def changing_log(plan: Sequence[tuple[str, int]], events: int) -> ChangingLog:
    """Return an open log with ``events`` events that follows ``plan``."""
    log = ChangingLog()
    await log.open()
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, events)])
    log.plan = plan
    return log


@given(
    plan=st.lists(
        st.tuples(st.sampled_from([NOTHING, TRIM, APPEND, REMOVE, ANEW]), st.integers(0, 12)), min_size=1, max_size=12
    ),
    events=st.integers(1, 12),
    page=st.integers(1, 4),
)
@settings(max_examples=scaled(100, 5000))
def test_walk_ends(plan: list[tuple[str, int]], events: int, page: int) -> None:
    """A ``StreamWalk`` comes to an end, even if the log is changed before each of its reads.

    The walk returns events of only one epoch, in order, and skips only events that retention deleted.
    """

    async def run() -> None:
        log = await changing_log(plan, events)
        walk = await StreamWalk.of(log, KEY)
        assert walk is not None
        last = 0
        while lines := await walk.page():
            first = walk.position - len(lines) + 1
            assert first > last
            wanted = [b'{"seq":%d,' % seq for seq in range(first, walk.position + 1)]
            assert [line[: len(seq)] for line, seq in zip(lines, wanted, strict=True)] == wanted
            head = await log.head(KEY)
            assert head is not None
            assert head.epoch == walk.head.epoch
            last = walk.position
        assert log.reads <= events + 1
        done = plan[: log.reads]
        assert walk.gone or walk.position >= events
        assert walk.gone <= any(step in {REMOVE, ANEW} for step, _ in done)
        if not any(step in {TRIM, REMOVE, ANEW} for step, _ in done):
            assert last == events

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_walk, "_PAGE_EVENTS", page)
        trio.run(run)


@pytest.mark.parametrize("step", [TRIM, APPEND, REMOVE, ANEW])
async def test_verify_and_export_end(
    step: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """``verify`` and ``export`` come to an end, even if the log is changed before each read.

    ``verify`` reports a stream as not checked only if it was removed and made anew during every attempt to read it.
    """
    monkeypatch.setattr(_walk, "_PAGE_EVENTS", 2)
    log = await changing_log([(NOTHING, 0), (step, 4)], 9)
    report = await verify_log(log)
    assert [fault.rule for fault in report.faults] == (["log"] if step == ANEW else [])
    assert report.sessions == (step in {TRIM, APPEND})
    log = await changing_log([(NOTHING, 0), (step, 4)], 9)
    await log_commands.export_session(log, KEY)
    printed = capsysbinary.readouterr()
    assert len(printed.out.splitlines()) == {TRIM: 6, APPEND: 9, REMOVE: 2, ANEW: 2}[step]
    assert printed.err.count(b"was forgotten") == {TRIM: 0, APPEND: 0, REMOVE: 1, ANEW: 3}[step]


class LyingLog(MemoryLog):
    """A log that returns no event although its head says that it has one, or reports this event as trimmed."""

    lies: Any = None

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        if self.lies is Trimmed:
            await trio.lowlevel.checkpoint()
            raise Trimmed(1)
        await super().read(key, after, limit, size)
        return []


@pytest.mark.parametrize("lies", [Trimmed, None])
async def test_missing_event_is_corrupt(lies: object) -> None:
    """If an event is missing in a log, the log is reported as corrupt. It is not read again and again."""
    log = LyingLog()
    log.lies = lies
    async with server_on(log).running(port=0) as server, greeted(server) as one:
        await one.say("hello")
        walk = await StreamWalk.of(log, KEY)
        assert walk is not None
        with pytest.raises(LogCorrupt, match="event 1 is"):
            await walk.page()
        assert [fault.rule for fault in (await verify_log(log)).faults] == ["log"]
        await one.send("history", id="h", after=0, limit=10)
        assert (await one.ended()).code == 4006
