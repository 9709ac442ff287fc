"""A subscription returns committed lines in order, without a gap, until it ends with a reason."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors import LogUnavailable, MemoryLog, Retention, StreamKey
from actors.streams._committer import Committer
from actors.streams._cursor import SessionEnding
from actors.streams._listeners import notify_ended, notify_events
from actors.streams._stream import SessionStream, StreamLimits
from actors.streams.subscription import Subscription, SubscriptionEnd
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from actors import LogError

KEY = StreamKey("alice", "s1")
RING = 8


@attrs.define(eq=False)
class Source:
    """A session's stream over a log that can fail, and the committer that serves it."""

    stream: SessionStream
    log: FaultyLog
    failures: list[LogError]

    async def emit(self, count: int) -> None:
        """Put events and wait until all of them are committed."""
        for _ in range(count):
            if self.stream.put(b'"type":"custom","data":', b"{}"):
                await self.stream.admit()
        await self.stream.synced()

    def end(self, reason: SessionEnding) -> None:
        """End the session for its listeners."""
        notify_ended(self.stream.cursors, reason)


@asynccontextmanager
async def source_with(retention: Retention = Retention()) -> AsyncIterator[Source]:  # noqa: B008 - frozen
    log, failures = FaultyLog(MemoryLog()), list["LogError"]()
    async with log, trio.open_nursery() as nursery:
        committer = Committer(log)
        nursery.start_soon(committer.run)
        stream = SessionStream(
            KEY,
            await log.make(KEY),
            log=log,
            committer=committer,
            retention=retention,
            limits=StreamLimits(ring_events=RING, ring_bytes=1 << 20, window=64, command_seconds=300),
            on_failure=failures.append,
        )
        yield Source(stream, log, failures)
        nursery.cancel_scope.cancel()


def subscribed(source: Source, after: int = 0, max_events: int = 256, max_bytes: int = 1 << 20) -> Subscription:
    """Attach a new subscription after the event ``after``, and return it. The test may detach it."""
    subscription = Subscription(max_events=max_events, max_bytes=max_bytes)
    return subscription.follow(source.stream.attach(subscription, after))


def seqs(lines: Sequence[bytes]) -> list[int]:
    return [int(line[len(b'{"seq":') : line.index(b",")]) for line in lines]


async def read(subscription: Subscription, seen: list[int]) -> None:
    """Read until the subscription ends. Add the seqs of all lines to ``seen``."""
    async for lines in subscription:
        assert lines
        seen += seqs(lines)


@pytest.mark.parametrize("bursts", [[1], [1, 1, 1], [20], [3, 50, 1, 17]], ids=str)
async def test_lines_come_in_order_without_a_gap(nursery: trio.Nursery, bursts: list[int]) -> None:
    """A subscription returns all committed events in the order of seq, each once, also if many are emitted at once."""
    async with source_with() as source:
        subscription, seen = subscribed(source), list[int]()
        nursery.start_soon(read, subscription, seen)
        for count in bursts:
            await source.emit(count)
            await trio.testing.wait_all_tasks_blocked()
            assert seen == list(range(1, source.stream.seq + 1))
        assert source.stream.statistics().log_reads == 0 or max(bursts) > RING
        source.end(SessionEnding.SHUTDOWN)


async def test_a_batch_is_within_its_bounds() -> None:
    """A batch of a subscription has at most ``max_events`` lines and ``max_bytes`` bytes, but at least one line."""
    async with source_with() as source:
        await source.emit(7)
        line = len(source.stream.slice(0, 1)[0])
        for events, size, expected in [(3, 1 << 20, 3), (100, 2 * (line + 1), 2), (100, 1, 1)]:
            subscription = subscribed(source, max_events=events, max_bytes=size)
            assert len(await anext(subscription)) == expected
            assert subscription.position == expected
            subscription.detach()


async def test_a_reader_that_fell_behind_reads_the_log() -> None:
    """If a reader is too slow, it reads the older lines from the log. Then it continues in memory without a gap."""
    async with source_with() as source:
        subscription = subscribed(source, max_events=5)
        await source.emit(10 * RING)
        assert source.stream.oldest_in_memory > 1
        seen = list[int]()
        while len(seen) < 10 * RING:
            seen += seqs(await anext(subscription))
        assert seen == list(range(1, 10 * RING + 1))
        reads = source.stream.statistics().log_reads
        assert 0 < reads < 10 * RING / 5
        subscription.detach()


async def test_a_subscription_resumes_at_a_position() -> None:
    """A subscription that is attached at a position returns the events after this position."""
    async with source_with() as source:
        await source.emit(6)
        subscription = subscribed(source, after=4)
        assert seqs(await anext(subscription)) == [5, 6]
        subscription.detach()


@pytest.mark.parametrize("reason", list(SessionEnding))
async def test_the_last_events_of_a_session_come_before_its_end(reason: SessionEnding) -> None:
    """When a session ends, a subscription first returns all committed events, from memory or from the log.

    Then it stops, and ``end`` is the reason why the session ended.
    """
    async with source_with() as source:
        subscription, seen = subscribed(source, max_events=5), list[int]()
        await source.emit(4 * RING)
        source.end(reason)
        assert subscription.end is None
        await read(subscription, seen)
        assert seen == list(range(1, 4 * RING + 1))
        assert subscription.end == SubscriptionEnd(reason)
        await read(subscription, seen)
        assert len(seen) == 4 * RING


async def test_an_end_wakes_a_reader_that_waits(nursery: trio.Nursery) -> None:
    """A task that waits for events of a subscription is woken when the session ends or the subscription is detached."""
    async with source_with() as source:
        ended, detached = subscribed(source), subscribed(source)
        with trio.fail_after(60):
            async with trio.open_nursery() as readers:
                readers.start_soon(read, ended, [])
                readers.start_soon(read, detached, [])
                await trio.testing.wait_all_tasks_blocked()
                detached.detach()
                source.end(SessionEnding.CLOSED)
        assert (ended.end, detached.end) == (SubscriptionEnd.CLOSED, SubscriptionEnd.DETACHED)


async def test_nothing_comes_after_a_detachment() -> None:
    """A detached subscription returns no more events, not even from a read of the log that has already begun."""
    async with source_with() as source:
        at_rest, reading = subscribed(source, after=3 * RING), subscribed(source)
        await source.emit(4 * RING)
        seen = list[int]()
        async with trio.open_nursery() as readers:
            readers.start_soon(read, reading, seen)
            await trio.lowlevel.checkpoint()
            at_rest.detach()
            reading.detach()
            reading.detach()
        await read(at_rest, seen)
        assert (seen, at_rest.end, reading.end) == ([], SubscriptionEnd.DETACHED, SubscriptionEnd.DETACHED)
        assert source.stream.cursors == {}


async def test_the_block_of_a_subscription_detaches_it() -> None:
    """At the end of the ``with`` block of ``follow()`` the cursor is detached.

    A second call of ``follow()`` is refused.
    """
    async with source_with() as source:
        subscription = Subscription()
        with pytest.raises(RuntimeError, match="no cursor yet"):
            await anext(subscription)
        cursor = source.stream.attach(subscription, 0)
        with subscription.follow(cursor), pytest.raises(RuntimeError, match="already"):
            subscription.follow(cursor)
        assert (cursor.detached, subscription.end) == (True, SubscriptionEnd.DETACHED)
        with Subscription() as never_followed:
            pass
        assert never_followed.end == SubscriptionEnd.DETACHED


async def test_a_reader_that_the_log_has_overtaken_ends_as_trimmed() -> None:
    """If the log no longer has the next event of a subscription, the subscription ends as ``trimmed``."""
    async with source_with(Retention(events=4)) as source:
        subscription = subscribed(source)
        await source.emit(10 * RING)
        await source.stream.oldest()
        seen = list[int]()
        await read(subscription, seen)
        assert (seen, subscription.end, subscription.position) == ([], SubscriptionEnd.TRIMMED, 0)


async def test_a_failed_read_of_the_log_can_be_tried_again() -> None:
    """If a read of the log fails, the subscription raises the error, and the next call returns the missing batch."""
    async with source_with() as source:
        subscription = subscribed(source, max_events=5)
        await source.emit(4 * RING)
        source.log.fail("read")
        with pytest.raises(LogUnavailable):
            await anext(subscription)
        assert (subscription.end, seqs(await anext(subscription))) == (None, [1, 2, 3, 4, 5])
        subscription.detach()


@pytest.mark.parametrize("emitted", [0, 3, 4 * RING])
async def test_a_cancellation_loses_nothing(emitted: int) -> None:
    """If the wait for a batch is cancelled, no event is lost: the next call returns the batch.

    This holds if the batch comes from memory, if it is read from the log, and if there is no event yet.
    """
    async with source_with() as source:
        subscription = subscribed(source)
        await source.emit(emitted)
        for _ in range(3):
            with trio.move_on_after(0) as scope:
                await anext(subscription)
            assert scope.cancelled_caught
            assert subscription.position == 0
        await source.emit(1)
        seen = list[int]()
        while len(seen) < emitted + 1:
            seen += seqs(await anext(subscription))
        assert seen == list(range(1, emitted + 2))
        subscription.detach()


async def test_signals_go_to_a_subclass() -> None:
    """A subscription ignores signals. A subclass that overrides ``on_signal`` receives them."""

    class Noted(Subscription):
        names: list[str] = []  # noqa: RUF012 - of this test alone

        def on_signal(self, name: str, data: bytes) -> None:
            self.names.append(name)

    async with source_with() as source:
        plain, noted = Subscription(), Noted()
        for each in (plain, noted):
            each.on_signal("typing", b"{}")
            with each.follow(source.stream.attach(each, 0)):
                notify_events(source.stream.cursors)
        assert Noted.names == ["typing"]
