"""The limit on a user's bytes in the log: beyond it the oldest events of all sessions of the user are trimmed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sessions.test_quotas import Watcher, asked, reached, sessions_with

from actors import ConfigError, EventLog, MemoryLog, Position, Run, SessionSettings, SqliteLog, StreamKey, verify_log
from actors.eventlog.base import Batch
from actors.events.line import timestamp
from actors.sessions import _user_retention
from actors.spi import Attach
from actors.streams._stream import now_ms
from actors.testing import FaultyLog, event_line

if TYPE_CHECKING:
    from pathlib import Path

TS = 1_700_000_000_000
ALL = 10**9


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    return MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.db")


async def fill(log: EventLog, user: str, sessions: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Append events with these times (ms after TS) and lengths to sessions s0, s1 …. Return each (ts, size)."""
    sizes: list[tuple[int, int]] = []
    for number, events in enumerate(sessions):
        key = StreamKey(user, f"s{number}")
        await log.make(key)
        lines = [event_line(seq, TS + ts, "x" * length) for seq, (ts, length) in enumerate(events, 1)]
        sizes += [(timestamp(line), len(line)) for line in lines]
        await log.append([Batch(key, 1, lines, b"")] if lines else [])
    return sizes


async def kept(log: EventLog, user: str) -> list[tuple[int, int]]:
    """Return (ts, size) of each event of the user that the log still has."""
    found: list[tuple[int, int]] = []
    for key in await log.streams():
        head = await log.head(key)
        if key.user == user and head is not None and head.oldest <= head.latest:
            lines = await log.read(key, head.oldest - 1, 100_000, ALL)
            found += [(timestamp(line), len(line)) for line in lines]
    return sorted(found)


async def next_ms() -> None:
    """Wait for the next millisecond, since events of the same one are trimmed together."""
    now = now_ms()
    while now_ms() == now:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("beyond", [0, 1])
async def test_retain_user_bytes(log: EventLog, beyond: int) -> None:
    """If a user has more than ``retain_user_bytes`` in the log, the oldest events of the user's sessions are removed.

    With exactly ``retain_user_bytes``, no event is removed. The events of other users are never removed.
    """
    interleaved = [[(2 * at + number, 100) for at in range(50)] for number in (0, 1)]
    async with log:
        before = await fill(log, "ann", interleaved)
        others = await fill(log, "bob", interleaved[:1])
        size = (await log.usage("ann")).size
        limits = {"retain_user_bytes": size - beyond, "retain_seconds": 1e12}
        async with sessions_with(log=Opened(log), **limits) as sessions:
            await sessions.get("bob", "s0")
            await sessions.get("ann", "new")
            await sessions.user_retention.trim("ann")
            left = await kept(log, "ann")
            assert left == sorted(before)[-len(left) :]
            if beyond:
                limit = (size - 1) - (size - 1) // 16
                assert limit - left[0][1] < sum(each for _, each in left) <= limit
            else:
                assert len(left) == 100
            assert await kept(log, "bob") == sorted(others)
            assert reached(sessions, "retain_user_bytes") == beyond


class Opened(MemoryLog):
    """A log that is open already: the test fills it before the sessions use it, and reads it afterwards."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__()
        calls = ("make", "head", "append", "mark", "read", "trim", "streams", "usage", "oldest_streams", "remove")
        for name in (*calls, "revoke", "revocations"):
            setattr(self, name, getattr(inner, name))

    async def open(self) -> None: ...
    async def close(self) -> None: ...


events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=12)


@settings(max_examples=scaled(60, 1_000))
@given(steps=st.lists(events, min_size=1, max_size=6), limit=st.integers(1, 8_000), page=st.integers(1, 5))
@example(steps=[[(0, 100), *[(1, 100)] * 9], [(20, 0)]], limit=1_500, page=1)
def test_trimming_against_a_model(steps: list[list[tuple[int, int]]], limit: int, page: int) -> None:
    """A trim removes the oldest events over all sessions of a user, and no more events than necessary."""
    sessions = []
    for each in steps:
        ts, one = 0, list[tuple[int, int]]()
        for later, length in each:
            ts += later
            one.append((ts, length))
        sessions.append(one)

    async def main() -> None:
        log = MemoryLog()
        async with log:
            before = sorted(await fill(log, "ann", sessions))
            total = sum(size for _, size in before)
            async with sessions_with(log=Opened(log), retain_user_bytes=limit, retain_seconds=1e12) as made:
                await made.get("ann", "new")
                await made.user_retention.trim("ann")
            left = await kept(log, "ann")
            if total <= limit:
                assert left == before
                return
            target = limit - limit // 16
            newest = max(Counter(before) - Counter(left))[0]
            assert [each for each in left if each[0] > newest] == [each for each in before if each[0] > newest]
            assert all(ts >= newest for ts, _ in left)
            assert sum(size for _, size in left) <= target
            assert sum(size for ts, size in before if ts >= newest) > target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_user_retention, "PAGE_EVENTS", page)
        patch.setattr(_user_retention, "CANDIDATES", 2)
        trio.run(main)


async def test_events_of_open_runs_are_not_trimmed(autojump_clock: trio.testing.MockClock) -> None:
    """A trim does not remove the events of an open run, or later events of the same session.

    If the user's events still need more than the limit, new starts of the user are refused as ``overloaded``. When the
    run has ended, its events are trimmed, and runs can be started again.
    """
    log, go_on = MemoryLog(), trio.Event()

    async def fills(run: Run) -> None:
        for _ in range(20):
            await run.output("x" * 1_000)
        await go_on.wait()

    async with sessions_with(fills, log=log, retain_user_bytes=10_000) as sessions:
        for _ in range(5):
            await asked(sessions, "ann", "s1", "message.send", text="x" * 1_000)
            await asked(sessions, "ann", "s2", "message.send", text="x" * 1_000)
        await trio.sleep(5)
        await next_ms()
        await (await sessions.get("ann", "s1")).start("fills")
        await trio.sleep(5)
        head = await log.head(StreamKey("ann", "s1"))
        assert head is not None
        assert b"agent_started" in (await log.read(StreamKey("ann", "s1"), head.oldest - 1, 1, ALL))[0]
        assert await kept(log, "ann") == await kept_of(log, StreamKey("ann", "s1"))
        assert (await asked(sessions, "ann", "s2", "run.start", agent="fills")).code == "overloaded"
        assert sessions.statistics().quotas.full == 1
        assert (await asked(sessions, "bob", "s2", "run.start", agent="fills")).code is None
        go_on.set()
        await trio.sleep(5)
        assert sessions.statistics().quotas.full == 0
        assert (await log.usage("ann")).size <= 10_000
        assert (await asked(sessions, "ann", "s2", "run.start", agent="fills")).code is None
        await trio.sleep(5)
        assert (await verify_log(log)).faults == ()


async def kept_of(log: EventLog, key: StreamKey) -> list[tuple[int, int]]:
    head = await log.head(key)
    assert head is not None
    lines = await log.read(key, head.oldest - 1, 100_000, ALL)
    return sorted((timestamp(line), len(line)) for line in lines)


async def test_one_user_within_all_other_limits(log: EventLog) -> None:
    """If a user writes into one new session after another, the log keeps the newest ``retain_user_bytes`` of events."""
    async with sessions_with(log=log, retain_user_bytes=100_000, max_sessions_per_user=3) as sessions:
        for number in range(60):
            reply = await asked(sessions, "ann", f"s{number // 3}", "message.send", text="x" * 10_000)
            assert reply.code is None
            await next_ms()
            await sessions.user_retention.trim("ann")
            assert (await log.usage("ann")).size <= 100_000
        assert (await log.usage("ann")).size > 80_000
        assert (await log.read(StreamKey("ann", "s19"), 0, 10, ALL))[-1]
        assert reached(sessions, "retain_user_bytes") >= 5


async def test_client_whose_events_were_trimmed_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """If a client resumes before events that were trimmed meanwhile, it gets a reset with the reason ``trimmed``."""
    log = MemoryLog()
    async with sessions_with(log=log, retain_user_bytes=20_000) as sessions:
        attachment = await sessions.attach("ann", "s1", Attach("c1", Watcher()))
        for _ in range(30):
            await asked(sessions, "ann", "s1", "message.send", text="x" * 1_000)
            await trio.sleep(1)
        resumed = await sessions.attach("ann", "s1", Attach("c2", Watcher(), Position(attachment.epoch, 1)))
        head = await log.head(StreamKey("ann", "s1"))
        assert head is not None
        assert (resumed.recovered, resumed.reset, resumed.oldest) == (False, "trimmed", head.oldest)
        assert head.oldest > 2
        attachment.detach()
        resumed.detach()


async def test_size_is_known_after_a_restart(tmp_path: Path) -> None:
    """After a restart, the events that a user already has in the log still count towards ``retain_user_bytes``."""
    async with sessions_with(log=SqliteLog(tmp_path / "log.db")) as sessions:
        for number in range(20):
            await asked(sessions, "ann", f"s{number}", "message.send", text="x" * 1_000)
    log = SqliteLog(tmp_path / "log.db")
    async with sessions_with(log=log, retain_user_bytes=10_000) as sessions:
        await sessions.get("ann", "s1")
        await sessions.user_retention.trim("ann")
        assert (await log.usage("ann")).size <= 10_000


def test_limit_is_a_whole_number() -> None:
    """``retain_user_bytes`` must be a whole number of at least 1."""
    for value in (0, -1, 1.5, "1"):
        with pytest.raises(ConfigError, match="retain_user_bytes"):
            SessionSettings(retain_user_bytes=value)  # type: ignore[arg-type]  # that is the point


async def test_writes_wait_for_the_trimming(autojump_clock: trio.testing.MockClock) -> None:
    """A user can exceed ``retain_user_bytes`` by a sixteenth. Beyond that, messages and starts are ``overloaded``.

    When old events were trimmed, they are accepted again. Other users are not affected.
    """

    async def quick(run: Run) -> None: ...

    log = FaultyLog(MemoryLog())
    hold = log.hold("read")
    async with sessions_with(quick, log=log, retain_user_bytes=32_000) as sessions:
        codes = [(await asked(sessions, "ann", "s1", "message.send", text="x" * 2_000)).code for _ in range(20)]
        accepted = codes.index("overloaded")
        assert 34_000 < accepted * 2_070 < 38_000
        assert (await asked(sessions, "ann", "s2", "run.start", agent="quick")).code == "overloaded"
        assert (await asked(sessions, "bob", "s1", "message.send", text="x")).code is None
        hold.released.set()
        await trio.sleep(5)
        assert (await asked(sessions, "ann", "s1", "message.send", text="x" * 2_000)).code is None
        assert (await asked(sessions, "ann", "s2", "run.start", agent="quick")).code is None
