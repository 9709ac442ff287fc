"""The log that ends with its process: for tests, demos and servers that may forget."""

# ruff: noqa: D102 - the methods' contract is EventLog's

from __future__ import annotations

import itertools
import secrets
import time
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.eventlog._rows import RetentionWalk, bounded, check_names, check_numbers, timestamp
from actors.eventlog.base import EventLog, Head, LogStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.eventlog.base import Batch, Retention, StreamKey

_COMPACT_AT = 1024
"""Fewer empty places than this are not worth moving the lines behind them."""


@attrs.define
class _Stream:
    epoch: str = attrs.field(factory=lambda: secrets.token_hex(8))
    lines: list[bytes] = attrs.Factory(list[bytes])
    gone: int = 0
    """Places at the front of ``lines`` whose events were trimmed; they hold nothing."""
    latest: int = 0
    size: int = 0
    state: bytes = b""
    touched: int = attrs.field(factory=lambda: time.time_ns() // 1_000_000)
    """Only while there is no line; else the newest one says it."""

    @property
    def count(self) -> int:
        return len(self.lines) - self.gone

    def kept(self, seq: int) -> Iterator[bytes]:
        """Yield the kept lines from ``seq`` on."""
        return map(self.lines.__getitem__, range(len(self.lines) - (self.latest + 1 - seq), len(self.lines)))

    def head(self) -> Head:
        count = self.count
        oldest_ts = timestamp(self.lines[self.gone]) if count else 0
        touched = timestamp(self.lines[-1]) if count else self.touched
        return Head(self.epoch, self.latest + 1 - count, self.latest, self.size, oldest_ts, self.state, touched)

    def add(self, batch: Batch) -> int:
        """Append the batch; return how many lines it has."""
        count = len(batch.lines)
        if not count:
            raise ValueError(f"an empty batch for {batch.key}")
        if batch.first != self.latest + 1:
            raise LogCorrupt(f"{batch.key} is at {self.latest}: {batch.first} cannot follow")
        check_numbers(batch, count)
        self.lines.extend(batch.lines)
        self.latest += count
        self.size += batch.size
        self.state = batch.state
        return count

    def take_back(self, batch: Batch, state: bytes) -> None:
        """Undo the last :meth:`add`, before which the state was ``state``."""
        count = len(batch.lines)
        del self.lines[-count:]
        self.latest -= count
        self.size -= batch.size
        self.state = state

    def drop(self, count: int, size: int) -> None:
        """Let the ``count`` oldest lines go; ``size`` bytes remain. Moves the rest once per as many lines dropped."""
        if count == self.count:
            self.touched = timestamp(self.lines[-1])
        self.lines[self.gone : self.gone + count] = itertools.repeat(b"", count)
        self.gone += count
        self.size = size
        if self.gone == len(self.lines) or (self.gone >= _COMPACT_AT and 2 * self.gone >= len(self.lines)):
            del self.lines[: self.gone]
            self.gone = 0


class MemoryLog(EventLog):
    """Keeps the very line objects it is given; nothing is copied or joined. Closing it forgets everything.

    :meth:`append` never yields to other tasks, so that delivery can follow in the same turn: whoever appends without
    end must wait for something in between. It costs about as much as extending a list.
    """

    outlives_process = False

    def __init__(self) -> None:
        self._streams: dict[StreamKey, _Stream] | None = None
        self._commits = self._batches = self._events = self._reads = self._trims = 0

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._streams is not None:
            raise RuntimeError("the log is open already")
        self._streams = {}
        self._commits = self._batches = self._events = self._reads = self._trims = 0

    async def close(self) -> None:
        self._streams = None
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def make(self, key: StreamKey) -> Head:
        await trio.lowlevel.checkpoint()
        streams = self._opened()
        if key not in streams:
            check_names(key)
            streams[key] = _Stream()
        return streams[key].head()

    async def head(self, key: StreamKey) -> Head | None:
        await trio.lowlevel.checkpoint()
        stream = self._opened().get(key)
        return None if stream is None else stream.head()

    async def append(self, batches: Sequence[Batch]) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        streams = self._opened()
        done: list[tuple[_Stream, Batch, bytes]] = []
        events = 0
        try:
            for batch in batches:
                stream = streams[batch.key]
                state = stream.state
                events += stream.add(batch)
                done.append((stream, batch, state))
        except BaseException:
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
        surplus = RetentionWalk.of(keep, now, stream.count, stream.size)
        dropped = surplus.drop(stream.kept(stream.latest + 1 - stream.count))
        if dropped:
            stream.drop(dropped, surplus.size)
            self._trims += 1
        return stream.head()

    async def streams(self) -> Sequence[StreamKey]:
        await trio.lowlevel.checkpoint()
        return sorted(self._opened())

    async def remove(self, key: StreamKey) -> None:
        await trio.lowlevel.checkpoint()
        self._opened().pop(key, None)

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
