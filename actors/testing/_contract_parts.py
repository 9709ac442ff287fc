"""The checks of lists, revocations, consumers and copies of an event log: parts of :class:`EventLogContract`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from actors.errors import LogCorrupt, LogError, LogUnavailable
from actors.eventlog.base import ConsumerPosition, ConsumerUsage, Head, Retention, Revocation, StreamKey, UserUsage
from actors.testing._tools import ALL, KEY, OTHER, TS, event_batch, event_line, filled, refused, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog


class UserContract:
    """The tests of the methods that list streams or concern one user. A part of :class:`EventLogContract`."""

    async def test_streams_come_in_pages(self, log: EventLog) -> None:
        """Check that all streams come sorted and once, in pages of at most the given size, also if some are removed."""
        keys = sorted(StreamKey(user, f"s{number}") for user in ("", "a", "a\0b", "b", "日本") for number in range(4))
        for key in keys:
            await log.make(key)
        for limit in (1, 3, 7, 100):
            pages: list[Sequence[StreamKey]] = []
            while page := await log.streams(pages[-1][-1] if pages else None, limit):
                pages.append(page)
            same([key for page in pages for key in page], keys)
            same(max(map(len, pages)) <= limit, True)  # noqa: FBT003 - as the other checks
        same(list(await log.streams(keys[2])), keys[3:])
        same(list(await log.streams(StreamKey("a", "s1x"), 1)), [StreamKey("a", "s2")])
        same(len(await log.streams(None, 0)) + len(await log.streams(keys[-1], 9)), 0)
        for key in keys[1:]:
            await log.remove(key)
        same(list(await log.streams(None, 9)), keys[:1])

    async def test_heads(self, log: EventLog) -> None:
        """Check that ``heads`` returns the summaries in the order of the keys, and None for a missing stream."""
        keys = [StreamKey(f"u{number}", "s") for number in range(5)]
        for key in keys[1:]:
            await log.make(key)
        await log.append([event_batch(keys[3], 1, 2, b"state")])
        same(list(await log.heads(keys[::-1])), [await log.head(key) for key in reversed(keys)])
        same((await log.heads(keys))[0], None)
        same(list(await log.heads([])), [])

    async def test_usage(self, log: EventLog) -> None:
        """Check that ``usage`` counts the streams of one user, and the bytes of their kept lines and states."""
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 2, b"not counted")])
        size = sum(map(len, await filled(log))) + len(b"open")
        same(await log.usage(KEY.user), UserUsage(1, size))
        kept = await log.trim(KEY, Retention(events=8), TS)  # it drops a part of a batch
        await log.make(second := StreamKey(KEY.user, "s2"))
        await log.mark(second, b"closed")
        same(await log.usage(KEY.user), UserUsage(2, kept.size + len(b"open" + b"closed")))
        await log.remove(KEY)
        same(await log.usage(KEY.user), UserUsage(1, len(b"closed")))

    async def test_user_streams(self, log: EventLog) -> None:
        """Check that ``user_streams`` returns the streams of one user in the order of their names, in pages."""
        names = ["", "a", "a b", "b", "\u00e9", "\U0001f600"]
        for key in (OTHER, *(StreamKey("u", name) for name in reversed(names))):
            await log.make(key)
        keys = [StreamKey("u", name) for name in names]
        same(list(await log.user_streams("u", "", 9)), keys[1:])
        same(list(await log.user_streams("u", "a", 2)), keys[2:4])
        same(list(await log.user_streams("u", names[-1], 2)), [])
        same(list(await log.user_streams("nobody", "", 2)), [])

    async def test_oldest_streams(self, log: EventLog) -> None:
        """Check that ``oldest_streams`` returns only streams with events, sorted by their oldest events."""
        keys = [StreamKey("u", name) for name in ("empty", "b", "a", "c")]
        for key, ts in zip([*keys, OTHER], (0, 5, 5, 1, 0), strict=True):
            await log.make(key)
            await log.append([event_batch(key, 1, 10, ts=TS + ts)] if ts or key == OTHER else [])
        same(list(await log.oldest_streams("u", 9)), [keys[3], keys[2], keys[1]])
        await log.trim(keys[3], Retention(events=1), TS)
        same(list(await log.oldest_streams("u", 2)), [keys[2], keys[1]])

    async def test_forget(self, log: EventLog) -> None:
        """Check that ``forget`` removes all streams of one user with everything of them, and nothing else.

        A revocation of the user stays. A consumer is told how many events it has lost.
        """
        await filled(log)
        await log.make(second := StreamKey(KEY.user, "s2"))
        epochs = [(await log.make(key)).epoch for key in (KEY, second)]
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 2, b"kept")])
        other, revocation = await log.head(OTHER), Revocation(user=KEY.user, at=TS, until=TS + 9)
        consumes = await _can_consume(log, "c", from_start=True)
        with contextlib.suppress(LogError):  # it keeps no revocations
            await log.revoke(revocation, TS)
        kept = list(await log.revocations())
        same(await log.forget(KEY.user), 2)
        same((await log.head(KEY), await log.head(second), list(await log.streams())), (None, None, [OTHER]))
        same((await log.usage(KEY.user), await log.head(OTHER)), (UserUsage(0, 0), other))
        same(len(await log.read(OTHER, 0, 9, ALL)), 2)
        same(list(await log.revocations()), kept)
        same(list(await log.consumers()), [ConsumerUsage("c", 2, 10)] if consumes else [])
        same(len({*epochs, *[(await log.make(key)).epoch for key in (KEY, second)]}), 4)

    async def test_forget_again(self, log: EventLog) -> None:
        """Check that a user without streams can be forgotten, thoroughly too, and that many streams are removed."""
        same(await log.forget("nobody"), 0)
        keys = [StreamKey("u", f"s{number}") for number in range(101)]
        for key in keys:
            await log.make(key)
        await filled(log)
        same(await log.forget("u", thorough=True), len(keys))
        same(await log.forget("u", thorough=True), 0)
        same((list(await log.streams()), len(await log.read(KEY, 0, 99, ALL))), ([KEY], 10))
        await log.append([event_batch(KEY, 11, 1)])
        await log.close()
        await refused(log.forget(KEY.user), LogUnavailable)


class RevocationContract:
    """The tests of revocations. These tests are a part of :class:`EventLogContract`."""

    async def test_revocations(self, log: EventLog) -> None:
        """Check that the log keeps revocations when it is opened again, if its ``outlives_process`` is True.

        Of two revocations of one user or token, the later of each of the times counts. A user and a token can have the
        same name. A log that keeps no revocations refuses each of them with ``LogError``.
        """
        names = {name: i / 8 for i, name in enumerate(("a\0b", "o'k", "日本", "\U0001f600"), 1)}
        users = [Revocation(user=name, at=TS + i, until=TS + 9) for name, i in names.items()]
        tokens = [Revocation(token_id=name, at=TS, until=TS + 10 + i) for name, i in names.items()]
        try:
            for each in [*users, *tokens]:
                await log.revoke(each, TS)
        except LogError:
            same(list(await log.revocations()), [])
            return
        await _check_revocations(log, [*users, *tokens])
        for at, until in ((TS + 5, TS + 99), (TS + 4, TS + 8)):
            await log.revoke(attrs.evolve(users[0], at=at, until=until), TS)
        await _check_revocations(log, [attrs.evolve(users[0], at=TS + 5, until=TS + 99), *users[1:], *tokens])
        await log.close()
        await refused(log.revocations(), LogUnavailable)
        await refused(log.revoke(users[0], TS), LogUnavailable)
        await log.open()
        kept = len(names) * 2 if log.outlives_process else 0
        same(len(await log.revocations()), kept)

    async def test_old_revocations_are_forgotten(self, log: EventLog) -> None:
        """Check that ``revoke`` forgets the revocations with an ``until`` of ``now`` or earlier, and no others."""
        each = [Revocation(token_id=str(i), at=TS, until=TS + i) for i in range(3)]
        try:
            for one in each:
                await log.revoke(one, TS - 1)
        except LogError:
            return
        await log.revoke(new := Revocation(user="u", at=TS + 1, until=TS + 2), TS + 1)
        await _check_revocations(log, [each[2], new])


async def _check_revocations(log: EventLog, expected: list[Revocation]) -> None:
    found = await log.revocations()
    same(len(found), len(expected))
    same(set(found), set(expected))


class ConsumerContract:
    """The tests of the positions of consumers. These tests are a part of :class:`EventLogContract`.

    A log that keeps no positions refuses each call with ``LogError``.
    """

    async def test_consumer_begins_at_the_end_or_the_start(self, log: EventLog) -> None:
        """Check that a new consumer begins behind all events, or at the first. It exists until it is removed."""
        await filled(log)
        if not await _can_consume(log, "late", from_start=False):
            return
        await log.start_consumer("early", from_start=True)
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 2)])
        same(list(await log.unread_streams("late", None, 9)), [OTHER])
        same(list(await log.unread_streams("early", None, 9)), [KEY, OTHER])
        await log.start_consumer("late", from_start=True)  # it exists already
        same(list(await log.consumers()), [ConsumerUsage("early", 12, 0), ConsumerUsage("late", 2, 0)])
        await log.remove_consumer("early")
        await log.remove_consumer("early")
        same([one.name for one in await log.consumers()], ["late"])
        await refused(log.unread_streams("early", None, 9), KeyError)
        await refused(log.consumer_positions("early", [KEY]), KeyError)
        await refused(log.acknowledge("early", []), KeyError)

    async def test_positions_of_a_consumer(self, log: EventLog) -> None:
        """Check that positions only increase, and that a position of another epoch, or of no stream, is ignored."""
        await filled(log)
        if not await _can_consume(log, "c", from_start=True):
            return
        head, other = await log.make(KEY), await log.make(OTHER)
        for seq, kept in ((4, 4), (3, 4), (9, 9)):
            await log.acknowledge("c", [ConsumerPosition(KEY, head.epoch, seq)])
            same(await _positions(log, "c"), [kept, 0])
        wrong = ConsumerPosition(KEY, other.epoch, 10), ConsumerPosition(StreamKey("x", "y"), other.epoch, 1)
        await log.acknowledge("c", wrong)
        found = await log.consumer_positions("c", [StreamKey("x", "y"), OTHER, KEY])
        same(list(found), [ConsumerPosition(OTHER, other.epoch, 0), ConsumerPosition(KEY, head.epoch, 9)])
        await log.acknowledge("c", [ConsumerPosition(KEY, head.epoch, 10)])
        same(list(await log.unread_streams("c", None, 9)), [])

    async def test_unread_streams_come_in_pages(self, log: EventLog) -> None:
        """Check that streams with unread events come sorted, in pages, also if these events were trimmed."""
        keys = [StreamKey(user, session) for user in ("", "-", "a", "b") for session in ("", "1")]
        for key in keys:
            await log.make(key)
            await log.append([event_batch(key, 1, 1)] if key != keys[3] else [])
        if not await _can_consume(log, "c", from_start=True):
            return
        await log.trim(keys[4], Retention(events=0), TS)
        unread = [key for key in keys if key != keys[3]]
        same(list(await log.unread_streams("c", None, 3)), unread[:3])
        same(list(await log.unread_streams("c", unread[2], 99)), unread[3:])
        same(list(await log.unread_streams("c", unread[-1], 99)), [])
        for user in ("", "-", "a", "b", "c"):
            own = [key for key in unread if key.user == user]
            same(list(await log.unread_streams("c", None, 99, user=user)), own)
            same(list(await log.unread_streams("c", None, 1, user=user)), own[:1])
            same(list(await log.unread_streams("c", own[0] if own else unread[0], 99, user=user)), own[1:])

    async def test_removed_stream_and_its_positions(self, log: EventLog) -> None:
        """Check that a removed stream takes its positions with it. Its unread events are counted until told."""
        await filled(log)
        if not await _can_consume(log, "c", from_start=True):
            return
        await log.acknowledge("c", [ConsumerPosition(KEY, (await log.make(KEY)).epoch, 6)])
        await log.remove(KEY)
        same(list(await log.consumers()), [ConsumerUsage("c", 0, 4)])
        await filled(log)
        same(await _positions(log, "c"), [0])
        same(await log.start_consumer("c", from_start=False), 4)
        await log.acknowledge("c", [], 3)
        same(list(await log.consumers()), [ConsumerUsage("c", 10, 1)])

    async def test_unread_events_are_kept(self, log: EventLog) -> None:
        """Check that a trim keeps an event that a consumer has not read until it is older than ``unread_seconds``."""
        await filled(log)
        if not await _can_consume(log, "slow", from_start=True):
            return
        await log.start_consumer("fast", from_start=False)
        epoch = (await log.make(KEY)).epoch
        hold = Retention(events=2, unread_seconds=1)
        same((await log.trim(KEY, hold, TS + 1_000)).oldest, 1)
        for seq in (2, 5):  # the end of a batch of filled(), and the middle of another
            await log.acknowledge("slow", [ConsumerPosition(KEY, epoch, seq)])
            same((await log.trim(KEY, hold, TS + 1_000)).oldest, seq + 1)
        same((await log.trim(KEY, hold, TS + 1_006)).oldest, 7)
        same((await log.trim(KEY, hold, TS + 1_009)).oldest, 9)
        same((await log.trim(KEY, Retention(events=1), TS)).oldest, 10)
        same((await log.trim(KEY, attrs.evolve(hold, seconds=0), TS + 1_009)).oldest, 10)
        await log.remove_consumer("slow")
        same((await log.trim(KEY, attrs.evolve(hold, events=0), TS)).oldest, 11)

    async def test_positions_do_not_outlive_their_log(self, log: EventLog) -> None:
        """Check that positions are there when the log is opened again, if its ``outlives_process`` is True."""
        await filled(log)
        if not await _can_consume(log, "c", from_start=True):
            return
        await log.acknowledge("c", [ConsumerPosition(KEY, (await log.make(KEY)).epoch, 6)])
        await log.close()
        for call in (log.consumers(), log.unread_streams("c", None, 1), log.start_consumer("c", from_start=True)):
            await refused(call, LogUnavailable)
        await log.open()
        same(list(await log.consumers()), [ConsumerUsage("c", 4, 0)] if log.outlives_process else [])

    async def test_negative_lost_events_are_added(self, log: EventLog) -> None:
        """Check that a copy of a log can have lost events from its beginning, by a negative number."""
        if not await _can_consume(log, "c", from_start=True):
            return
        await log.acknowledge("c", [], -3)
        await log.acknowledge("c", [], 1)
        same(list(await log.consumers()), [ConsumerUsage("c", 0, 2)])


class CopyContract:
    """The tests of ``restore``, for logs that can be the target of a copy. A part of :class:`EventLogContract`.

    A log that cannot be such a target refuses the call with ``LogError``.
    """

    async def test_restored_stream_continues(self, log: EventLog) -> None:
        """Check that a restored stream has epoch, position, state and time of the other log, and takes the next event.

        A stream that exists cannot be restored.
        """
        try:
            await log.restore(KEY, epoch="0123456789abcdef", latest=41, state=b"open", touched=TS)
        except LogUnavailable:
            raise
        except LogError:
            return
        head = Head("0123456789abcdef", 42, 41, 0, 0, b"open")
        same(await log.head(KEY), head)
        same((await log.make(KEY)).touched, TS)
        await refused(log.restore(KEY, epoch="x", latest=0, state=b"", touched=TS), ValueError)
        await refused(log.restore(StreamKey("\ud800", "s"), epoch="x", latest=0, state=b"", touched=TS), ValueError)
        await refused(log.append([event_batch(KEY, 1, 1)]), LogCorrupt)
        await log.append([event_batch(KEY, 42, 2, b"new", TS + 5)])
        lines = list(await log.read(KEY, 41, 9, 1 << 20))
        same(lines, [event_line(42, TS + 5), event_line(43, TS + 6)])
        same(await log.head(KEY), Head(head.epoch, 42, 43, sum(map(len, lines)), TS + 5, b"new"))
        await log.close()
        await refused(log.restore(OTHER, epoch="x", latest=0, state=b"", touched=TS), LogUnavailable)
        await log.open()
        same(list(await log.streams()), [KEY] if log.outlives_process else [])


async def _can_consume(log: EventLog, name: str, *, from_start: bool) -> bool:
    """Start a consumer. Return whether the log keeps positions; if not, check that it refuses every call."""
    try:
        same(await log.start_consumer(name, from_start=from_start), 0)
    except LogUnavailable:
        raise
    except LogError:
        for call in (
            log.unread_streams(name, None, 1),
            log.consumer_positions(name, []),
            log.acknowledge(name, []),
            log.remove_consumer(name),
        ):
            await refused(call, LogError)
        same(list(await log.consumers()), [])
        return False
    return True


async def _positions(log: EventLog, name: str) -> list[int]:
    return [each.seq for each in await log.consumer_positions(name, list(await log.streams()))]
