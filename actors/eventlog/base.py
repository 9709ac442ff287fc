"""The contract of an event log, which every engine keeps.

A log holds *streams*, one for each session of a user. A stream is a sequence of encoded events (*lines*), numbered from
1 without a gap. A line is one JSON object without a raw line feed that begins ``{"seq":12,"ts":1700000000000``
(:mod:`actors.events.line`). The log treats lines as opaque bytes, with two exceptions: it compares the ``seq`` of each
line that it appends, and it reads ``ts`` for retention by age. ``ts`` never falls within a stream: the stream's writer
ensures that. A line without a ``ts`` raises ``LogCorrupt``, at the latest when it is read.

Beside its events a stream has an ``epoch``, drawn when it is made, and a ``state``: opaque bytes that its writer passes
with every batch (the items open after that batch). The log keeps only the newest state of a stream, and need not write
a state that did not change. Epoch, ``latest`` and ``state`` outlive the events: a stream whose events were all trimmed
still has its position and its open items.

Each stream has one writer in one process. The log does not arbitrate between two writers. User and session are text
that UTF-8 can encode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class StreamKey(NamedTuple):
    """The name of a stream. Sessions with one name under two users are two independent streams."""

    user: str
    session: str


def check_names(key: StreamKey) -> None:
    """Raise ``ValueError`` for a name that UTF-8 cannot encode. Some engines cannot store such a name."""
    for name in key:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name!r} is not a valid name: it has a lone surrogate") from error


@attrs.frozen
class Head:
    """The position and the size of a stream."""

    epoch: str
    oldest: int
    """The lowest seq kept; ``latest + 1`` if no event is kept."""
    latest: int
    """The highest seq ever appended, 0 before the first."""
    size: int
    """Bytes of the kept lines."""
    oldest_ts: int
    """The ``ts`` of the oldest kept event, in ms since 1970; 0 if no event is kept."""
    state: bytes
    """The state of the last batch or mark, empty before the first."""
    touched: int = attrs.field(default=0, eq=False)
    """The ``ts`` of the newest event, also after it was trimmed; the time when the stream was made if it never had an
    event. In ms since 1970. Two heads that differ only in this are equal."""


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
    """Limits for the events of a stream. The newest events within all three limits are kept, exactly.

    An event is dropped when ``events`` newer ones exist, when it and all newer ones together are more than ``size``
        bytes, or when it is older than ``seconds`` (an event exactly that old is kept). Even the newest may be dropped.
    """

    events: int = 10_000
    size: int = 16 * 1024 * 1024
    seconds: float = 7 * 24 * 3600.0

    def beside(self, state: int) -> Retention:
        """Return these limits with ``size`` reduced by ``state``, the size of the stream's state in bytes.

        A log counts only the bytes of lines. The caller of a log uses this method to count the state too.
        """
        return attrs.evolve(self, size=max(0, self.size - state))


@attrs.frozen
class LogStatistics:
    """Counters of a log since it was opened."""

    engine: str
    """memory, sqlite or valkey."""
    streams: int
    """Number of streams with an entry in the memory of this process. An entry is small."""
    commits: int
    """Appends that were made durable: one transaction each."""
    batches: int
    """Batches in the counted commits. All events of one session in one commit are one batch."""
    events: int
    """Events in the counted batches."""
    reads: int
    """Calls of ``read``. None is needed while clients find their next events in memory, in their session's ring."""
    trims: int
    """Calls of ``trim`` that dropped events."""
    wal_bytes: int = attrs.field(default=0, eq=False)
    """Size of the write-ahead log's file, 0 if there is none. Measured at most a second before the newest write.

    The file grows as long as another program keeps one read of the log open, and shrinks after that.
    """


class EventLog(ABC):
    """Base class of all logs. As an async context manager it calls :meth:`open` on entry and :meth:`close` on exit.

    Every method may be called concurrently. Errors are :class:`~actors.LogUnavailable` (try again later; also while
    the log is not open), :class:`~actors.LogCorrupt` and :class:`~actors.LogSchemaTooNew`. A stream that was never
    made raises ``KeyError``.

    Cancellation: a call that raises ``Cancelled`` did nothing. A call that is cancelled when its work can no longer be
    undone finishes and returns normally; the caller is cancelled at its next checkpoint.
    """

    gather_seconds: float = 0.0
    """Minimum interval between commits of small appends, in seconds. Appends that arrive sooner go together into the
    next commit. A good value is the time that one commit takes."""

    outlives_process: bool = True
    """Whether events may survive the end of the process. False only for a log that loses everything when it is closed.

    If True, and if a client may repeat the start of a run, the agent is called only after ``agent_started`` is
    committed. So a crash before the commit means that nothing was done, and after it the log knows the start.
    A log that wraps another log has the value of that log.
    """

    @abstractmethod
    async def open(self) -> None:
        """Open the log. An open log raises ``RuntimeError``; a closed log may be opened again.

        Cancellation: if this is cancelled or raises, nothing stays open.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish accepted calls and release all resources. Idempotent.

        Cancellation: it runs to its end.
        """

    @abstractmethod
    async def make(self, key: StreamKey) -> Head:
        """Return the stream's head. If the stream does not exist, make it with a new epoch and ``latest`` 0.

        Raises:
            ValueError: UTF-8 cannot encode the name (it has a lone surrogate).
        """

    @abstractmethod
    async def head(self, key: StreamKey) -> Head | None:
        """Return the stream's head, or None if the stream does not exist. Never makes a stream."""

    @abstractmethod
    async def append(self, batches: Sequence[Batch]) -> None:
        """Append all batches in one commit. After it returns they are as durable as the engine is configured to be.

        All or nothing: if this raises, the log has none of the batches.

        Args:
            batches: Each batch's ``first`` must be its stream's ``latest + 1``. Batches of one stream must follow each
                other. The batches and their lists of lines must not be changed until this returns.

        Raises:
            LogCorrupt: A batch does not follow its stream's ``latest``, or a line does not have its number.
            ValueError: A batch is empty.
            KeyError: A stream does not exist.
        """

    @abstractmethod
    async def mark(self, key: StreamKey, state: bytes) -> None:
        """Replace the stream's state without an event, as durably as a batch."""

    @abstractmethod
    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return the lines with seq ``after + 1`` and up, in order and without a gap.

        Args:
            key: The stream.
            after: The seq before the first line. If it is ``latest`` or higher, the result is empty.
            limit: Maximum number of lines.
            size: Maximum bytes of the lines. A first line that is larger is returned alone.

        Raises:
            Trimmed: ``after + 1`` is below ``oldest``. The lines that are still kept are not returned either.
        """

    @abstractmethod
    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        """Drop exactly the events that ``keep`` does not keep at ``now`` (ms since 1970). Return the new head."""

    @abstractmethod
    async def streams(self) -> Sequence[StreamKey]:
        """Return the keys of all streams in the log, sorted."""

    @abstractmethod
    async def remove(self, key: StreamKey) -> None:
        """Remove the stream and its epoch. Do nothing if it does not exist."""

    @abstractmethod
    def statistics(self) -> LogStatistics:
        """Return the counters since the log was opened."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
