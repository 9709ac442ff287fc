"""Consumers get each committed event of every session at least once and in order, and continue where they stopped."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import (
    Agents,
    ConfigError,
    EventLog,
    Lagged,
    LogCorrupt,
    LogError,
    LogUnavailable,
    MemoryLog,
    Observed,
    Retention,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    Trimmed,
    open_system,
)
from actors.sessions import _consumer, _consumer_marks, _consumer_unread
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors import Consumer, ConsumerPosition

KEY = StreamKey("alice", "s1")


@asynccontextmanager
async def sessions_on(log: EventLog | None = None, **settings: Any) -> AsyncGenerator[Sessions]:
    """Run the sessions of a server over a log."""
    sessions = Sessions(log or MemoryLog(), Agents(), SessionSettings(**settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


async def emit(sessions: Sessions, *values: int, session: str = "s1", user: str = "alice") -> None:
    """Emit ``custom`` events and wait until they are committed."""
    handle = await sessions.get(user, session)
    for value in values:
        await handle.emit("number", value)
    await trio.testing.wait_all_tasks_blocked()


def shown(item: Observed | Lagged) -> Any:
    """Return the value of a custom event, or the Lagged itself."""
    return item.event.data.get("value") if isinstance(item, Observed) else item


async def take(consumer: Consumer, count: int) -> list[Any]:
    """Return the next items. The last of them is not acknowledged."""
    return [shown(await anext(consumer)) for _ in range(count)]


async def rest(consumer: Consumer) -> list[Any]:
    """Return the items that come without new events. All of them are acknowledged."""
    found: list[Any] = []
    with trio.move_on_after(10):
        async for item in consumer:
            found.append(shown(item))  # noqa: PERF401 - what came before the cancellation counts
    return found


async def test_consumer_continues(autojump_clock: trio.testing.MockClock) -> None:
    """A consumer gets each event once, in order, with its session and epoch. The next one continues behind it."""
    log = MemoryLog()
    async with sessions_on(log) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 1, 2)
            item = await anext(consumer)
            head = await log.head(KEY)
            assert head is not None
            assert isinstance(item, Observed)
            assert (item.user, item.session, item.epoch, item.event.seq) == (*KEY, head.epoch, 1)
            assert await rest(consumer) == [2]
            await emit(sessions, 3)
            assert await rest(consumer) == [3]
        await emit(sessions, 4)
        await emit(sessions, 5, user="bob")
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == [4, 5]
            assert (consumer.delivered, consumer.missed) == (2, 0)


@pytest.mark.parametrize(
    ("from_start", "expected"), [(True, [1, 2, 3, 4]), (False, [3, 4])], ids=["from start", "new events"]
)
async def test_begin_of_a_consumer(
    from_start: bool, expected: list[int], autojump_clock: trio.testing.MockClock
) -> None:
    """A new consumer begins with the oldest events, or with those that are committed after its start."""
    async with sessions_on() as sessions:
        await emit(sessions, 1, 2)
        async with sessions.consumers.consume("billing", from_start=from_start) as consumer:
            await emit(sessions, 3)
            await emit(sessions, 4, session="s2")
            assert await rest(consumer) == expected


async def test_sessions_that_are_not_in_memory(autojump_clock: trio.testing.MockClock) -> None:
    """A consumer gets the events of sessions that were closed, or that left memory, without making them again."""
    async with sessions_on(idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing"):
            pass
        await emit(sessions, 1, 2)
        await emit(sessions, 3, session="closed")
        await (await sessions.get("alice", "closed")).close()
        await trio.sleep(10)
        spawned = sessions.statistics().spawned
        async with sessions.consumers.consume("billing") as consumer:
            assert sorted(await rest(consumer)) == [1, 2, 3]
        assert (sessions.statistics().sessions, sessions.statistics().spawned) == (0, spawned)


async def fail_at(sessions: Sessions, value: int) -> None:
    """Consume up to an event, and raise KeyError."""
    async with sessions.consumers.consume("billing") as consumer:
        async for item in consumer:
            if shown(item) == value:
                raise KeyError(value)


async def test_unacknowledged_item_comes_again(autojump_clock: trio.testing.MockClock) -> None:
    """If a loop is left by an exception or ``break``, its present item comes again, unless ``ack`` was called."""
    async with sessions_on() as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 1, 2, 3, 4)
            async for item in consumer:
                if shown(item) == 2:
                    break
        with pytest.raises(KeyError):
            await fail_at(sessions, 3)
        async with sessions.consumers.consume("billing") as consumer:
            assert await take(consumer, 1) == [3]
            await consumer.ack()
            await consumer.ack()
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == [4]


async def test_types_of_a_consumer(autojump_clock: trio.testing.MockClock) -> None:
    """A consumer gets only events of its types, and its position passes the others."""
    log = MemoryLog()
    async with sessions_on(log) as sessions:
        async with sessions.consumers.consume("billing", ("agent_completed",)) as consumer:
            await emit(sessions, 1, 2)
            assert await rest(consumer) == []
        assert [(one.name, one.unread) for one in await sessions.consumers.usage()] == [("billing", 0)]
        async with sessions.consumers.consume("billing", ("custom",)) as consumer:
            await emit(sessions, 3)
            assert await rest(consumer) == [3]


class Counting(MemoryLog):
    """A memory log that keeps the acknowledged positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[list[int]] = []

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        await super().acknowledge(name, positions, lost)
        self.stored.append([each.seq for each in positions])


async def test_positions_are_stored_together(autojump_clock: trio.testing.MockClock) -> None:
    """Positions are stored after 256 handled events, after a second, when no event is left, and when it is closed."""
    log = Counting()
    async with sessions_on(log) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, *range(1, 301))
            await take(consumer, 256)
            assert log.stored == []
            await take(consumer, 1)
            assert log.stored == [[256]]
            await trio.sleep(0.9)
            await take(consumer, 1)
            await trio.sleep(0.9)
            await take(consumer, 1)
            assert log.stored == [[256]]
            await trio.sleep(0.2)
            await take(consumer, 1)
            assert log.stored == [[256], [259]]
            await rest(consumer)
            assert log.stored == [[256], [259], [300]]
            await emit(sessions, 301, 302)
            await take(consumer, 2)
        assert log.stored == [[256], [259], [300], [301]]


async def test_retention_keeps_unread_events(autojump_clock: trio.testing.MockClock) -> None:
    """Beyond its limits, retention keeps the events that a consumer has not read. When they are read, they go."""
    log = MemoryLog()
    async with sessions_on(log, retain_events=3) as sessions:
        async with sessions.consumers.consume("billing"):
            await emit(sessions, *range(1, 11))
        handle = await sessions.get("alice", "s1")
        assert [event.seq for event in await handle.history()] == list(range(1, 11))
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == list(range(1, 11))
        assert [event.seq for event in await handle.history()] == [8, 9, 10]


async def test_trimmed_events_are_told(autojump_clock: trio.testing.MockClock) -> None:
    """A consumer gets the number of the events that were deleted before it read them, in their place, only once."""
    async with sessions_on(retain_events=3, retain_unread_seconds=0, idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, *range(1, 11))
            await (await sessions.get("alice", "s1")).history()
            await trio.sleep(10)  # memory still had the events
            assert await take(consumer, 1) == [Lagged(7, "alice", "s1")]
        async with sessions.consumers.consume("billing") as consumer:  # it was not acknowledged
            assert await rest(consumer) == [Lagged(7, "alice", "s1"), 8, 9, 10]
            assert (consumer.delivered, consumer.missed) == (3, 7)
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == []


async def test_removed_sessions_are_told(autojump_clock: trio.testing.MockClock) -> None:
    """The unread events of sessions that were removed from the log are told at the next start, only once."""
    log = MemoryLog()
    async with sessions_on(log, idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing"):
            await emit(sessions, 1, 2)
        await trio.sleep(10)
        await log.remove(KEY)
        async with sessions.consumers.consume("billing") as consumer:
            assert await take(consumer, 1) == [Lagged(2)]
        await emit(sessions, 3)
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == [Lagged(2), 3]
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == []


async def test_session_that_was_made_again(autojump_clock: trio.testing.MockClock) -> None:
    """A session that was removed and made again, while a consumer runs, is consumed from its first event."""
    log = MemoryLog()
    async with sessions_on(log, idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 1, 2, 3)
            assert await rest(consumer) == [1, 2, 3]
            await trio.sleep(10)
            await log.remove(KEY)
            await emit(sessions, 4, 5)
            assert await rest(consumer) == [4, 5]
            await trio.sleep(10)
            await log.remove(KEY)
            await emit(sessions, 6, 7, 8, 9)
            await trio.sleep(10)  # it is read from the log
            await log.trim(KEY, Retention(events=0), 0)
            assert await rest(consumer) == [Lagged(4, "alice", "s1")]


@pytest.mark.parametrize("fault", [KeyError("s1"), Trimmed(1)], ids=["removed", "contradiction"])
async def test_log_that_changes_meanwhile(fault: Exception, autojump_clock: trio.testing.MockClock) -> None:
    """A session that is removed during a read is skipped. A log that contradicts itself is an error, not a loop."""

    class Changing(MemoryLog):
        async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
            raise fault

    async with sessions_on(Changing(), idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing"):
            await emit(sessions, 1)
        await trio.sleep(10)
        async with sessions.consumers.consume("billing") as consumer:
            if isinstance(fault, KeyError):
                assert await rest(consumer) == []
            else:
                with pytest.raises(LogCorrupt, match="event 1 is both kept and trimmed"):
                    await anext(consumer)


async def test_one_consumer_of_a_name() -> None:
    """Two consumers of one name at once are an error. After the first was closed or forgotten, another can begin."""
    async with sessions_on() as sessions:
        gc.disable()
        try:
            async with sessions.consumers.consume("billing"):
                other = sessions.consumers.consume("billing")
                with pytest.raises(ConfigError, match=r"^the consumer billing runs already"):
                    await anext(other)
                with pytest.raises(ConfigError, match=r"^the consumer billing runs already"):
                    await sessions.consumers.remove("billing")
                async with sessions.consumers.consume("audit"):
                    assert [one.name for one in sessions.statistics().consumers] == ["billing", "audit"]
            async with other:
                pass
            forgotten = await sessions.consumers.consume("billing").__aenter__()
            del forgotten
            assert sessions.statistics().consumers == ()
            await emit(sessions, 1)
            async with sessions.consumers.consume("billing") as consumer:
                assert await take(consumer, 1) == [1]
        finally:
            gc.enable()


async def test_failing_log_loses_nothing(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """If positions cannot be stored, the consumer raises and can go on. At its end, this is a warning."""
    log = FaultyLog(MemoryLog())
    async with sessions_on(log, idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 1, 2)
            log.fail("acknowledge", 2)
            assert await take(consumer, 2) == [1, 2]
            for _ in range(2):
                with pytest.raises(LogUnavailable):
                    await anext(consumer)
            assert await rest(consumer) == []
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 3, 4)
            assert await take(consumer, 2) == [3, 4]
            log.fail("acknowledge")
        assert "the last positions of the consumer billing could not be stored" in caplog.text
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == [3, 4]
        await emit(sessions, 5)
        await trio.sleep(10)
        await log.remove(KEY)
        async with sessions.consumers.consume("billing") as consumer:
            assert await take(consumer, 1) == [Lagged(1)]
            log.fail("acknowledge")
            with pytest.raises(LogUnavailable):
                await consumer.ack()
            await consumer.ack()
        assert [one.lost for one in await sessions.consumers.usage()] == [0]


async def test_cancelled_read_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A call that is cancelled while it reads the log or waits for an event loses no event."""
    log = FaultyLog(MemoryLog())
    async with sessions_on(log, idle_seconds=1) as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            assert await rest(consumer) == []
            await emit(sessions, 1, 2)
            await trio.sleep(10)
            log.hold("read")
            for _ in range(2):
                with trio.move_on_after(1):
                    assert await take(consumer, 1) == [1]
            assert await rest(consumer) == [2]


async def test_many_sessions_with_news(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    """If more sessions have new events than a consumer remembers, it asks the log, and skips none."""
    monkeypatch.setattr(_consumer_unread, "MOST_DIRTY", 2)
    monkeypatch.setattr(_consumer_marks, "MOST_KNOWN", 2)
    monkeypatch.setattr(_consumer_unread, "SCAN_STREAMS", 2)
    async with sessions_on() as sessions, sessions.consumers.consume("billing") as consumer:
        for round_ in range(2):
            for number in range(7):
                await emit(sessions, 10 * round_ + number, session=f"s{number}")
            assert consumer.sessions == 2
            assert sorted(await rest(consumer)) == [10 * round_ + number for number in range(7)]


async def test_sessions_take_turns(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    """A consumer reads a page of one session, then of the next: a session with many events holds up no other."""
    monkeypatch.setattr(_consumer, "PAGE_EVENTS", 2)
    monkeypatch.setattr(_consumer_marks, "MOST_KNOWN", 1)
    async with sessions_on() as sessions, sessions.consumers.consume("billing") as consumer:
        await emit(sessions, 1, 2, 3, 4, 5)
        await emit(sessions, 11, 12, 13, session="s2")
        assert await rest(consumer) == [1, 2, 11, 12, 3, 4, 13, 5]


async def test_consumer_ends_with_the_server(autojump_clock: trio.testing.MockClock) -> None:
    """The iteration of a consumer stops when the server ends or when it is closed, and does not begin again."""
    stopped: list[bool] = []

    async def consume(sessions: Sessions) -> None:
        async with sessions.consumers.consume("billing") as consumer:
            async for _ in consumer:
                pass
            stopped.append(True)
            with pytest.raises(StopAsyncIteration):
                await anext(consumer)

    async with trio.open_nursery() as nursery:
        async with sessions_on() as sessions:
            nursery.start_soon(consume, sessions)
            await emit(sessions, 1)
            async with sessions.consumers.consume("closed") as consumer:
                await consumer.aclose()
                with pytest.raises(StopAsyncIteration):
                    await anext(consumer)
    assert stopped == [True]


async def test_log_without_positions() -> None:
    """With a log that keeps no positions, a consumer cannot begin, and the error says so."""

    class Plain(MemoryLog):
        start_consumer = EventLog.start_consumer

    async with sessions_on(Plain()) as sessions:
        consumer = sessions.consumers.consume("billing")
        with pytest.raises(LogError, match=r"^a log of the kind Plain keeps no positions of consumers: use"):
            await anext(consumer)
        assert sessions.statistics().consumers == ()


@pytest.mark.parametrize("name", ["", "n" * 129, "\ud800", 5, None])
async def test_names_of_consumers(name: Any) -> None:
    """The name of a consumer is a text of 1 to 128 characters."""
    async with sessions_on() as sessions:
        with pytest.raises(ConfigError, match=r"^a consumer needs a name of 1 to 128 characters, not "):
            sessions.consumers.consume(name)
        sessions.consumers.consume("n" * 128)


async def test_statistics_of_consumers(autojump_clock: trio.testing.MockClock) -> None:
    """An operator sees the running consumers, and the unread events of each consumer. A removed one is gone."""
    async with sessions_on() as sessions:
        async with sessions.consumers.consume("billing") as consumer:
            await emit(sessions, 1, 2, 3)
            await take(consumer, 1)
            (one,) = sessions.statistics().consumers
            assert (one.name, one.delivered, one.missed, one.sessions) == ("billing", 1, 0, 1)
        (usage,) = await sessions.consumers.usage()
        assert (usage.name, usage.unread, usage.lost) == ("billing", 3, 0)
        await sessions.consumers.remove("billing")
        assert await sessions.consumers.usage() == []
