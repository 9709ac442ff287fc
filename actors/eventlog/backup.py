"""Backups of a log: ``greenroom backup`` and ``greenroom restore``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import LogError
from actors.eventlog._sqlite_backup import copy_file, make_single, new_file, renew_epochs
from actors.eventlog._walk import StreamWalk
from actors.eventlog.copying import append_lines
from actors.eventlog.sqlite import SqliteLog
from actors.eventlog.verify import LogReport, verify_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actors.eventlog.base import ConsumerPosition, EventLog, StreamKey

__all__ = ["back_up_file", "back_up_log", "restore_file", "restore_log"]

_ATTEMPTS = 3
"""Maximum number of attempts to copy a session. A new attempt is made if events were dropped during the copy."""
_POSITIONS = 500
"""Number of a consumer's positions that are read at once."""


@attrs.frozen
class _Consumer:
    """A consumer, as it was before the first session was copied."""

    name: str
    lost: int
    positions: tuple[ConsumerPosition, ...]


async def back_up_file(
    source: Path, target: Path, on_progress: Callable[[int, int], None], *, replaces: bool = False
) -> LogReport:
    """Copy a SQLite log to a file, also while a server has it open. Return the check of the copy.

    The copy is the log of one moment. If it has faults, the log has the same ones: the copy is made nevertheless.

    Args:
        source: The file of the log.
        target: The file to make. It is there completely, or not at all.
        on_progress: Called with the number of copied pages, and of all pages.
        replaces: Whether an existing file may be replaced.

    Raises:
        LogError: The log cannot be read, or the file cannot be made. Then nothing has changed.
    """
    with new_file(target, replaces=replaces) as new:
        copy_file(source, new, on_progress)
        return await _checked(new)


async def back_up_log(
    source: EventLog, target: Path, on_progress: Callable[[int, int, int], None], *, replaces: bool = False
) -> LogReport:
    """Copy any open log to a SQLite file, also while servers write to the log. Return the check of the copy.

    Each session is the session of one moment, but not all of the same moment. A consumer's position is never ahead of
    the events in the copy: a consumer gets some events again rather than none.

    Args:
        source: The log.
        target: The file to make, as for :func:`back_up_file`.
        on_progress: Called with the number of finished sessions, of all sessions, and of the events copied so far.
        replaces: Whether an existing file may be replaced.

    Raises:
        LogError: The log cannot be read, or the file cannot be made. Then nothing has changed.
    """
    with new_file(target, replaces=replaces) as new:
        async with SqliteLog(new) as copy:
            await _copy_live(source, copy, on_progress)
        make_single(new)
        return await _checked(new)


async def restore_file(
    source: Path, target: Path, on_progress: Callable[[int, int], None], *, replaces: bool = False
) -> LogReport:
    """Copy a backup to the place of a SQLite log, and give each session a new epoch. Return the check of the log.

    A client that has seen newer events than the backup has is told so by the epoch: it begins anew (``reset``). *With
    the old epoch it would wait for a seq that it has seen already, and miss all other events up to it.*

    Args:
        source: The backup.
        target: The file of the log. It is there completely, or not at all.
        on_progress: Called with the number of copied pages, and of all pages.
        replaces: Whether an existing log may be replaced.

    Raises:
        LogError: The backup cannot be read, a server has the log open, or the file cannot be made. Then nothing has
            changed.
    """
    with new_file(target, replaces=replaces, keeps_lock=True) as new:
        copy_file(source, new, on_progress)
        renew_epochs(new)
        return await _checked(new)


async def restore_log(source: EventLog, target: EventLog, on_progress: Callable[[int, int, int], None]) -> LogReport:
    """Copy a backup, an open log, to an empty log of any kind with new epochs. Return the check of the log.

    Args:
        source: The backup. No other program may change it.
        target: The other log, which has no sessions. No server may use it.
        on_progress: As for :func:`back_up_log`.

    Raises:
        LogError: The target has sessions, or a log failed. Then the target is empty again, unless it cannot be written.
    """
    if await target.streams():
        raise LogError("the log has sessions already: give an empty one")
    done = False
    try:
        await _copy_live(source, target, on_progress, renews=True)
        done = True
    finally:
        if not done:
            with trio.CancelScope(shield=True):
                for key in await target.streams():
                    await target.remove(key)
    return await verify_log(target)


async def _checked(new: Path) -> LogReport:
    async with SqliteLog(new, read_only=True) as copy:
        return await verify_log(copy)


async def _copy_live(
    source: EventLog, target: EventLog, on_progress: Callable[[int, int, int], None], *, renews: bool = False
) -> None:
    # In this order: positions, then events. A position must not be ahead of the copied events.
    consumers = await _consumers_of(source)
    keys, copied = await source.streams(), 0
    for number, key in enumerate(keys):
        on_progress(number, len(keys), copied)
        copied += await _copy_stream(source, target, key, renews=renews)
    on_progress(len(keys), len(keys), copied)
    for consumer in consumers:
        await target.start_consumer(consumer.name, from_start=True)
        await target.acknowledge(consumer.name, await _valid(target, consumer, renews=renews), -consumer.lost)
    for revocation in await source.revocations():
        await target.revoke(revocation, 0)


async def _consumers_of(log: EventLog) -> list[_Consumer]:
    keys, found = await log.streams(), list[_Consumer]()
    for usage in await log.consumers():
        positions: list[ConsumerPosition] = []
        for begin in range(0, len(keys), _POSITIONS):
            some = await log.consumer_positions(usage.name, keys[begin : begin + _POSITIONS])
            positions += [each for each in some if each.seq]
        found.append(_Consumer(usage.name, usage.lost, tuple(positions)))
    return found


async def _valid(target: EventLog, consumer: _Consumer, *, renews: bool) -> list[ConsumerPosition]:
    """Return the positions for the target: with its epochs, if they are new."""
    if not renews:
        return list(consumer.positions)  # the target ignores those of another epoch: the session began anew meanwhile
    heads = [(each, await target.head(each.key)) for each in consumer.positions]
    return [attrs.evolve(each, epoch=head.epoch) for each, head in heads if head is not None]


async def _copy_stream(source: EventLog, target: EventLog, key: StreamKey, *, renews: bool) -> int:
    """Copy a stream as it is now. Return the number of its events; 0 if it does not exist any more."""
    for _ in range(_ATTEMPTS):
        walk = await StreamWalk.of(source, key)
        if walk is None:
            return 0
        head = walk.head
        epoch = secrets.token_hex(8) if renews else head.epoch
        await target.restore(key, epoch=epoch, latest=head.oldest - 1, state=head.state, touched=head.touched)
        if await _copy_events(walk, target, key):
            return head.latest + 1 - head.oldest
        await target.remove(key)
    raise LogError(f"session {key.session!r} of user {key.user!r} loses events faster than they can be copied")


async def _copy_events(walk: StreamWalk, target: EventLog, key: StreamKey) -> bool:
    """Copy all events of a walk. Return False if some were dropped, or the stream was removed, during the copy."""
    expected = walk.head.oldest
    while lines := await walk.page():
        first = walk.position - len(lines) + 1
        if first != expected:
            return False
        await append_lines(target, key, first, lines, walk.head.state)
        expected = walk.position + 1
    return not walk.gone and expected == walk.head.latest + 1
