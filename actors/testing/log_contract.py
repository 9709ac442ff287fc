"""What tests of programs on Greenroom use: the checks that every event log passes, and a log that fails on request.

For pytest with pytest-trio::

    class TestMyLog(EventLogContract):
        @pytest.fixture
        async def log(self):
            async with MyLog() as log:
                yield log
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.eventlog.base import Batch, EventLog, Head, LogStatistics, Retention, StreamKey
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

Operation: TypeAlias = Literal["append", "read"]

_KEY = StreamKey("alice", "s1")
_OTHER = StreamKey("bob", "s1")
_TS = 1_700_000_000_000
_ALL = 1 << 30


def event_line(seq: int, ts: int = _TS, text: str = "") -> bytes:
    """Return a line as sessions write them."""
    return b'{"seq":%d,"ts":%d,"type":"custom","data":{"name":"n","value":"%s"}}' % (seq, ts, text.encode())


def event_batch(key: StreamKey, first: int, count: int, state: bytes = b"", ts: int = _TS) -> Batch:
    """Return a batch of ``count`` events, one ms apart from ``ts`` on."""
    return Batch(key, first, [event_line(first + i, ts + i) for i in range(count)], state)


def _same(actual: object, expected: object) -> None:
    if actual != expected:
        raise AssertionError(f"{shown(actual)} where the contract wants {shown(expected)}")


async def _refused(call: Awaitable[object], *kinds: type[Exception]) -> Exception:
    try:
        got = await call
    except kinds as error:
        return error
    raise AssertionError(f"got {shown(got)} where the contract wants {kinds}")


class EventLogContract:
    """The checks of the contract, one rule each. A subclass gives the fixture ``log``: open, and without any stream."""

    async def test_a_new_stream_has_an_epoch_and_stands_at_0(self, log: EventLog) -> None:
        """``make`` makes it once; ``head`` never does."""
        _same(await log.head(_KEY), None)
        head = await log.make(_KEY)
        _same(head, Head(head.epoch, 1, 0, 0, 0, b""))
        _same(await log.make(_KEY), head)
        _same(await log.head(_KEY), head)
        _same(len({"", head.epoch, (await log.make(_OTHER)).epoch}), 3)
        _same(await log.streams(), [_KEY, _OTHER])

    async def test_what_is_appended_is_read_and_moves_only_its_own_head(self, log: EventLog) -> None:
        """The head counts bytes of lines alone; two batches of one stream may share a commit."""
        epoch, other = (await log.make(_KEY)).epoch, await log.make(_OTHER)
        batches = [event_batch(_KEY, 1, 3, b"a"), event_batch(_KEY, 4, 2, b"b")]
        await log.append(batches)
        lines = [line for batch in batches for line in batch.lines]
        _same(await log.head(_KEY), Head(epoch, 1, 5, sum(map(len, lines)), _TS, b"b"))
        _same(list(await log.read(_KEY, 0, 100, _ALL)), lines)
        _same(await log.head(_OTHER), other)
        _same(list(await log.read(_OTHER, 0, 100, _ALL)), [])

    async def test_an_append_is_all_or_nothing(self, log: EventLog) -> None:
        """A batch that does not fit takes those before it along, and the log goes on where it was."""
        await log.make(_KEY)
        before = await log.make(_OTHER)
        for wrong in (event_batch(_KEY, 2, 1), event_batch(_KEY, 0, 1)):
            await _refused(log.append([event_batch(_OTHER, 1, 2, b"x"), wrong]), LogCorrupt)
        await _refused(log.append([event_batch(_OTHER, 1, 2), Batch(_KEY, 1, [], b"")]), ValueError)
        await _refused(log.append([event_batch(_OTHER, 1, 2), event_batch(StreamKey("x", "y"), 1, 1)]), KeyError)
        _same(await log.head(_OTHER), before)
        await log.append([event_batch(_OTHER, 1, 2)])
        await _refused(log.append([event_batch(_OTHER, 1, 2)]), LogCorrupt)
        _same(list(await log.read(_OTHER, 0, 9, _ALL)), [event_line(1, _TS), event_line(2, _TS + 1)])

    async def test_a_batch_whose_lines_do_not_match_its_numbers_is_refused(self, log: EventLog) -> None:
        """Each line has its own number, wherever in the batch it stands; all or nothing, as for any fault."""
        await log.make(_OTHER)
        await log.make(_KEY)
        for first in (1, 8, 98):  # where numbers have one digit, come to have two, and three
            before = first - 1 - (await log.make(_KEY)).latest
            await log.append([event_batch(_KEY, first - before, before)] if before else [])
            right = [event_line(first + i) for i in range(5)]
            for i, line in enumerate(right):
                for wrong in (right[i - 1], event_line(first + i + 1), line[1:], b"[]", b""):
                    lines = [*right[:i], wrong, *right[i + 1 :]]
                    await _refused(log.append([event_batch(_OTHER, 1, 2), Batch(_KEY, first, lines, b"")]), LogCorrupt)
            _same(((await log.make(_KEY)).latest, (await log.make(_OTHER)).latest), (first - 1, 0))
            await log.append([Batch(_KEY, first, right, b"")])

    async def test_a_cancelled_append_that_raised_did_nothing(self, log: EventLog) -> None:
        """Raised: nothing is there. Returned: all of it is."""
        await log.make(_KEY)
        raised = True
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append([event_batch(_KEY, 1, 2)])
            raised = False
        head = await log.make(_KEY)
        _same(head.latest, 0 if raised else 2)
        await log.append([event_batch(_KEY, head.latest + 1, 1)])

    async def test_a_read_is_bounded_by_count_and_by_bytes(self, log: EventLog) -> None:
        """Exactly: a line that fits to the byte is there, one that does not is not; one line there always is."""
        await log.make(_KEY)
        lines = [event_line(seq, text="x" * seq) for seq in range(1, 8)]
        await log.append([Batch(_KEY, 1, lines[:3], b""), Batch(_KEY, 4, lines[3:], b"")])
        for after in range(7):
            for count in range(1, 8 - after):
                wanted = lines[after : after + count]
                exact = sum(map(len, wanted))
                _same(list(await log.read(_KEY, after, count, _ALL)), wanted)
                _same(list(await log.read(_KEY, after, 9, exact)), wanted)
                _same(list(await log.read(_KEY, after, 9, exact - 1)), wanted[:-1] or wanted)
        _same([len(await log.read(_KEY, after, 9, _ALL)) for after in (7, 8)], [0, 0])

    async def test_count_keeps_exactly_the_newest(self, log: EventLog) -> None:
        """At the limit all stay; one below it one goes."""
        await self._fill(log)
        _same((await log.trim(_KEY, Retention(events=10), _TS)).oldest, 1)
        for events in (9, 8, 4, 1):
            _same((await log.trim(_KEY, Retention(events=events), _TS)).oldest, 11 - events)
            await self._check_kept(log, events)

    async def test_bytes_keep_exactly_the_newest(self, log: EventLog) -> None:
        """What fits to the byte stays; with one byte less the oldest goes."""
        lines = await self._fill(log)
        for oldest in range(1, 11):
            size = sum(map(len, lines[oldest - 1 :]))
            _same((await log.trim(_KEY, Retention(size=size), _TS)).oldest, oldest)
            head = await log.trim(_KEY, Retention(size=size - 1), _TS)
            _same((head.oldest, head.size), (oldest + 1, size - len(lines[oldest - 1])))

    async def test_age_keeps_exactly_what_is_young(self, log: EventLog) -> None:
        """An event as old as the limit stays; a millisecond later it goes."""
        await self._fill(log)
        for oldest in range(1, 11):
            now = _TS + oldest - 1 + 60_000
            _same((await log.trim(_KEY, Retention(seconds=60), now)).oldest, oldest)
            head = await log.trim(_KEY, Retention(seconds=60), now + 1)
            _same((head.oldest, head.oldest_ts), (oldest + 1, _TS + oldest if oldest < 10 else 0))  # noqa: PLR2004 - of 10

    async def test_position_and_state_outlive_the_events(self, log: EventLog) -> None:
        """With every event trimmed the stream still knows its epoch, where it is and what was open."""
        await self._fill(log)
        before = await log.make(_KEY)
        head = await log.trim(_KEY, Retention(events=0), _TS)
        _same(head, Head(before.epoch, 11, 10, 0, 0, before.state))
        _same(await log.head(_KEY), head)
        _same(list(await log.read(_KEY, 10, 9, _ALL)), [])
        await log.append([event_batch(_KEY, 11, 1, b"new")])
        lines = list(await log.read(_KEY, 10, 9, _ALL))
        _same(lines, [event_line(11)])
        _same(await log.head(_KEY), Head(before.epoch, 11, 11, len(lines[0]), _TS, b"new"))

    async def test_a_stream_says_how_long_it_was_left_alone(self, log: EventLog) -> None:
        """By its newest event, also when that was dropped; one that never had any by when it was made."""
        made = (await log.make(_OTHER)).touched
        if made <= _TS:
            raise AssertionError(f"made at {made}, long ago")
        await self._fill(log)
        newest = _TS + 9
        _same((await log.make(_KEY)).touched, newest)
        for kept in (3, 0):
            _same((await log.trim(_KEY, Retention(events=kept), _TS)).touched, newest)
        head = await log.head(_KEY)
        _same((head and head.touched, (await log.make(_OTHER)).touched), (newest, made))

    async def test_a_mark_takes_the_place_of_the_state_and_moves_nothing_else(self, log: EventLog) -> None:
        """With events and without; the next batch carries its own again."""
        empty = await log.make(_OTHER)
        await log.mark(_OTHER, b"closed")
        _same(await log.head(_OTHER), attrs.evolve(empty, state=b"closed"))
        await self._fill(log)
        before = await log.make(_KEY)
        await log.mark(_KEY, b"closed")
        _same(await log.head(_KEY), attrs.evolve(before, state=b"closed"))
        _same(len(await log.read(_KEY, 0, 99, _ALL)), 10)
        head = await log.trim(_KEY, Retention(events=0), _TS)
        _same((head.latest, head.state), (10, b"closed"))
        await log.mark(_KEY, b"again")
        await log.append([event_batch(_KEY, 11, 1, b"new")])
        _same((await log.make(_KEY)).state, b"new")

    async def test_below_the_oldest_is_trimmed_and_never_a_part(self, log: EventLog) -> None:
        """The error says what is the oldest, so that the reader can begin there."""
        await self._fill(log)
        await log.trim(_KEY, Retention(events=4), _TS)
        for after in (0, 5):
            error = await _refused(log.read(_KEY, after, 9, _ALL), Trimmed)
            _same(getattr(error, "oldest", None), 7)
        _same(len(await log.read(_KEY, 6, 9, _ALL)), 4)

    async def test_a_removed_stream_comes_back_as_another_one(self, log: EventLog) -> None:
        """A new epoch, from 0; removing what does not exist is nothing."""
        await self._fill(log)
        before = await log.make(_KEY)
        await log.remove(_KEY)
        await log.remove(_KEY)
        _same((await log.head(_KEY), len(await log.streams())), (None, 0))
        await _refused(log.append([event_batch(_KEY, 11, 1)]), KeyError)
        after = await log.make(_KEY)
        _same((after.latest, after.epoch != before.epoch), (0, True))
        await log.append([event_batch(_KEY, 1, 1)])

    async def test_a_stream_never_made_is_a_key_error(self, log: EventLog) -> None:
        """For whatever needs one."""
        await _refused(log.append([event_batch(_KEY, 1, 1)]), KeyError)
        await _refused(log.read(_KEY, 0, 1, 1), KeyError)
        await _refused(log.trim(_KEY, Retention(), _TS), KeyError)
        await _refused(log.mark(_KEY, b""), KeyError)

    async def test_names_are_any_text_that_utf8_can_hold(self, log: EventLog) -> None:
        """NUL, quotes and other scripts are names; a lone surrogate is none."""
        keys = sorted(StreamKey(user, "s") for user in ("", "a\0b", "a\0c", "o'k", "日本", "\U0001f600"))
        epochs = {(await log.make(key)).epoch for key in keys}
        _same((len(epochs), list(await log.streams())), (len(keys), keys))
        await _refused(log.make(StreamKey("\ud800", "s")), ValueError)

    async def test_statistics_count_what_was_done(self, log: EventLog) -> None:
        """Commits, batches and events; reads; trims that dropped something; nothing for what was refused."""
        await log.make(_KEY)
        await log.append([event_batch(_KEY, 1, 2), event_batch(_KEY, 3, 1)])
        await log.append([])
        await _refused(log.append([event_batch(_KEY, 9, 1)]), LogCorrupt)
        await log.read(_KEY, 0, 9, _ALL)
        await log.trim(_KEY, Retention(), _TS)
        await log.trim(_KEY, Retention(events=1), _TS)
        expected = LogStatistics(log.statistics().engine, streams=1, commits=1, batches=2, events=3, reads=1, trims=1)
        _same(log.statistics(), expected)

    async def test_a_log_that_is_not_open_is_unavailable(self, log: EventLog) -> None:
        """Closed twice is closed; it can be opened again; an open one cannot."""
        await log.make(_KEY)
        await _refused(log.open(), RuntimeError)
        await log.close()
        await log.close()
        for call in (log.make(_KEY), log.head(_KEY), log.append([event_batch(_KEY, 1, 1)]), log.streams()):
            await _refused(call, LogUnavailable)
        await log.open()
        await log.make(_KEY)

    async def test_a_log_that_does_not_outlive_its_process_forgets_all_once_closed(self, log: EventLog) -> None:
        """Agents are called before such a log has their start: were it kept, it could be done a second time."""
        await log.make(_KEY)
        await log.close()
        await log.open()
        if not log.outlives_process:
            _same(await log.head(_KEY), None)

    async def _fill(self, log: EventLog) -> list[bytes]:
        """Ten events in rows of 1, 2, 3 and 4, a ms apart."""
        await log.make(_KEY)
        rows = ((1, 1), (2, 2), (4, 3), (7, 4))
        batches = [event_batch(_KEY, first, count, b"open", _TS + first - 1) for first, count in rows]
        await log.append(batches[:2])
        await log.append(batches[2:])
        return [line for batch in batches for line in batch.lines]

    async def _check_kept(self, log: EventLog, count: int) -> None:
        lines = [event_line(seq, _TS + seq - 1) for seq in range(11 - count, 11)]
        head = await log.make(_KEY)
        _same((head.latest, head.size, head.oldest_ts), (10, sum(map(len, lines)), _TS + 10 - count))
        _same(list(await log.read(_KEY, 10 - count, 99, _ALL)), lines)


@attrs.define(eq=False)
class Hold:
    """A call that waits: :attr:`reached` is set when it does, and it goes on once :attr:`released` is."""

    reached: trio.Event = attrs.field(factory=trio.Event)
    released: trio.Event = attrs.field(factory=trio.Event)


class FaultyLog(EventLog):
    """Passes everything on to ``inner``, except that ``append`` and ``read`` fail or wait when told to.

    What was asked for is used up in the order in which it was asked for, one per call. A call that failed, or was
    cancelled while it waited, has done nothing.
    """

    def __init__(self, inner: EventLog) -> None:
        self._inner = inner
        self.outlives_process = inner.outlives_process
        self._faults: dict[Operation, collections.deque[Hold | None]] = {
            "append": collections.deque(),
            "read": collections.deque(),
        }

    def fail(self, operation: Operation, times: int = 1) -> None:
        """Let the next ``times`` calls raise ``LogUnavailable``."""
        self._faults[operation].extend([None] * times)

    def hold(self, operation: Operation) -> Hold:
        """Let the next call wait for the hold that is returned."""
        hold = Hold()
        self._faults[operation].append(hold)
        return hold

    async def open(self) -> None:
        """As ``inner``."""
        await self._inner.open()

    async def close(self) -> None:
        """As ``inner``."""
        await self._inner.close()

    async def make(self, key: StreamKey) -> Head:
        """As ``inner``."""
        return await self._inner.make(key)

    async def head(self, key: StreamKey) -> Head | None:
        """As ``inner``."""
        return await self._inner.head(key)

    async def append(self, batches: Sequence[Batch]) -> None:
        """As ``inner``, after the fault that is due."""
        await self._fault("append")
        await self._inner.append(batches)

    async def mark(self, key: StreamKey, state: bytes) -> None:
        """As ``inner``."""
        await self._inner.mark(key, state)

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """As ``inner``, after the fault that is due."""
        await self._fault("read")
        return await self._inner.read(key, after, limit, size)

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        """As ``inner``."""
        return await self._inner.trim(key, keep, now)

    async def streams(self) -> Sequence[StreamKey]:
        """As ``inner``."""
        return await self._inner.streams()

    async def remove(self, key: StreamKey) -> None:
        """As ``inner``."""
        await self._inner.remove(key)

    def statistics(self) -> LogStatistics:
        """As ``inner``: a call that failed is not in it."""
        return self._inner.statistics()

    async def _fault(self, operation: Operation) -> None:
        if not self._faults[operation]:
            return
        hold = self._faults[operation].popleft()
        if hold is None:
            await trio.lowlevel.checkpoint()
            raise LogUnavailable(f"{operation} was told to fail")
        hold.reached.set()
        await hold.released.wait()
