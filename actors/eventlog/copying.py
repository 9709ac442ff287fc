"""The copy of a whole log to another log: ``greenroom copy``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from actors.errors import LogError
from actors.eventlog._walk import StreamWalk
from actors.eventlog.base import Batch, ConsumerPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.eventlog.base import EventLog, Head, StreamKey

_BATCH_BYTES = 512 * 1024
"""Size of the events that are appended at once."""
_POSITIONS = 500
"""Number of a consumer's positions that are copied at once."""


@attrs.frozen
class CopyReport:
    """The result of a copy. The target has all of this, and it was compared with the source."""

    sessions: int
    events: int
    copied: int
    """Number of events that this call appended to the target. The others were there already."""
    revocations: int
    consumers: int


async def copy_log(
    source: EventLog, target: EventLog, on_progress: Callable[[int, int, int], None] = lambda _done, _all, _events: None
) -> CopyReport:
    """Copy all streams, revocations and positions of consumers of an open log to another open log, and compare both.

    Epochs, seqs, lines and states stay the same, so clients and consumers go on where they were. A copy that was
    interrupted can be repeated: what the target has already is not copied again. No other program may use the logs.

    Args:
        source: The log. It is not changed.
        target: The other log. It has no streams, or only streams of an earlier copy.
        on_progress: Called with the number of finished sessions, of all sessions, and of the events copied so far.

    Raises:
        LogError: The target has other streams than the source, or a log failed. The message says what differs.
    """
    keys = await source.streams()
    await _refuse_foreign(source, target)
    copied = 0
    for number, key in enumerate(keys):
        on_progress(number, len(keys), copied)
        copied += await _copy_stream(source, target, key)
    on_progress(len(keys), len(keys), copied)
    revocations = await source.revocations()
    for revocation in revocations:
        await target.revoke(revocation, 0)
    consumers = [await _copy_consumer(source, target, each.name, keys) for each in await source.consumers()]
    events = sum([await _compare(source, target, key) for key in keys])
    await _compare_rest(source, target)
    return CopyReport(len(keys), events, copied, len(revocations), len(consumers))


async def _refuse_foreign(source: EventLog, target: EventLog) -> None:
    """Raise LogError if the target has a stream that is not the beginning of one of the source."""
    for key in await target.streams():
        head, old = await target.head(key), await source.head(key)
        if head is not None and (old is None or not _begins(head, old)):
            raise LogError(f"the target has another session {key.session!r} of user {key.user!r}: give an empty log")


def _begins(head: Head, whole: Head) -> bool:
    same_begin = head.epoch == whole.epoch and head.oldest == whole.oldest
    return same_begin and head.latest <= whole.latest


async def _copy_stream(source: EventLog, target: EventLog, key: StreamKey) -> int:
    """Copy a stream, or the rest of it. Return the number of events that were appended."""
    walk = await StreamWalk.of(source, key)
    if walk is None:
        raise _changed(key)
    head, there = walk.head, await target.head(key)
    if there is None:
        await target.restore(key, epoch=head.epoch, latest=head.oldest - 1, state=head.state, touched=head.touched)
    else:
        walk.position = there.latest
    begin = walk.position
    while lines := await walk.page():
        first = walk.position - len(lines) + 1
        await append_lines(target, key, first, lines, head.state)
    if walk.position == begin and there is not None and there.state != head.state:
        await target.mark(key, head.state)  # it was marked after the interrupted copy
    return walk.position - begin


async def append_lines(target: EventLog, key: StreamKey, first: int, lines: Sequence[bytes], state: bytes) -> None:
    """Append lines to a stream, in batches of a limited size."""
    begin, size = 0, 0
    for end, line in enumerate(lines, 1):
        size += len(line)
        if size >= _BATCH_BYTES or end == len(lines):
            await target.append([Batch(key, first + begin, lines[begin:end], state)])
            begin, size = end, 0


async def _copy_consumer(source: EventLog, target: EventLog, name: str, keys: Sequence[StreamKey]) -> str:
    """Copy a consumer with its positions and the number of its lost events. Return its name."""
    lost = await source.start_consumer(name, from_start=True)  # it exists: this only returns the number
    there = await target.start_consumer(name, from_start=True)
    for begin in range(0, len(keys), _POSITIONS):
        positions = await source.consumer_positions(name, keys[begin : begin + _POSITIONS])
        await target.acknowledge(name, positions, there - lost if begin == 0 else 0)
    if not keys and lost != there:
        await target.acknowledge(name, [], there - lost)
    return name


async def _compare(source: EventLog, target: EventLog, key: StreamKey) -> int:
    """Return the number of a stream's events. Raise LogError if the two logs differ in the stream."""
    one, two = await source.head(key), await target.head(key)
    if one is None or two is None or one != two or one.touched != two.touched:
        raise _changed(key)
    first, second = await _digest(source, key), await _digest(target, key)
    if first != second:
        raise _changed(key)
    return first[0]


async def _digest(log: EventLog, key: StreamKey) -> tuple[int, str]:
    """Return the number and the hash of a stream's events."""
    digest, count = hashlib.sha256(), 0
    walk = await StreamWalk.of(log, key)
    while walk is not None and (lines := await walk.page()):
        count += len(lines)
        for line in lines:
            digest.update(line + b"\n")  # a line has no line feed
    return count, digest.hexdigest()


async def _compare_rest(source: EventLog, target: EventLog) -> None:
    """Raise LogError if streams, revocations or consumers of the two logs differ."""
    if await source.streams() != await target.streams():
        raise LogError("the target has other sessions than the source: no other program may use the logs meanwhile")
    if set(await source.revocations()) != set(await target.revocations()):
        raise LogError("the target has other revoked tokens than the source: give an empty log")
    if await source.consumers() != await target.consumers():
        raise LogError("the target has other consumers than the source: give an empty log")
    for consumer in await source.consumers():
        keys = await source.streams()
        mine: list[ConsumerPosition] = list(await source.consumer_positions(consumer.name, keys))
        if mine != list(await target.consumer_positions(consumer.name, keys)):
            raise LogError(f"the positions of consumer {consumer.name!r} differ in the two logs")


def _changed(key: StreamKey) -> LogError:
    which = f"session {key.session!r} of user {key.user!r}"
    return LogError(f"{which} differs in the two logs: no other program may use them, and the target must be empty")
