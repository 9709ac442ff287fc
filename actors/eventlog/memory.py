"""The log in memory, for tests, demos and servers that do not need their events after their end."""

# ruff: noqa: D102 - the methods' contract is EventLog's

from __future__ import annotations

import bisect
import heapq
import itertools
import secrets
import time
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.eventlog._memory_positions import MemoryPositions
from actors.eventlog._retention import RetentionWalk, bounded
from actors.eventlog.base import (
    ConsumerPosition,
    EventLog,
    Head,
    LogStatistics,
    Revocation,
    StreamKey,
    UserUsage,
    check_names,
    check_new,
)
from actors.events.line import check_numbers, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actors.eventlog.base import Batch, ConsumerUsage, Retention

_COMPACT_AT = 1024
"""Minimum number of empty items at the front of a stream's list of lines before the kept lines are moved forward."""


@attrs.define
class _Stream:
    """One stream in memory: its kept lines, and the values of its summary (:class:`Head`)."""

    epoch: str = attrs.field(factory=lambda: secrets.token_hex(8))
    lines: list[bytes] = attrs.Factory(list[bytes])
    gone: int = 0
    """Number of empty items at the front of ``lines``. The events of these items were trimmed."""
    latest: int = 0
    size: int = 0
    state: bytes = b""
    touched: int = attrs.field(factory=lambda: time.time_ns() // 1_000_000)
    """Time of the stream's last activity in ms since 1970, for a stream that has no event now.

    This is the time of the newest event that was dropped, or the time when the stream was made. While the stream has
    events, the ``ts`` of its newest event is used.
    """

    @property
    def count(self) -> int:
        return len(self.lines) - self.gone

    def kept(self, seq: int) -> Iterator[bytes]:
        """Yield the kept lines of the stream from the event ``seq`` to the newest event."""
        # Counted from the end of the list: the number of empty items at its front changes.
        return map(self.lines.__getitem__, range(len(self.lines) - (self.latest + 1 - seq), len(self.lines)))

    def head(self) -> Head:
        count = self.count
        oldest_ts = timestamp(self.lines[self.gone]) if count else 0
        touched = timestamp(self.lines[-1]) if count else self.touched
        return Head(self.epoch, self.latest + 1 - count, self.latest, self.size, oldest_ts, self.state, touched)

    def add(self, batch: Batch) -> int:
        """Append a batch (consecutive events) to the stream. Return the number of lines in the batch."""
        count = len(batch.lines)
        if not count:
            raise ValueError(f"an empty batch for {batch.key}")
        if batch.first != self.latest + 1:
            raise LogCorrupt(f"{batch.key} is at {self.latest}: {batch.first} cannot follow")
        check_numbers(batch.key, batch.first, batch.lines, count)
        self.lines.extend(batch.lines)
        self.latest += count
        self.size += batch.size
        self.state = batch.state
        return count

    def take_back(self, batch: Batch, state: bytes) -> None:
        """Remove a batch of events that :meth:`add` just added. ``state`` is the stream's state before that call."""
        count = len(batch.lines)
        del self.lines[-count:]
        self.latest -= count
        self.size -= batch.size
        self.state = state

    def drop(self, count: int, size: int) -> None:
        """Drop the stream's ``count`` oldest lines. ``size`` is the size of the remaining lines in bytes.

        The remaining lines are moved to the front of the list only when half of the list is empty, so a trim is cheap.
        """
        if count == self.count:
            self.touched = timestamp(self.lines[-1])
        # Free the memory of the dropped lines now; move the others later.
        self.lines[self.gone : self.gone + count] = itertools.repeat(b"", count)
        self.gone += count
        self.size = size
        # Deleting from the front of a list moves all lines behind it, so it waits until half of the list is empty.
        if self.gone == len(self.lines) or (self.gone >= _COMPACT_AT and 2 * self.gone >= len(self.lines)):
            del self.lines[: self.gone]
            self.gone = 0


class MemoryLog(EventLog):
    """An event log in memory. When the log is closed, all events are lost.

    The log keeps the line objects that the caller passes, without a copy. :meth:`append` never lets other tasks run. So
    clients get events without a wait, but a caller that appends in a loop must pass checkpoints itself. An append costs
    about as much as extending a list.
    """

    outlives_process = False

    def __init__(self) -> None:
        self._streams: dict[StreamKey, _Stream] | None = None
        self._sessions: dict[str, dict[str, _Stream]] = {}  # the same streams: by user, then by session
        self._sorted: list[StreamKey] = []
        self._revocations: dict[tuple[str | None, str | None], Revocation] = {}  # by user and token id
        self._consumers = MemoryPositions()
        self._commits = self._batches = self._events = self._reads = self._trims = 0

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._streams is not None:
            raise RuntimeError("the log is open already")
        self._streams, self._sessions, self._sorted, self._revocations = {}, {}, [], {}
        self._consumers = MemoryPositions()
        self._commits = self._batches = self._events = self._reads = self._trims = 0

    async def close(self) -> None:
        self._streams = None
        # The log is closed already, so this must not raise Cancelled.
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def make(self, key: StreamKey) -> Head:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        if key not in streams:
            check_names(key)
            self._add(key, _Stream())
        return streams[key].head()

    def _add(self, key: StreamKey, stream: _Stream) -> None:
        self._opened()[key] = self._sessions.setdefault(key.user, {})[key.session] = stream
        bisect.insort(self._sorted, key)

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        check_new(key, exists=key in streams)
        stream = _Stream(epoch, latest=latest, state=state, touched=touched)
        self._add(key, stream)

    async def head(self, key: StreamKey) -> Head | None:
        await trio.lowlevel.checkpoint()
        stream = self._opened().get(key)
        return None if stream is None else stream.head()

    async def append(self, batches: Sequence[Batch]) -> None:
        # Not a full checkpoint: an append must not yield (see the class).
        await trio.lowlevel.checkpoint_if_cancelled()
        self._append(batches)

    def appender(self) -> Callable[[Sequence[Batch]], None] | None:
        # A subclass that overrides append() must get every append.
        return self._append if type(self).append is MemoryLog.append else None

    def _append(self, batches: Sequence[Batch]) -> None:
        streams = self._streams or self._opened()
        done: list[tuple[_Stream, Batch, bytes]] = []
        events = 0
        try:
            for batch in batches:
                stream = streams[batch.key]
                state = stream.state
                events += stream.add(batch)
                done.append((stream, batch, state))
        except BaseException:  # all or nothing: undo the batches before the refused one
            for stream, batch, state in reversed(done):
                stream.take_back(batch, state)
            raise
        self._commits += bool(done)
        self._batches += len(done)
        self._events += events

    async def mark(self, key: StreamKey, state: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._opened()[key].state = state

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        stream = self._opened()[key]
        self._reads += 1
        oldest = stream.latest + 1 - stream.count
        if after + 1 < oldest:
            raise Trimmed(oldest)
        if after >= stream.latest:
            return []
        return bounded(stream.kept(after + 1), limit, size)

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        await trio.lowlevel.checkpoint()
        stream = self._opened()[key]
        walk = RetentionWalk.of(keep, now, stream.count, stream.size, self._consumers.unread(key, stream.latest))
        dropped = walk.drop(stream.kept(stream.latest + 1 - stream.count))
        if dropped:
            stream.drop(dropped, walk.size)
            self._trims += 1
        return stream.head()

    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        await trio.lowlevel.checkpoint()
        self._opened()
        begin = 0 if after is None else bisect.bisect_right(self._sorted, after)
        return self._sorted[begin : None if limit is None else begin + max(limit, 0)]

    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        await trio.lowlevel.checkpoint()
        self._opened()
        names = (session for session in self._sessions.get(user, ()) if session > after)
        return [StreamKey(user, session) for session in heapq.nsmallest(limit, names)]

    async def usage(self, user: str) -> UserUsage:
        await trio.lowlevel.checkpoint()
        self._opened()
        streams = self._sessions.get(user, {}).values()
        return UserUsage(len(streams), sum(stream.size + len(stream.state) for stream in streams))

    async def oldest_streams(self, user: str, limit: int) -> Sequence[StreamKey]:
        await trio.lowlevel.checkpoint()
        self._opened()
        streams = self._sessions.get(user, {})
        found = ((stream.head().oldest_ts, session) for session, stream in streams.items() if stream.count)
        return [StreamKey(user, session) for _, session in heapq.nsmallest(limit, found)]

    async def remove(self, key: StreamKey) -> None:
        await trio.lowlevel.checkpoint()
        stream = self._opened().pop(key, None)
        if stream is not None:
            self._consumers.forget_stream(key, stream.latest)
            del self._sorted[bisect.bisect_left(self._sorted, key)]
            del self._sessions[key.user][key.session]
            if not self._sessions[key.user]:
                del self._sessions[key.user]

    async def revoke(self, revocation: Revocation, now: float) -> None:
        await trio.lowlevel.checkpoint()
        self._opened()
        kept = {key: each for key, each in self._revocations.items() if each.until > now}
        key = (revocation.user, revocation.token_id)
        kept[key] = revocation.joined(kept.get(key))
        self._revocations = kept

    async def revocations(self) -> Sequence[Revocation]:
        await trio.lowlevel.checkpoint()
        self._opened()
        return tuple(self._revocations.values())

    async def start_consumer(self, name: str, *, from_start: bool) -> int:
        await trio.lowlevel.checkpoint()
        latest = {key: stream.latest for key, stream in self._opened().items()}
        return self._consumers.start(name, {} if from_start else latest)

    async def consumer_positions(self, name: str, keys: Sequence[StreamKey]) -> Sequence[ConsumerPosition]:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        positions = self._consumers.of(name)
        return [ConsumerPosition(key, streams[key].epoch, positions.get(key, 0)) for key in keys if key in streams]

    async def unread_streams(
        self, name: str, after: StreamKey | None, limit: int, *, user: str | None = None
    ) -> Sequence[StreamKey]:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        positions = self._consumers.of(name)
        keys = streams if user is None else [StreamKey(user, session) for session in self._sessions.get(user, ())]
        behind = (key for key in keys if after is None or key > after)
        return heapq.nsmallest(limit, (key for key in behind if streams[key].latest > positions.get(key, 0)))

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        valid = [each for each in positions if each.key in streams and streams[each.key].epoch == each.epoch]
        self._consumers.acknowledge(name, valid, lost)

    async def consumers(self) -> Sequence[ConsumerUsage]:
        await trio.lowlevel.checkpoint()
        return self._consumers.usage({key: stream.latest for key, stream in self._opened().items()})

    async def remove_consumer(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self._opened()
        self._consumers.remove(name)

    def statistics(self) -> LogStatistics:
        return LogStatistics(
            engine="memory",
            streams=len(self._streams or ()),
            commits=self._commits,
            batches=self._batches,
            events=self._events,
            reads=self._reads,
            trims=self._trims,
        )

    def _opened(self) -> dict[StreamKey, _Stream]:
        if self._streams is None:
            raise LogUnavailable("the memory log is not open")
        return self._streams
