"""The contract of an event log: what every engine keeps, whatever it keeps it in.

A log holds *streams*, one per session of a user. A stream is a sequence of encoded events (*lines*: one JSON object
each, no raw line feed in it, beginning ``{"seq":12,"ts":1700000000000``) numbered from 1 without a gap. The log never
looks into a line, with two exceptions: as it appends a line it compares the ``seq``, and for retention by age it reads
``ts``, which never falls within a stream; that is its writer's care. A line without a ``ts`` raises ``LogCorrupt``, at
the latest where it is read.

Beside its events a stream has an ``epoch``, drawn when it is made, and a ``state``: opaque bytes that its writer gives
with every batch (what was open after that batch). The log keeps the newest state of a stream once, and need not write
one that did not change. Epoch, ``latest`` and ``state`` outlive the events: a stream whose events were all trimmed
still knows where it was and what it had open.

One process has one writer per stream; the log does not arbitrate between two. User and session are text that UTF-8 can
hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class StreamKey(NamedTuple):
    """Whose stream: two sessions of one name under two users have nothing in common."""

    user: str
    session: str


@attrs.frozen
class Head:
    """Where a stream stands.

    ``oldest`` is the lowest seq kept, ``latest + 1`` where none is. ``size`` is the bytes of the kept lines,
    ``oldest_ts`` the ``ts`` (ms since 1970) of the oldest one, 0 where none is kept. ``state`` is what the last batch
    carried, empty before the first. ``touched`` (ms since 1970) is the ``ts`` of the newest event there ever was, or
    when the stream was made where there was none: how long it was left alone. Two heads that differ in it are equal.
    """

    epoch: str
    oldest: int
    latest: int
    size: int
    oldest_ts: int
    state: bytes
    touched: int = attrs.field(default=0, eq=False)


@attrs.define
class Batch:
    """Consecutive events of one stream to be appended: ``lines[i]`` has seq ``first + i``. Never empty."""

    key: StreamKey
    first: int
    lines: Sequence[bytes]
    state: bytes
    size: int = attrs.field(init=False)
    """Bytes of the lines, counted once."""

    def __attrs_post_init__(self) -> None:
        self.size = sum(map(len, self.lines))


@attrs.frozen
class Retention:
    """How much of a stream is kept: the newest events within all three limits, exactly.

    An event is dropped when ``events`` newer ones exist, when it and all newer ones are more than ``size`` bytes, or
    when it is older than ``seconds``: exactly as old is kept. The newest event is subject to them too.
    """

    events: int = 10_000
    size: int = 16 * 1024 * 1024
    seconds: float = 7 * 24 * 3600.0

    def beside(self, state: int) -> Retention:
        """Return the limits for the events of a stream whose state has so many bytes.

        A log counts the bytes of lines alone. Its user counts the state in, so that ``size`` bounds both together.
        """
        return attrs.evolve(self, size=max(0, self.size - state))


@attrs.frozen
class LogStatistics:
    """What a log did since it was opened."""

    engine: str
    """memory, sqlite or valkey."""
    streams: int
    """Streams in this process's memory: a small entry each."""
    commits: int
    """Appends that were made durable: one transaction each."""
    batches: int
    """Batches in those commits: one per session and flush."""
    events: int
    """Events in those batches."""
    reads: int
    """Calls of ``read``: 0 while every client finds what it wants in its session's ring."""
    trims: int
    """Calls of ``trim`` that dropped something."""
    wal_bytes: int = attrs.field(default=0, eq=False)
    """Size of the write-ahead log's file, as it was at most a second before the newest write; 0 where there is none.

    It grows for as long as another program goes on with one read of the log, and is cut back after that.
    """


class EventLog(ABC):
    """Base of all logs. Used as an async context manager: :meth:`open` on entry, :meth:`close` on exit.

    Every method may be called concurrently. Errors are :class:`~actors.LogUnavailable` (try again later; also while
    the log is not open), :class:`~actors.LogCorrupt` and :class:`~actors.LogSchemaTooNew`; a stream that was never
    made raises ``KeyError``.

    A call that raises ``Cancelled`` did nothing. One that is cancelled when its work can no longer be taken back is
    waited for and returns as if it were not; the cancellation then comes at the caller's next checkpoint.
    """

    gather_seconds: float = 0.0
    """How long after an append was due small ones had better gather for the next: what one of its own costs."""

    outlives_process: bool = True
    """Whether commits can be there after the death of the process. False only for a log that forgets all once closed.

    Where True, the agent of a start that a client may send again is called once ``agent_started`` is committed: a death
    of the process before that leaves nothing done, a later one leaves the start known. A log that wraps another says
    what that one says.
    """

    @abstractmethod
    async def open(self) -> None:
        """Make the log usable. Raises when it cannot be; then, as when it is cancelled, nothing stays open.

        Opening an open log is a ``RuntimeError``. A closed one may be opened again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted and release everything. Runs to its end although it is cancelled. Idempotent."""

    @abstractmethod
    async def make(self, key: StreamKey) -> Head:
        """Return the stream's head; the stream is made, with an epoch and ``latest`` 0, if it does not exist.

        Raises ``ValueError`` for a name that UTF-8 cannot hold (a lone surrogate).
        """

    @abstractmethod
    async def head(self, key: StreamKey) -> Head | None:
        """Return the stream's head, None if it does not exist. Never makes one."""

    @abstractmethod
    async def append(self, batches: Sequence[Batch]) -> None:
        """Append all batches in one commit: when it returns they are as durable as the engine is set to make them.

        All or nothing: when it raises, none of them is in the log. Each batch's ``first`` must be its stream's
        ``latest + 1``, and each line's ``seq`` must follow from it (``LogCorrupt`` otherwise); several batches of one
        stream follow each other. An empty batch is a ``ValueError``. Until it returns, the batches and
        their lists of lines must not be changed.
        """

    @abstractmethod
    async def mark(self, key: StreamKey, state: bytes) -> None:
        """Put ``state`` in place of what the last batch carried, as durably as a batch, without an event."""

    @abstractmethod
    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return lines with seq ``after + 1`` and up, ascending, contiguous: at most ``limit``, at most ``size`` bytes.

        Where the first line alone is larger than ``size`` it is returned alone. Empty when ``after`` is at or above
        ``latest``. ``after + 1`` below ``oldest`` raises :class:`~actors.Trimmed`: a part is never given in silence.
        """

    @abstractmethod
    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        """Drop what ``keep`` does not keep at ``now`` (ms since 1970), exactly; the head afterwards."""

    @abstractmethod
    async def streams(self) -> Sequence[StreamKey]:
        """Every stream in the log, sorted."""

    @abstractmethod
    async def remove(self, key: StreamKey) -> None:
        """Forget the stream, its epoch with it. Nothing happens when it does not exist."""

    @abstractmethod
    def statistics(self) -> LogStatistics:
        """Return what the log did since it was opened."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
