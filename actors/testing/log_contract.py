"""The checks that every event log must pass.

For pytest with pytest-trio::

    class TestMyLog(EventLogContract):
        @pytest.fixture
        async def log(self):
            async with MyLog() as log:
                yield log
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.eventlog.base import Batch, EventLog, Head, LogStatistics, Retention, StreamKey
from actors.testing._contract_parts import ConsumerContract, CopyContract, RevocationContract, UserContract
from actors.testing._tools import ALL, KEY, OTHER, TS, event_batch, event_line, filled, refused, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EventLogContract", "event_batch", "event_line"]


async def _check_kept(log: EventLog, count: int) -> None:
    lines = [event_line(seq, TS + seq - 1) for seq in range(11 - count, 11)]
    head = await log.make(KEY)
    same((head.latest, head.size, head.oldest_ts), (10, sum(map(len, lines)), TS + 10 - count))
    same(list(await log.read(KEY, 10 - count, 99, ALL)), lines)


async def _called(append: Callable[[Sequence[Batch]], None], batches: Sequence[Batch]) -> None:
    append(batches)


class EventLogContract(UserContract, RevocationContract, ConsumerContract, CopyContract):
    """The tests that every event log must pass, one for each rule of the contract of :class:`~actors.EventLog`.

    A subclass defines the fixture ``log``: a log that is open and has no stream.
    """

    async def test_make_and_head(self, log: EventLog) -> None:
        """Check that ``make`` makes a stream only once, with an epoch of its own, and that ``head`` makes no stream."""
        same(await log.head(KEY), None)
        head = await log.make(KEY)
        same(head, Head(head.epoch, 1, 0, 0, 0, b""))
        same(await log.make(KEY), head)
        same(await log.head(KEY), head)
        same(len({"", head.epoch, (await log.make(OTHER)).epoch}), 3)
        same(await log.streams(), [KEY, OTHER])

    async def test_append_and_read(self, log: EventLog) -> None:
        """Check that a read returns the appended lines, and that the size of the stream is the size of these lines."""
        epoch, other = (await log.make(KEY)).epoch, await log.make(OTHER)
        batches = [event_batch(KEY, 1, 3, b"a"), event_batch(KEY, 4, 2, b"b")]
        await log.append(batches)
        lines = [line for batch in batches for line in batch.lines]
        same(await log.head(KEY), Head(epoch, 1, 5, sum(map(len, lines)), TS, b"b"))
        same(list(await log.read(KEY, 0, 100, ALL)), lines)
        same(await log.head(OTHER), other)
        same(list(await log.read(OTHER, 0, 100, ALL)), [])

    async def test_append_is_all_or_nothing(self, log: EventLog) -> None:
        """Check that an append stores none of its batches if it refuses one of them."""
        await log.make(KEY)
        before = await log.make(OTHER)
        for wrong in (event_batch(KEY, 2, 1), event_batch(KEY, 0, 1)):
            await refused(log.append([event_batch(OTHER, 1, 2, b"x"), wrong]), LogCorrupt)
        await refused(log.append([event_batch(OTHER, 1, 2), Batch(KEY, 1, [], b"")]), ValueError)
        await refused(log.append([event_batch(OTHER, 1, 2), event_batch(StreamKey("alice", "y"), 1, 1)]), KeyError)
        same(await log.head(OTHER), before)
        await log.append([event_batch(OTHER, 1, 2)])
        await refused(log.append([event_batch(OTHER, 1, 2)]), LogCorrupt)
        same(list(await log.read(OTHER, 0, 9, ALL)), [event_line(1, TS), event_line(2, TS + 1)])

    async def test_appender(self, log: EventLog) -> None:
        """Check that ``appender``, if the log has one, returns a function that does the same as ``append``."""
        if (append := log.appender()) is None:
            return
        for key in (KEY, OTHER):
            await log.make(key)
        append([event_batch(KEY, 1, 3, b"a"), event_batch(KEY, 4, 2, b"b"), event_batch(OTHER, 1, 1)])
        before = [await log.head(key) for key in (KEY, OTHER)]
        same([head and (head.latest, head.state) for head in before], [(5, b"b"), (1, b"")])
        unknown = event_batch(StreamKey("alice", "y"), 1, 1)
        for wrong in (event_batch(KEY, 7, 1), Batch(KEY, 6, [event_line(7)], b""), Batch(KEY, 6, [], b""), unknown):
            await refused(_called(append, [event_batch(OTHER, 2, 2, b"x"), wrong]), Exception)
        same([await log.head(key) for key in (KEY, OTHER)], before)
        await log.append([event_batch(KEY, 6, 1)])
        same(log.statistics().events, 7)
        await log.close()
        await refused(_called(append, [event_batch(KEY, 7, 1)]), LogUnavailable)

    async def test_wrong_numbers_are_refused(self, log: EventLog) -> None:
        """Check that a batch is refused if any line in it has a wrong seq."""
        await log.make(OTHER)
        await log.make(KEY)
        for first in (1, 8, 98):  # numbers of one digit, then numbers that grow to two digits, then to three
            before = first - 1 - (await log.make(KEY)).latest
            await log.append([event_batch(KEY, first - before, before)] if before else [])
            right = [event_line(first + i) for i in range(5)]
            for i, line in enumerate(right):
                for wrong in (right[i - 1], event_line(first + i + 1), line[1:], b"[]", b""):
                    lines = [*right[:i], wrong, *right[i + 1 :]]
                    await refused(log.append([event_batch(OTHER, 1, 2), Batch(KEY, first, lines, b"")]), LogCorrupt)
            same(((await log.make(KEY)).latest, (await log.make(OTHER)).latest), (first - 1, 0))
            await log.append([Batch(KEY, first, right, b"")])

    async def test_cancelled_append(self, log: EventLog) -> None:
        """Check that a cancelled append has stored nothing if it raised, and all its events if it returned."""
        await log.make(KEY)
        raised = True
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append([event_batch(KEY, 1, 2)])
            raised = False
        head = await log.make(KEY)
        same(head.latest, 0 if raised else 2)
        # In both cases the log must accept the next event.
        await log.append([event_batch(KEY, head.latest + 1, 1)])

    async def test_read_limits(self, log: EventLog) -> None:
        """Check that a read returns exactly the lines that fit both limits, or one line if no line fits."""
        await log.make(KEY)
        lines = [event_line(seq, text="x" * seq) for seq in range(1, 8)]
        await log.append([Batch(KEY, 1, lines[:3], b""), Batch(KEY, 4, lines[3:], b"")])
        for after in range(7):
            for count in range(1, 8 - after):
                wanted = lines[after : after + count]
                exact = sum(map(len, wanted))
                same(list(await log.read(KEY, after, count, ALL)), wanted)
                same(list(await log.read(KEY, after, 9, exact)), wanted)
                same(list(await log.read(KEY, after, 9, exact - 1)), wanted[:-1] or wanted)
        same([len(await log.read(KEY, after, 9, ALL)) for after in (7, 8)], [0, 0])

    async def test_trim_by_count(self, log: EventLog) -> None:
        """Check that a trim with a limit on the number of events keeps exactly this number of the newest events."""
        await filled(log)
        same((await log.trim(KEY, Retention(events=10), TS)).oldest, 1)
        for events in (9, 8, 4, 1):  # 9 and 4 drop whole batches of filled(), 8 and 1 only a part of a batch
            same((await log.trim(KEY, Retention(events=events), TS)).oldest, 11 - events)
            await _check_kept(log, events)

    async def test_trim_by_bytes(self, log: EventLog) -> None:
        """Check that events of exactly as many bytes as the limit are kept.

        If the limit is one byte lower, the oldest event is dropped.
        """
        lines = await filled(log)
        for oldest in range(1, 11):
            size = sum(map(len, lines[oldest - 1 :]))
            same((await log.trim(KEY, Retention(size=size), TS)).oldest, oldest)
            head = await log.trim(KEY, Retention(size=size - 1), TS)
            same((head.oldest, head.size), (oldest + 1, size - len(lines[oldest - 1])))

    async def test_trim_by_age(self, log: EventLog) -> None:
        """Check that an event exactly as old as the limit is kept, and that it is dropped a millisecond later."""
        await filled(log)
        for oldest in range(1, 11):
            now = TS + oldest - 1 + 60_000
            same((await log.trim(KEY, Retention(seconds=60), now)).oldest, oldest)
            head = await log.trim(KEY, Retention(seconds=60), now + 1)
            same((head.oldest, head.oldest_ts), (oldest + 1, TS + oldest if oldest < 10 else 0))  # noqa: PLR2004 - of 10

    async def test_position_and_state_survive_trim(self, log: EventLog) -> None:
        """Check that a stream keeps its epoch, its highest seq and its state when all its events are trimmed."""
        await filled(log)
        before = await log.make(KEY)
        head = await log.trim(KEY, Retention(events=0), TS)
        same(head, Head(before.epoch, 11, 10, 0, 0, before.state))
        same(await log.head(KEY), head)
        same(list(await log.read(KEY, 10, 9, ALL)), [])
        await log.append([event_batch(KEY, 11, 1, b"new")])
        lines = list(await log.read(KEY, 10, 9, ALL))
        same(lines, [event_line(11)])
        same(await log.head(KEY), Head(before.epoch, 11, 11, len(lines[0]), TS, b"new"))

    async def test_touched(self, log: EventLog) -> None:
        """Check that ``touched`` is the time of the newest event, even after that event was trimmed.

        While the stream has had no event, ``touched`` is the time of ``make``.
        """
        made = (await log.make(OTHER)).touched
        if made <= TS:
            raise AssertionError(f"touched is {made} for a stream made just now")
        await filled(log)
        newest = TS + 9
        same((await log.make(KEY)).touched, newest)
        for kept in (3, 0):
            same((await log.trim(KEY, Retention(events=kept), TS)).touched, newest)
        head = await log.head(KEY)
        same((head and head.touched, (await log.make(OTHER)).touched), (newest, made))

    async def test_mark_replaces_the_state(self, log: EventLog) -> None:
        """Check that ``mark`` replaces only the stream's state, and that the next append replaces the state again."""
        empty = await log.make(OTHER)
        await log.mark(OTHER, b"closed")
        same(await log.head(OTHER), attrs.evolve(empty, state=b"closed"))
        await filled(log)
        before = await log.make(KEY)
        await log.mark(KEY, b"closed")
        same(await log.head(KEY), attrs.evolve(before, state=b"closed"))
        same(len(await log.read(KEY, 0, 99, ALL)), 10)
        head = await log.trim(KEY, Retention(events=0), TS)
        same((head.latest, head.state), (10, b"closed"))
        await log.mark(KEY, b"again")
        await log.append([event_batch(KEY, 11, 1, b"new")])
        same((await log.make(KEY)).state, b"new")

    async def test_read_below_oldest_raises_trimmed(self, log: EventLog) -> None:
        """Check that a read raises ``Trimmed`` and returns no line, if the first requested event was trimmed."""
        await filled(log)
        await log.trim(KEY, Retention(events=4), TS)
        for after in (0, 5):
            error = await refused(log.read(KEY, after, 9, ALL), Trimmed)
            same(getattr(error, "oldest", None), 7)
        same(len(await log.read(KEY, 6, 9, ALL)), 4)

    async def test_removed_stream_gets_a_new_epoch(self, log: EventLog) -> None:
        """Check that a removed stream begins anew with another epoch.

        Removing a stream that does not exist does nothing.
        """
        await filled(log)
        before = await log.make(KEY)
        await log.remove(KEY)
        await log.remove(KEY)
        same((await log.head(KEY), len(await log.streams())), (None, 0))
        await refused(log.append([event_batch(KEY, 11, 1)]), KeyError)
        after = await log.make(KEY)
        same((after.latest, after.epoch != before.epoch), (0, True))
        await log.append([event_batch(KEY, 1, 1)])

    async def test_unknown_stream_raises_key_error(self, log: EventLog) -> None:
        """Check that calls that need a stream raise ``KeyError`` if the stream was never made."""
        await refused(log.append([event_batch(KEY, 1, 1)]), KeyError)
        await refused(log.read(KEY, 0, 1, 1), KeyError)
        await refused(log.trim(KEY, Retention(), TS), KeyError)
        await refused(log.mark(KEY, b""), KeyError)

    async def test_names(self, log: EventLog) -> None:
        """Check that a stream's name can contain NUL, quotes and any letters, but no lone surrogate."""
        keys = sorted(StreamKey(user, "s") for user in ("", "a\0b", "a\0c", "o'k", "日本", "\U0001f600"))
        epochs = {(await log.make(key)).epoch for key in keys}
        same((len(epochs), list(await log.streams())), (len(keys), keys))
        await refused(log.make(StreamKey("\ud800", "s")), ValueError)

    async def test_statistics(self, log: EventLog) -> None:
        """Check that the statistics count only calls that succeed, and count a trim only if it drops events."""
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 2), event_batch(KEY, 3, 1)])
        await log.append([])
        await refused(log.append([event_batch(KEY, 9, 1)]), LogCorrupt)
        await log.read(KEY, 0, 9, ALL)
        await log.trim(KEY, Retention(), TS)
        await log.trim(KEY, Retention(events=1), TS)
        expected = LogStatistics(log.statistics().engine, streams=1, commits=1, batches=2, events=3, reads=1, trims=1)
        same(log.statistics(), expected)

    async def test_closed_log_is_unavailable(self, log: EventLog) -> None:
        """Check that calls of a closed log raise ``LogUnavailable``, and that a closed log can be opened again.

        Opening an open log raises ``RuntimeError``.
        """
        await log.make(KEY)
        await refused(log.open(), RuntimeError)
        await log.close()
        await log.close()
        for call in (log.make(KEY), log.head(KEY), log.append([event_batch(KEY, 1, 1)]), log.streams()):
            await refused(call, LogUnavailable)
        await log.open()
        await log.make(KEY)

    async def test_log_forgets_all_unless_it_outlives_its_process(self, log: EventLog) -> None:
        """Check that a log is empty after it was closed and opened again, if its ``outlives_process`` is False.

        With a log that loses its events, an agent is called before the start of its run is committed. If the log were
        not empty after a crash, perhaps only that start would be missing, and a client that repeats the start would
        begin a second run.
        """
        await log.make(KEY)
        await log.close()
        await log.open()
        if not log.outlives_process:
            same(await log.head(KEY), None)
