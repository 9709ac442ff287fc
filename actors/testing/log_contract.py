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

from actors.errors import LogCorrupt, LogError, LogUnavailable, Trimmed
from actors.eventlog.base import Batch, EventLog, Head, LogStatistics, Retention, Revocation, StreamKey, UserUsage
from actors.events.line import build_line, envelope
from actors.events.types import EventType
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable

_KEY = StreamKey("alice", "s1")
_OTHER = StreamKey("bob", "s1")
_TS = 1_700_000_000_000
_ALL = 1 << 30
"""A size limit in bytes that no read in these tests reaches."""
_CUSTOM = envelope(EventType.CUSTOM, None)


def event_line(seq: int, ts: int = _TS, text: str = "") -> bytes:
    """Return the line (the encoded bytes) of a ``custom`` event, as a session writes it to its log.

    Args:
        seq: The event's number.
        ts: The event's time in ms since 1970.
        text: The event's value, without characters that JSON escapes.
    """
    return build_line(seq, ts, _CUSTOM, b'{"name":"n","value":"%s"}' % text.encode())


def event_batch(key: StreamKey, first: int, count: int, state: bytes = b"", ts: int = _TS) -> Batch:
    """Return a batch (consecutive events of one stream) of ``custom`` events that are one ms apart.

    Args:
        key: The stream.
        first: The seq of the first event.
        count: Number of events.
        state: The state of the stream after the batch.
        ts: The time of the first event in ms since 1970.
    """
    return Batch(key, first, [event_line(first + i, ts + i) for i in range(count)], state)


def _same(actual: object, expected: object) -> None:
    # No assert statements: pytest rewrites them only in test files, and python -O removes them.
    if actual != expected:
        raise AssertionError(f"got {shown(actual)}, the contract requires {shown(expected)}")


async def _refused(call: Awaitable[object], *kinds: type[Exception]) -> Exception:
    try:
        got = await call
    except kinds as error:
        return error
    raise AssertionError(f"got {shown(got)}, the contract requires one of {kinds}")


async def _check_kept(log: EventLog, count: int) -> None:
    lines = [event_line(seq, _TS + seq - 1) for seq in range(11 - count, 11)]
    head = await log.make(_KEY)
    _same((head.latest, head.size, head.oldest_ts), (10, sum(map(len, lines)), _TS + 10 - count))
    _same(list(await log.read(_KEY, 10 - count, 99, _ALL)), lines)


async def _fill(log: EventLog) -> list[bytes]:
    """Append ten events, one ms apart, in batches of 1, 2, 3 and 4 and in two commits. Return their lines."""
    await log.make(_KEY)
    rows = ((1, 1), (2, 2), (4, 3), (7, 4))
    batches = [event_batch(_KEY, first, count, b"open", _TS + first - 1) for first, count in rows]
    await log.append(batches[:2])
    await log.append(batches[2:])
    return [line for batch in batches for line in batch.lines]


class UserContract:
    """The tests of the methods that concern one user. These tests are a part of :class:`EventLogContract`."""

    async def test_usage(self, log: EventLog) -> None:
        """Check that ``usage`` counts the streams of one user, and the bytes of their kept lines and states."""
        await log.make(_OTHER)
        await log.append([event_batch(_OTHER, 1, 2, b"not counted")])
        size = sum(map(len, await _fill(log))) + len(b"open")
        _same(await log.usage(_KEY.user), UserUsage(1, size))
        kept = await log.trim(_KEY, Retention(events=8), _TS)  # it drops a part of a batch
        await log.make(second := StreamKey(_KEY.user, "s2"))
        await log.mark(second, b"closed")
        _same(await log.usage(_KEY.user), UserUsage(2, kept.size + len(b"open" + b"closed")))
        await log.remove(_KEY)
        _same(await log.usage(_KEY.user), UserUsage(1, len(b"closed")))

    async def test_oldest_streams(self, log: EventLog) -> None:
        """Check that ``oldest_streams`` returns only streams with events, sorted by their oldest events."""
        keys = [StreamKey("u", name) for name in ("empty", "b", "a", "c")]
        for key, ts in zip([*keys, _OTHER], (0, 5, 5, 1, 0), strict=True):
            await log.make(key)
            await log.append([event_batch(key, 1, 10, ts=_TS + ts)] if ts or key == _OTHER else [])
        _same(list(await log.oldest_streams("u", 9)), [keys[3], keys[2], keys[1]])
        await log.trim(keys[3], Retention(events=1), _TS)
        _same(list(await log.oldest_streams("u", 2)), [keys[2], keys[1]])


class RevocationContract:
    """The tests of revocations. These tests are a part of :class:`EventLogContract`."""

    async def test_revocations(self, log: EventLog) -> None:
        """Check that the log keeps revocations when it is opened again, if its ``outlives_process`` is True.

        Of two revocations of one user or token, the later of each of the times counts. A user and a token can have the
        same name. A log that keeps no revocations refuses each of them with ``LogError``.
        """
        names = {name: i / 8 for i, name in enumerate(("a\0b", "o'k", "日本", "\U0001f600"), 1)}
        users = [Revocation(user=name, at=_TS + i, until=_TS + 9) for name, i in names.items()]
        tokens = [Revocation(token_id=name, at=_TS, until=_TS + 10 + i) for name, i in names.items()]
        try:
            for each in [*users, *tokens]:
                await log.revoke(each, _TS)
        except LogError:
            _same(list(await log.revocations()), [])
            return
        await _check_revocations(log, [*users, *tokens])
        for at, until in ((_TS + 5, _TS + 99), (_TS + 4, _TS + 8)):
            await log.revoke(attrs.evolve(users[0], at=at, until=until), _TS)
        await _check_revocations(log, [attrs.evolve(users[0], at=_TS + 5, until=_TS + 99), *users[1:], *tokens])
        await log.close()
        await _refused(log.revocations(), LogUnavailable)
        await _refused(log.revoke(users[0], _TS), LogUnavailable)
        await log.open()
        kept = len(names) * 2 if log.outlives_process else 0
        _same(len(await log.revocations()), kept)

    async def test_old_revocations_are_forgotten(self, log: EventLog) -> None:
        """Check that ``revoke`` forgets the revocations with an ``until`` of ``now`` or earlier, and no others."""
        each = [Revocation(token_id=str(i), at=_TS, until=_TS + i) for i in range(3)]
        try:
            for one in each:
                await log.revoke(one, _TS - 1)
        except LogError:
            return
        await log.revoke(new := Revocation(user="u", at=_TS + 1, until=_TS + 2), _TS + 1)
        await _check_revocations(log, [each[2], new])


async def _check_revocations(log: EventLog, expected: list[Revocation]) -> None:
    found = await log.revocations()
    _same(len(found), len(expected))
    _same(set(found), set(expected))


class EventLogContract(UserContract, RevocationContract):
    """The tests that every event log must pass, one for each rule of the contract of :class:`~actors.EventLog`.

    A subclass defines the fixture ``log``: a log that is open and has no stream.
    """

    async def test_make_and_head(self, log: EventLog) -> None:
        """Check that ``make`` makes a stream only once, with an epoch of its own, and that ``head`` makes no stream."""
        _same(await log.head(_KEY), None)
        head = await log.make(_KEY)
        _same(head, Head(head.epoch, 1, 0, 0, 0, b""))
        _same(await log.make(_KEY), head)
        _same(await log.head(_KEY), head)
        _same(len({"", head.epoch, (await log.make(_OTHER)).epoch}), 3)
        _same(await log.streams(), [_KEY, _OTHER])

    async def test_append_and_read(self, log: EventLog) -> None:
        """Check that a read returns the appended lines, and that the size of the stream is the size of these lines."""
        epoch, other = (await log.make(_KEY)).epoch, await log.make(_OTHER)
        batches = [event_batch(_KEY, 1, 3, b"a"), event_batch(_KEY, 4, 2, b"b")]
        await log.append(batches)
        lines = [line for batch in batches for line in batch.lines]
        _same(await log.head(_KEY), Head(epoch, 1, 5, sum(map(len, lines)), _TS, b"b"))
        _same(list(await log.read(_KEY, 0, 100, _ALL)), lines)
        _same(await log.head(_OTHER), other)
        _same(list(await log.read(_OTHER, 0, 100, _ALL)), [])

    async def test_append_is_all_or_nothing(self, log: EventLog) -> None:
        """Check that an append stores none of its batches if it refuses one of them."""
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

    async def test_wrong_numbers_are_refused(self, log: EventLog) -> None:
        """Check that a batch is refused if any line in it has a wrong seq."""
        await log.make(_OTHER)
        await log.make(_KEY)
        for first in (1, 8, 98):  # numbers of one digit, then numbers that grow to two digits, then to three
            before = first - 1 - (await log.make(_KEY)).latest
            await log.append([event_batch(_KEY, first - before, before)] if before else [])
            right = [event_line(first + i) for i in range(5)]
            for i, line in enumerate(right):
                for wrong in (right[i - 1], event_line(first + i + 1), line[1:], b"[]", b""):
                    lines = [*right[:i], wrong, *right[i + 1 :]]
                    await _refused(log.append([event_batch(_OTHER, 1, 2), Batch(_KEY, first, lines, b"")]), LogCorrupt)
            _same(((await log.make(_KEY)).latest, (await log.make(_OTHER)).latest), (first - 1, 0))
            await log.append([Batch(_KEY, first, right, b"")])

    async def test_cancelled_append(self, log: EventLog) -> None:
        """Check that a cancelled append has stored nothing if it raised, and all its events if it returned."""
        await log.make(_KEY)
        raised = True
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append([event_batch(_KEY, 1, 2)])
            raised = False
        head = await log.make(_KEY)
        _same(head.latest, 0 if raised else 2)
        # In both cases the log must accept the next event.
        await log.append([event_batch(_KEY, head.latest + 1, 1)])

    async def test_read_limits(self, log: EventLog) -> None:
        """Check that a read returns exactly the lines that fit both limits, or one line if no line fits."""
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

    async def test_trim_by_count(self, log: EventLog) -> None:
        """Check that a trim with a limit on the number of events keeps exactly this number of the newest events."""
        await _fill(log)
        _same((await log.trim(_KEY, Retention(events=10), _TS)).oldest, 1)
        for events in (9, 8, 4, 1):  # 9 and 4 drop whole batches of _fill(), 8 and 1 only a part of a batch
            _same((await log.trim(_KEY, Retention(events=events), _TS)).oldest, 11 - events)
            await _check_kept(log, events)

    async def test_trim_by_bytes(self, log: EventLog) -> None:
        """Check that events of exactly as many bytes as the limit are kept.

        If the limit is one byte lower, the oldest event is dropped.
        """
        lines = await _fill(log)
        for oldest in range(1, 11):
            size = sum(map(len, lines[oldest - 1 :]))
            _same((await log.trim(_KEY, Retention(size=size), _TS)).oldest, oldest)
            head = await log.trim(_KEY, Retention(size=size - 1), _TS)
            _same((head.oldest, head.size), (oldest + 1, size - len(lines[oldest - 1])))

    async def test_trim_by_age(self, log: EventLog) -> None:
        """Check that an event exactly as old as the limit is kept, and that it is dropped a millisecond later."""
        await _fill(log)
        for oldest in range(1, 11):
            now = _TS + oldest - 1 + 60_000
            _same((await log.trim(_KEY, Retention(seconds=60), now)).oldest, oldest)
            head = await log.trim(_KEY, Retention(seconds=60), now + 1)
            _same((head.oldest, head.oldest_ts), (oldest + 1, _TS + oldest if oldest < 10 else 0))  # noqa: PLR2004 - of 10

    async def test_position_and_state_survive_trim(self, log: EventLog) -> None:
        """Check that a stream keeps its epoch, its highest seq and its state when all its events are trimmed."""
        await _fill(log)
        before = await log.make(_KEY)
        head = await log.trim(_KEY, Retention(events=0), _TS)
        _same(head, Head(before.epoch, 11, 10, 0, 0, before.state))
        _same(await log.head(_KEY), head)
        _same(list(await log.read(_KEY, 10, 9, _ALL)), [])
        await log.append([event_batch(_KEY, 11, 1, b"new")])
        lines = list(await log.read(_KEY, 10, 9, _ALL))
        _same(lines, [event_line(11)])
        _same(await log.head(_KEY), Head(before.epoch, 11, 11, len(lines[0]), _TS, b"new"))

    async def test_touched(self, log: EventLog) -> None:
        """Check that ``touched`` is the time of the newest event, even after that event was trimmed.

        While the stream has had no event, ``touched`` is the time of ``make``.
        """
        made = (await log.make(_OTHER)).touched
        if made <= _TS:
            raise AssertionError(f"touched is {made} for a stream made just now")
        await _fill(log)
        newest = _TS + 9
        _same((await log.make(_KEY)).touched, newest)
        for kept in (3, 0):
            _same((await log.trim(_KEY, Retention(events=kept), _TS)).touched, newest)
        head = await log.head(_KEY)
        _same((head and head.touched, (await log.make(_OTHER)).touched), (newest, made))

    async def test_mark_replaces_the_state(self, log: EventLog) -> None:
        """Check that ``mark`` replaces only the stream's state, and that the next append replaces the state again."""
        empty = await log.make(_OTHER)
        await log.mark(_OTHER, b"closed")
        _same(await log.head(_OTHER), attrs.evolve(empty, state=b"closed"))
        await _fill(log)
        before = await log.make(_KEY)
        await log.mark(_KEY, b"closed")
        _same(await log.head(_KEY), attrs.evolve(before, state=b"closed"))
        _same(len(await log.read(_KEY, 0, 99, _ALL)), 10)
        head = await log.trim(_KEY, Retention(events=0), _TS)
        _same((head.latest, head.state), (10, b"closed"))
        await log.mark(_KEY, b"again")
        await log.append([event_batch(_KEY, 11, 1, b"new")])
        _same((await log.make(_KEY)).state, b"new")

    async def test_read_below_oldest_raises_trimmed(self, log: EventLog) -> None:
        """Check that a read raises ``Trimmed`` and returns no line, if the first requested event was trimmed."""
        await _fill(log)
        await log.trim(_KEY, Retention(events=4), _TS)
        for after in (0, 5):
            error = await _refused(log.read(_KEY, after, 9, _ALL), Trimmed)
            _same(getattr(error, "oldest", None), 7)
        _same(len(await log.read(_KEY, 6, 9, _ALL)), 4)

    async def test_removed_stream_gets_a_new_epoch(self, log: EventLog) -> None:
        """Check that a removed stream begins anew with another epoch.

        Removing a stream that does not exist does nothing.
        """
        await _fill(log)
        before = await log.make(_KEY)
        await log.remove(_KEY)
        await log.remove(_KEY)
        _same((await log.head(_KEY), len(await log.streams())), (None, 0))
        await _refused(log.append([event_batch(_KEY, 11, 1)]), KeyError)
        after = await log.make(_KEY)
        _same((after.latest, after.epoch != before.epoch), (0, True))
        await log.append([event_batch(_KEY, 1, 1)])

    async def test_unknown_stream_raises_key_error(self, log: EventLog) -> None:
        """Check that calls that need a stream raise ``KeyError`` if the stream was never made."""
        await _refused(log.append([event_batch(_KEY, 1, 1)]), KeyError)
        await _refused(log.read(_KEY, 0, 1, 1), KeyError)
        await _refused(log.trim(_KEY, Retention(), _TS), KeyError)
        await _refused(log.mark(_KEY, b""), KeyError)

    async def test_names(self, log: EventLog) -> None:
        """Check that a stream's name can contain NUL, quotes and any letters, but no lone surrogate."""
        keys = sorted(StreamKey(user, "s") for user in ("", "a\0b", "a\0c", "o'k", "日本", "\U0001f600"))
        epochs = {(await log.make(key)).epoch for key in keys}
        _same((len(epochs), list(await log.streams())), (len(keys), keys))
        await _refused(log.make(StreamKey("\ud800", "s")), ValueError)

    async def test_statistics(self, log: EventLog) -> None:
        """Check that the statistics count only calls that succeed, and count a trim only if it drops events."""
        await log.make(_KEY)
        await log.append([event_batch(_KEY, 1, 2), event_batch(_KEY, 3, 1)])
        await log.append([])
        await _refused(log.append([event_batch(_KEY, 9, 1)]), LogCorrupt)
        await log.read(_KEY, 0, 9, _ALL)
        await log.trim(_KEY, Retention(), _TS)
        await log.trim(_KEY, Retention(events=1), _TS)
        expected = LogStatistics(log.statistics().engine, streams=1, commits=1, batches=2, events=3, reads=1, trims=1)
        _same(log.statistics(), expected)

    async def test_closed_log_is_unavailable(self, log: EventLog) -> None:
        """Check that calls of a closed log raise ``LogUnavailable``, and that a closed log can be opened again.

        Opening an open log raises ``RuntimeError``.
        """
        await log.make(_KEY)
        await _refused(log.open(), RuntimeError)
        await log.close()
        await log.close()
        for call in (log.make(_KEY), log.head(_KEY), log.append([event_batch(_KEY, 1, 1)]), log.streams()):
            await _refused(call, LogUnavailable)
        await log.open()
        await log.make(_KEY)

    async def test_log_forgets_all_unless_it_outlives_its_process(self, log: EventLog) -> None:
        """Check that a log is empty after it was closed and opened again, if its ``outlives_process`` is False.

        With a log that loses its events, an agent is called before the start of its run is committed. If the log were
        not empty after a crash, perhaps only that start would be missing, and a client that repeats the start would
        begin a second run.
        """
        await log.make(_KEY)
        await log.close()
        await log.open()
        if not log.outlives_process:
            _same(await log.head(_KEY), None)
